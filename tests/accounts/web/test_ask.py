"""What takes something away is asked first, also without the script that asks."""

from __future__ import annotations

import re
from html import unescape

from django.test import Client

from accounts.models import ApiKey
from accounts.tenancy import in_tenant
from tests.factories import Person

FORM = re.compile(r'<form method="post" action="([^"]+)"[^>]* data-confirm>(.*?)</form>', re.S)
HIDDEN = re.compile(r'<input type="hidden" name="([^"]+)" value="([^"]*)">')


def form_for(page: str, address: str) -> dict[str, str]:
    """What a browser without scripts sends of the form."""
    body = next(body for action, body in FORM.findall(page) if action == address)
    return {name: unescape(value) for name, value in HIDDEN.findall(body)}


def revoked(person: Person) -> bool:
    with in_tenant(person.tenant.pk):
        return ApiKey.objects.get(pk=person.key.pk).revoked_at is not None


def test_a_form_without_its_script_is_asked_by_a_page(alice: Person) -> None:
    page, address = f"/keys/{alice.key.pk}/", f"/keys/{alice.key.pk}/revoke/"
    form = form_for(alice.client.get(page).content.decode(), address)
    asked = alice.client.post(address, form)
    assert asked.status_code == 200
    assert "no-store" in asked["Cache-Control"]
    words = asked.content.decode()
    assert f"<h1>Revoke {alice.key.name}?</h1>" in words
    assert f'href="{page}"' in words  # the way back
    assert not revoked(alice)
    assert 'name="ask"' not in words  # its own form does it
    assert alice.client.post(address).status_code == 302
    assert revoked(alice)


def test_the_page_sends_on_what_the_form_had(alice: Person) -> None:
    address = f"/keys/{alice.key.pk}/rotate/"
    form = form_for(alice.client.get(f"/keys/{alice.key.pk}/").content.decode(), address)
    words = alice.client.post(address, {**form, "overlap_s": "3600"}).content.decode()
    assert '<input type="hidden" name="overlap_s" value="3600">' in words


def test_the_way_back_leads_nowhere_else_and_words_are_words(alice: Person) -> None:
    form = {"ask": "<b>really?</b>", "ask-back": "https://elsewhere.example/"}
    words = alice.client.post(f"/keys/{alice.key.pk}/revoke/", form).content.decode()
    assert "<b>really?</b>" not in words
    assert 'href="https://elsewhere' not in words
    assert not revoked(alice)


def test_nobody_else_puts_words_there(alice: Person) -> None:
    strict = Client(enforce_csrf_checks=True)
    strict.cookies = alice.client.cookies
    answer = strict.post(f"/keys/{alice.key.pk}/revoke/", {"ask": "Your account was hacked. Call 555."})
    assert answer.status_code == 403
    assert "555" not in answer.content.decode()
