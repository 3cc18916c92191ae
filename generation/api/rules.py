"""/api/v1/rules: the rules for answers of one's organisation."""

from __future__ import annotations

from typing import Any, ClassVar
from uuid import UUID

from django.conf import settings
from drf_spectacular.utils import extend_schema
from rest_framework.request import Request
from rest_framework.response import Response

from accounts.api.permissions import BY_RIGHT
from accounts.api.serializers import read_body
from accounts.api.views import CountedView, check_parameters
from generation.api import ruleshapes as describe
from generation.books.rules import change_rule, delete_rule, get_rule, list_rules, make_rule
from generation.domain.present import present_time
from generation.models import PromptRule


class RulesView(CountedView):
    """List and make."""

    required_scopes: ClassVar[dict[str, str]] = {"GET": BY_RIGHT, "POST": BY_RIGHT}

    @extend_schema(**describe.LIST)
    def get(self, request: Request) -> Response:
        """All of them: never enough for pages, in the shape of those that have some."""
        check_parameters(request)
        found = [present_rule(row) for row in list_rules(by=self.caller)]
        return Response({"results": found, "next": None, "previous": None})

    @extend_schema(**describe.MAKE)
    def post(self, request: Request) -> Response:
        """A further one."""
        made = make_rule(by=self.caller, **read_body(describe.RuleForm, request))
        headers = {"Location": f"{settings.STUDIO_URL}/api/v1/rules/{made.pk}"}
        return Response(present_rule(made), status=201, headers=headers)


class RuleView(CountedView):
    """One rule."""

    required_scopes: ClassVar[dict[str, str]] = {"GET": BY_RIGHT, "PATCH": BY_RIGHT, "DELETE": BY_RIGHT}

    @extend_schema(**describe.READ)
    def get(self, request: Request, rule: UUID) -> Response:
        """As it is now."""
        check_parameters(request)
        return Response(present_rule(get_rule(by=self.caller, rule_id=rule)))

    @extend_schema(**describe.CHANGE)
    def patch(self, request: Request, rule: UUID) -> Response:
        """What the body names."""
        wanted = read_body(describe.RuleForm, request, partial=True)
        return Response(present_rule(change_rule(by=self.caller, rule_id=rule, **wanted)))

    @extend_schema(**describe.DELETE)
    def delete(self, request: Request, rule: UUID) -> Response:
        """For good."""
        delete_rule(by=self.caller, rule_id=rule)
        return Response(status=204)


def present_rule(row: PromptRule) -> dict[str, Any]:
    """A rule's JSON."""
    return {
        "id": row.pk,
        "kind": row.kind,
        "action": row.action,
        "text": row.text,
        "enabled": row.enabled,
        "created_at": present_time(row.created_at),
        "updated_at": present_time(row.updated_at),
    }
