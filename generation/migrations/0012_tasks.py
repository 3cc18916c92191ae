from django.db import migrations, models

_TASKS = [
    ("text-to-image", "text to image"),
    ("image-to-image", "image to image"),
    ("inpaint", "inpaint"),
    ("edit", "edit by instruction"),
]


class Migration(migrations.Migration):
    """Pictures that start from pictures. Names only: the columns stay as they are."""

    expands = True

    dependencies = [
        ("generation", "0011_cancel_is_free"),
    ]

    operations = [
        migrations.AlterField(
            model_name="generation",
            name="task",
            field=models.CharField(choices=_TASKS, default="text-to-image", max_length=20, verbose_name="task"),
        ),
        migrations.AlterField(
            model_name="cost",
            name="task",
            field=models.CharField(choices=_TASKS, max_length=20),
        ),
    ]
