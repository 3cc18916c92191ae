"""What the admin shows: our own models, and groups. Packages bring more, which nobody audits and the pages do better.

Second factors, e-mail addresses and sessions are their owners'; queues are Valkey's, where nothing is kept that counts.
"""

from __future__ import annotations

from django.contrib import admin
from django.contrib.auth.models import Group

OWN = ("accounts", "generation")


def leave_out_foreign() -> None:
    """Take out what other packages have registered; called once all of them have."""
    foreign = [model for model in admin.site._registry if model._meta.app_label not in OWN and model is not Group]
    for model in foreign:
        admin.site.unregister(model)
