from django.db import migrations


class Migration(migrations.Migration):
    """One receipt per image, counted per tenant: a unique over all tenants tells that another one's image exists."""

    dependencies = [
        ("generation", "0002_fairness_sums"),
    ]

    operations = [
        migrations.RunSQL(
            [
                "ALTER TABLE generation_receipt DROP CONSTRAINT generation_receipt_image_id_key",
                "ALTER TABLE generation_receipt ADD CONSTRAINT generation_receipt_image_unique UNIQUE (tenant_id, image_id)",
            ],
            reverse_sql=[
                "ALTER TABLE generation_receipt DROP CONSTRAINT generation_receipt_image_unique",
                "ALTER TABLE generation_receipt ADD CONSTRAINT generation_receipt_image_id_key UNIQUE (image_id)",
            ],
        ),
    ]
