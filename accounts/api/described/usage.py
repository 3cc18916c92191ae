"""/api/v1/usage, /api/v1/members/{member}/budget."""

from __future__ import annotations

from typing import Any

from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiExample, OpenApiParameter
from rest_framework import serializers as s

from accounts.api.described.common import BODY, PAGE, RETRY_AFTER, Shape, refusals
from accounts.api.serializers import StrictSerializer
from accounts.domain.limits import BUDGET_LIMITS, most_of
from accounts.domain.usage import GROUPS, MAX_DAYS


class Named(Shape):
    id = s.UUIDField()
    name = s.CharField(allow_blank=True)


class UsageRow(Shape):
    """What was used; `day`, `member`, `key` and `model` where `group_by` names them."""

    day = s.DateField(required=False)
    member = Named(required=False, allow_null=True)
    key = Named(required=False, allow_null=True, help_text="null: signed in, without a key")
    model = s.CharField(required=False, allow_null=True)
    images = s.IntegerField()
    gpu_ms = s.IntegerField()
    tokens = s.IntegerField()


class UsagePage(Shape):
    """One page; follow `next` and `previous` as they stand."""

    results = UsageRow(many=True)
    next = s.URLField(allow_null=True)
    previous = s.URLField(allow_null=True)


class WholeNumber(s.IntegerField):
    """A number of JSON; the framework's own also takes "5"."""

    def to_internal_value(self, data: Any) -> int:
        if not isinstance(data, int) or isinstance(data, bool):
            self.fail("invalid")
        return int(super().to_internal_value(data))


BudgetForm = type(
    "BudgetForm",
    (StrictSerializer,),
    {
        "__doc__": "What a member may use, beside all that holds for the tenant; null is as much as the tenant.",
        **{
            name: WholeNumber(required=False, allow_null=True, min_value=1, max_value=most_of(name), default=None)
            for name in BUDGET_LIMITS
        },
    },
)

USAGE: dict[str, Any] = {
    "operation_id": "list_usage",
    "summary": "Read usage",
    "description": (
        "Summed from the ledger: one's own, or everybody's for owners and admins (a key needs the scope `admin` for "
        "that). What is under way counts with what is set aside for it; deleted pictures stay in the sums."
    ),
    "parameters": [
        OpenApiParameter(
            "group_by", OpenApiTypes.STR, description=f"Some of {', '.join(GROUPS)}, with commas; `day` without it."
        ),
        OpenApiParameter("from", OpenApiTypes.DATE, description="The first UTC day; 30 days in all without it."),
        OpenApiParameter("to", OpenApiTypes.DATE, description=f"The last one; at most {MAX_DAYS} days in all."),
        OpenApiParameter("member", OpenApiTypes.UUID),
        OpenApiParameter("key", OpenApiTypes.UUID),
        OpenApiParameter("model", OpenApiTypes.STR),
        *PAGE,
        RETRY_AFTER,
    ],
    "responses": {200: UsagePage, **refusals(400, 404)},
}
GET_BUDGET: dict[str, Any] = {
    "operation_id": "get_budget",
    "summary": "Read a member's budget",
    "parameters": [RETRY_AFTER],
    "responses": {200: BudgetForm, **refusals(400, 404)},
}
SET_BUDGET: dict[str, Any] = {
    "operation_id": "set_budget",
    "summary": "Set a member's budget",
    "description": "All of it: what is left out is no limit. Admins set members' budgets, owners everybody's.",
    "parameters": [RETRY_AFTER],
    "request": BudgetForm,
    "examples": [OpenApiExample("Fifty images a day", {"images_per_day": 50}, request_only=True)],
    "responses": {200: BudgetForm, **refusals(*BODY, 404)},
}
