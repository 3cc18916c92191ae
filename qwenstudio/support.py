"""The group of those who help and change nothing: it sees all of the admin but prompts."""

from __future__ import annotations

from typing import Any

from django.apps import apps
from django.contrib.auth.management import create_permissions
from django.contrib.auth.models import Group, Permission

SUPPORT = "support"
APPS = ("accounts", "generation")  # whose rows it may look at


def keep_support_group(**_: Any) -> None:
    """Make the group, and give it exactly what it should have; called after each `migrate`.

    Its permissions are the code's: what a superuser adds to it is taken away by the next release. Other groups are
    theirs to make.
    """
    for name in APPS:
        create_permissions(apps.get_app_config(name), verbosity=0)  # Django's own call may come later
    wanted = set(Permission.objects.filter(content_type__app_label__in=APPS, codename__startswith="view_"))
    group, _made = Group.objects.get_or_create(name=SUPPORT)
    if set(group.permissions.all()) != wanted:
        group.permissions.set(wanted)
