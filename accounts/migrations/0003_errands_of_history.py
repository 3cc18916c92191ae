from django.db import migrations, models


class Migration(migrations.Migration):
    """Words for the errands of the history; the database does not hear of them."""

    dependencies = [
        ("accounts", "0002_people_and_limits"),
    ]

    operations = [
        migrations.AlterField(
            model_name="errand",
            name="kind",
            field=models.CharField(
                choices=[
                    ("delete_files", "delete files"),
                    ("send_mail", "send an e-mail"),
                    ("export", "export a tenant"),
                    ("delete_tenant", "delete a tenant"),
                    ("delete_pictures", "delete a person's pictures"),
                    ("zip", "make a zip of pictures"),
                    ("delete_selected", "delete selected pictures"),
                    ("delete_expired", "delete pictures that a plan keeps no longer"),
                ],
                max_length=30,
                verbose_name="kind",
            ),
        ),
    ]
