"""/api/v1/usage and the budgets of members."""

from __future__ import annotations

from dataclasses import asdict
from typing import ClassVar
from uuid import UUID

from drf_spectacular.utils import extend_schema
from rest_framework.request import Request
from rest_framework.response import Response

from accounts.api.described import usage as describe
from accounts.api.pagination import page_body
from accounts.api.permissions import ANYBODY_KNOWN
from accounts.api.serializers import read_body
from accounts.api.views import CountedView, check_parameters
from accounts.domain.budgets import get_budget, set_budget
from accounts.domain.pages import parse_limit
from accounts.domain.usage import narrow_usage, read_day
from accounts.domain.usagerows import read_groups, read_usage
from accounts.ids import read_id


class UsageView(CountedView):
    """What was used."""

    # One's own with usage:read, everybody's with admin: the domain weighs it.
    required_scopes: ClassVar[dict[str, str]] = {"GET": ANYBODY_KNOWN}

    @extend_schema(**describe.USAGE)
    def get(self, request: Request) -> Response:
        """By day, member, key and model."""
        check_parameters(request, "group_by", "from", "to", "member", "key", "model", "cursor", "limit")
        query = request.query_params
        groups = read_groups(query.get("group_by"))
        wanted = narrow_usage(
            by=self.caller,
            first=read_day(query.get("from"), name="from"),
            last=read_day(query.get("to"), name="to"),
            member=read_id(query["member"]) if query.get("member") else None,
            key=read_id(query["key"]) if query.get("key") else None,
            model=query.get("model") or None,
        )
        page = read_usage(wanted, groups=groups, cursor=query.get("cursor"), limit=parse_limit(query.get("limit")))
        return Response(page_body(request, page))


class BudgetView(CountedView):
    """A member's budget."""

    # Whose budget one sees and sets hangs on rights, which the domain weighs.
    required_scopes: ClassVar[dict[str, str]] = {"GET": ANYBODY_KNOWN, "PUT": ANYBODY_KNOWN}

    @extend_schema(**describe.GET_BUDGET)
    def get(self, request: Request, member: UUID) -> Response:
        """As it is now."""
        check_parameters(request)
        return Response(asdict(get_budget(by=self.caller, user=member)))

    @extend_schema(**describe.SET_BUDGET)
    def put(self, request: Request, member: UUID) -> Response:
        """Another one in its place."""
        limits = read_body(describe.BudgetForm, request)
        return Response(asdict(set_budget(by=self.caller, user=member, limits=limits)))
