"""The page of usage: what is left, what was used on which day, and by whom; and the same as a file."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import Any
from urllib.parse import urlencode

from django.http import Http404, StreamingHttpResponse
from django.http.response import HttpResponseBase
from django.shortcuts import render
from django.utils.translation import gettext_lazy as _
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_safe

from accounts.domain.amounts import metric_of
from accounts.domain.callers import Caller
from accounts.domain.left import StorageLeft, storage_left, usage_left
from accounts.domain.roles import Right
from accounts.domain.usage import UsageFilter, narrow_usage, today
from accounts.domain.usagechart import UsageReport, report_usage
from accounts.domain.usagerows import write_usage
from accounts.enums import Metric
from accounts.errors import InvalidField, NotAllowed, NotFound
from accounts.ids import read_id
from accounts.models import ApiKey, Membership
from accounts.web.access import member_page
from accounts.web.chart import draw_chart
from accounts.web.requests import StudioRequest

PERIODS = (7, 30, 90)  # days
METRICS = ((Metric.IMAGES.value, _("images")), (Metric.GPU_MS.value, _("GPU time")), (Metric.TOKENS.value, _("tokens")))
BY = (("", _("all together")), ("member", _("member")), ("key", _("API key")), ("model", _("model")))
OFFERED = 200  # members and keys in a filter
NEARLY = 80  # percent


@dataclass(frozen=True, slots=True)
class Gauge:
    """One limit as a bar: how much of it is used or set aside."""

    limit: str
    metric: str
    whose: str  # "", "member" or "key"
    quota: int | None
    used: int
    left: int | None
    percent: int
    resets_in_s: int | None

    @property
    def state(self) -> str:
        """`full`, `nearly` or nothing."""
        return "full" if self.percent >= 100 else "nearly" if self.percent >= NEARLY else ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wishes:
    """The page's query, with what it does not know left out."""

    days: int = 30
    by: str = ""
    metric: str = Metric.IMAGES.value
    member: str = ""
    key: str = ""
    model: str = ""

    def query(self) -> str:
        """As an address has it."""
        values = {name: getattr(self, name) for name in self.__slots__}
        return urlencode({name: value for name, value in values.items() if value})


@never_cache
@require_safe
@member_page
def usage(request: StudioRequest, caller: Caller) -> HttpResponseBase:
    """Gauges, chart and table; everybody sees their own, owners and admins all of the tenant."""
    wishes = read_wishes(request)
    try:
        wanted = narrow(caller, wishes)
    except NotAllowed:
        return render(request, "403.html", status=403)
    report = report_usage(wanted, by=wishes.by, metric=wishes.metric)
    context = {
        "wishes": wishes,
        "query": wishes.query(),
        "gauges": gauges(caller),
        "wanted": wanted,
        "report": report,
        "chart": draw_chart(report, metric=wishes.metric),
        "days": [(day, report.day(day)) for day in reversed(report.days) if day in report.by_day],
        "periods": PERIODS,
        "metrics": METRICS,
        "ways": BY,
        "may_set_budgets": caller.has(Right.SET_BUDGETS),
        **_choices(caller, wanted, report),
    }
    return render(request, "accounts/usage.html", context)


@never_cache
@require_safe
@member_page
def usage_csv(request: StudioRequest, caller: Caller) -> HttpResponseBase:
    """The same period and filters by day, member, key and model, as a file."""
    try:
        wanted = narrow(caller, read_wishes(request))
    except NotAllowed:
        return render(request, "403.html", status=403)
    name = f"usage-{wanted.first}-{wanted.last}.csv"
    headers = {"Content-Disposition": f'attachment; filename="{name}"'}
    return StreamingHttpResponse(write_usage(wanted), content_type="text/csv; charset=utf-8", headers=headers)


def read_wishes(request: StudioRequest) -> Wishes:
    """What the address asks for; whatever it says that cannot be is as if it were not there."""
    said = request.GET
    days = said.get("days", "")
    return Wishes(
        days=int(days) if days in map(str, PERIODS) else 30,
        by=_one_of(said.get("by", ""), [name for name, _ in BY]),
        metric=_one_of(said.get("metric", ""), [name for name, _ in METRICS]) or Metric.IMAGES.value,
        member=said.get("member", ""),
        key=said.get("key", ""),
        model=said.get("model", ""),
    )


def narrow(caller: Caller, wishes: Wishes) -> UsageFilter:
    """The filter behind the wishes; an id or name that is nobody's to see is a page that is not there."""
    try:
        return narrow_usage(
            by=caller,
            first=today() - timedelta(days=wishes.days - 1),
            last=today(),
            member=read_id(wishes.member) if wishes.member else None,
            key=read_id(wishes.key) if wishes.key else None,
            model=wishes.model or None,
        )
    except (NotFound, InvalidField):
        raise Http404 from None


def gauges(caller: Caller) -> list[Gauge]:
    """The limits that are set, then what is counted without one."""
    found = [
        _gauge(left.limit, left.quota, left.used + left.reserved, left.left, left.resets_in_s)
        for left in usage_left(caller)
    ]
    storage: StorageLeft = storage_left(caller)
    found.append(_gauge("storage_bytes", storage.quota, storage.used, storage.left, None))
    told = [gauge for gauge in found if gauge.quota is not None or gauge.used]
    return sorted(told, key=lambda gauge: gauge.quota is None)


def _gauge(limit: str, quota: int | None, used: int, left: int | None, resets_in_s: int | None) -> Gauge:
    percent = 0 if quota is None else min(100, max(0, used) * 100 // quota)
    whose = next((word for word in ("member", "key") if limit.startswith(f"{word}_")), "")
    return Gauge(limit, metric_of(limit), whose, quota, used, left, percent, resets_in_s)


def _choices(caller: Caller, wanted: UsageFilter, report: UsageReport) -> dict[str, Any]:
    """What the filters offer: two more statements, one for who sees only their own."""
    keys = ApiKey.objects.order_by("name", "id").values_list("pk", "name")
    members: list[tuple[str, str]] = []
    if wanted.everybody:
        rows = Membership.objects.filter(tenant_id=caller.tenant).select_related("user").order_by("user__name", "id")
        members = [(str(row.user_id), row.user.get_short_name()) for row in rows[:OFFERED]]
    else:
        keys = keys.filter(user_id=caller.user)
    models = sorted({*report.models, *([wanted.model] if wanted.model else [])})
    return {
        "members": members,
        "keys": [(str(pk), name) for pk, name in keys[:OFFERED]],
        "models": [(name, name) for name in models],
    }


def _one_of(value: str, allowed: list[str]) -> str:
    return value if value in allowed else ""
