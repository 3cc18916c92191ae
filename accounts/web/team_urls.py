"""Routes of the pages about the organisation and its people."""

from __future__ import annotations

from django.urls import path

from accounts.web.auditlog import audit_csv, audit_log
from accounts.web.join import join
from accounts.web.organisation import ask_export, delete_organisation, organisation
from accounts.web.organisations import keep, new, organisations, switch
from accounts.web.team import invitation_renew, invitation_revoke, leave, member_remove, member_role, team

urlpatterns = [
    path("join/<str:token>/", join, name="join"),
    path("team/", team, name="team"),
    path("team/members/<uuid:member>/role/", member_role, name="member-role"),
    path("team/members/<uuid:member>/remove/", member_remove, name="member-remove"),
    path("team/invitations/<uuid:invitation>/renew/", invitation_renew, name="invitation-renew"),
    path("team/invitations/<uuid:invitation>/revoke/", invitation_revoke, name="invitation-revoke"),
    path("team/leave/", leave, name="leave"),
    path("team/organisation/", organisation, name="organisation"),
    path("team/organisation/export/", ask_export, name="export"),
    path("team/organisation/delete/", delete_organisation, name="organisation-delete"),
    path("team/audit/", audit_log, name="audit"),
    path("team/audit/csv/", audit_csv, name="audit-csv"),
    path("organisations/", organisations, name="organisations"),
    path("organisations/switch/", switch, name="organisation-switch"),
    path("organisations/new/", new, name="organisation-new"),
    path("organisations/<uuid:tenant>/keep/", keep, name="organisation-keep"),
]
