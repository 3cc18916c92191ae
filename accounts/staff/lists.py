"""Lists of the admin that can be looked at: quick however long their tables are, and found in by ids and addresses."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from uuid import UUID

from django.contrib import admin
from django.core.paginator import Paginator
from django.db.models import Q, QuerySet
from django.http import HttpRequest
from django.urls import reverse
from django.utils.functional import cached_property
from django.utils.html import format_html
from django.utils.http import urlencode
from django.utils.safestring import SafeString

from accounts.domain.keys import SHOWN_CHARS
from accounts.models import ApiKey, Tenant, User
from accounts.models.user import normal_email

if TYPE_CHECKING:
    Base = admin.ModelAdmin[Any]
    PaginatorBase = Paginator[Any]
else:
    Base, PaginatorBase = admin.ModelAdmin, Paginator

COUNTED = 10_000  # rows; a list of more says so many and no more
MATCHES = 50  # tenants or people whose name or address is like what was typed


class BoundedPaginator(PaginatorBase):
    """Counts no further than `COUNTED`: the exact number of a long table takes longer than the page."""

    @cached_property
    def count(self) -> int:
        """How many rows there are, at most `COUNTED`."""
        rows: QuerySet[Any] = self.object_list  # type: ignore[assignment]
        return min(rows.order_by()[:COUNTED].count(), COUNTED)


class ReadOnlyAdmin(Base):
    """A list to look at; what can be done with its rows is an action, which asks for `act`."""

    list_per_page = 50
    show_full_result_count = False
    show_facets = admin.ShowFacets.NEVER
    paginator = BoundedPaginator

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_act_permission(self, request: HttpRequest) -> bool:
        """For the actions: the rows themselves cannot be edited."""
        return request.user.has_perm(f"{self.opts.app_label}.change_{self.opts.model_name}")


class FindingMixin(Base):
    """Searches by what indexes can answer: ids, an address, a key's prefix, a tenant's name."""

    id_fields: tuple[str, ...] = ()  # compared with an id that was typed
    person_field = ""  # holds the id of a person
    key_field = ""  # holds the id of a key
    tenant_field = "tenant"
    text_fields: tuple[str, ...] = ()  # compared as a whole

    def get_search_fields(self, request: HttpRequest) -> tuple[str, ...]:
        """Only so that the box is shown."""
        return ("pk",)

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Any], search_term: str
    ) -> tuple[QuerySet[Any], bool]:
        """The rows that one term leads to."""
        term = search_term.strip().replace("\x00", "")
        return (queryset.filter(self._condition(term)) if term else queryset), False

    def _condition(self, term: str) -> Q:
        found = Q(*((name, term) for name in self.text_fields), _connector=Q.OR) if self.text_fields else Q(pk__in=[])
        wanted = read_id(term)
        if wanted is not None:
            fields = (*self.id_fields, *filter(None, (self.person_field, self.key_field, self.tenant_field)))
            # A request's id is a UUID without its dashes.
            found |= Q(*((name, wanted) for name in fields), _connector=Q.OR)
            return found | Q(*((name, wanted.hex) for name in self.text_fields), _connector=Q.OR)
        if term.startswith("qs_"):
            return found | Q(**{f"{self.key_field}__in": key_ids(term)}) if self.key_field else found
        if "@" in term and self.person_field:
            people = User.objects.filter(email__contains=normal_email(term)).values_list("pk", flat=True)[:MATCHES]
            return found | Q(**{f"{self.person_field}__in": list(people)})
        tenants = Tenant.objects.filter(name__icontains=term).values_list("pk", flat=True)[:MATCHES]
        return found | Q(**{f"{self.tenant_field}__in": list(tenants)})


def short_id(identity: Any, kind: str = "") -> str | SafeString:
    """An id's last characters, which differ, leading to what the search finds of it; all of it is the link's title."""
    if not identity:
        return "–"
    address = f"{reverse('admin-search')}?{urlencode({'q': identity})}"
    return format_html(
        '{}<a href="{}" title="{}">…{}</a>', f"{kind} " if kind else "", address, identity, str(identity)[-8:]
    )


def name_key(identity: UUID | None) -> str:
    """A key by its name, on the page of one row; one that is gone is an id."""
    key = ApiKey.objects.filter(pk=identity).first() if identity else None
    return str(key or identity or "–")


def read_id(term: str) -> UUID | None:
    """An id that was typed, with or without dashes."""
    try:
        return UUID(term) if len(term) in (32, 36) else None
    except ValueError:
        return None


def key_ids(term: str) -> list[UUID]:
    """The keys that begin so; only as much of a key is looked at as lists show of it."""
    return [key.pk for key in find_keys(term)]


def find_keys(term: str | UUID) -> list[ApiKey]:
    """The keys with this id, or that begin so, with their tenants."""
    keys = ApiKey.objects.select_related("tenant", "user")
    if isinstance(term, UUID):
        return list(keys.filter(pk=term))
    shown = shown_of_key(term)
    whole = len(shown) == SHOWN_CHARS
    found = keys.filter(prefix=shown) if whole else keys.filter(prefix__startswith=shown)
    return list(found.order_by("-created_at")[:MATCHES])


def shown_of_key(term: str) -> str:
    """What lists show of a key. Somebody may paste a whole one: its secret part goes no further than here."""
    return term[:SHOWN_CHARS]
