"""Routes under /api/v1/ of accounts."""

from __future__ import annotations

from django.urls import URLPattern, path

from accounts.api import converters  # noqa: F401  (registers <id:…>)
from accounts.api.exports import ExportsView, ExportView
from accounts.api.invitations import InvitationsView, InvitationView, RenewView
from accounts.api.keys import FinishRotationView, KeysView, KeyView, LeakedKeyView, RevokeSelfView, RotateView
from accounts.api.members import MembersView, MemberView
from accounts.api.tenant import TenantView
from accounts.api.usage import BudgetView, UsageView

urlpatterns: list[URLPattern] = [
    path("keys", KeysView.as_view(), name="api-keys"),
    path("keys/leaked", LeakedKeyView.as_view(), name="api-keys-leaked"),
    path("keys/self/revoke", RevokeSelfView.as_view(), name="api-keys-self-revoke"),
    path("keys/<id:key>", KeyView.as_view(), name="api-key"),
    path("keys/<id:key>/rotate", RotateView.as_view(), name="api-key-rotate"),
    path("keys/<id:key>/finish-rotation", FinishRotationView.as_view(), name="api-key-finish-rotation"),
    path("members", MembersView.as_view(), name="api-members"),
    path("members/<id:member>", MemberView.as_view(), name="api-member"),
    path("invitations", InvitationsView.as_view(), name="api-invitations"),
    path("invitations/<id:invitation>", InvitationView.as_view(), name="api-invitation"),
    path("invitations/<id:invitation>/renew", RenewView.as_view(), name="api-invitation-renew"),
    path("tenant", TenantView.as_view(), name="api-tenant"),
    path("exports", ExportsView.as_view(), name="api-exports"),
    path("exports/<id:export>", ExportView.as_view(), name="api-export"),
    path("usage", UsageView.as_view(), name="api-usage"),
    path("members/<id:member>/budget", BudgetView.as_view(), name="api-budget"),
]
