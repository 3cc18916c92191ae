"""The page of the rules for answers."""

from __future__ import annotations

import pytest

from accounts.tenancy import in_tenant
from generation.models import PromptRule
from tests.factories import Person

PAGE = "/team/rules/"
WORD = {"text": "lighthouse", "kind": "word", "action": "redact"}


def rules(person: Person) -> list[tuple[str, str, str, bool]]:
    with in_tenant(person.tenant.pk):
        return [(row.text, row.kind, row.action, row.enabled) for row in PromptRule.objects.all()]


def test_make_switch_delete(alice: Person) -> None:
    assert "No rules yet" in alice.client.get(PAGE).content.decode()
    answer = alice.client.post(PAGE, WORD, follow=True)
    assert "The rule holds for answers that begin from now on." in answer.content.decode()
    alice.client.post(PAGE, {"text": "<b>\\d{4}", "kind": "pattern", "action": "stop"})
    text = alice.client.get(PAGE).content.decode()
    assert "<b>\\d" not in text and "&lt;b&gt;\\d{4}" in text
    assert rules(alice) == [("lighthouse", "word", "redact", True), ("<b>\\d{4}", "pattern", "stop", True)]
    with in_tenant(alice.tenant.pk):
        first = PromptRule.objects.all()[0].pk
    for enabled in (False, True):
        assert alice.client.post(f"{PAGE}{first}/switch/", {"enabled": str(enabled).lower()}).status_code == 302
        assert rules(alice)[0][3] is enabled
        assert (" · switched off" in alice.client.get(PAGE).content.decode()) is not enabled
    assert alice.client.post(f"{PAGE}{first}/delete/").status_code == 302
    assert [row[0] for row in rules(alice)] == ["<b>\\d{4}"]


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ({**WORD, "text": ""}, "This field is required"),
        ({**WORD, "text": "a+", "kind": "pattern"}, "id_text_error"),
        ({**WORD, "text": "w" * 65}, "a word must have 1 to 64 characters"),
        ({**WORD, "kind": "poem"}, "id_kind_error"),
        (WORD, "there is this rule already"),
    ],
)
def test_refusals_stand_at_their_field(alice: Person, body: dict[str, str], words: str) -> None:
    alice.client.post(PAGE, WORD)
    answer = alice.client.post(PAGE, body)
    assert answer.status_code == 400
    assert words.casefold() in answer.content.decode().casefold()
    assert len(rules(alice)) == 1


def test_a_trial_keeps_nothing_and_says_what_would_be_shown(alice: Person) -> None:
    def tried(answer: str) -> str:
        found = alice.client.post(f"{PAGE}try/", {"answer": answer})
        assert found.status_code == 200
        return found.content.decode()

    alice.client.post(PAGE, WORD)
    alice.client.post(PAGE, {"text": "secret", "kind": "word", "action": "stop"})
    assert "The [removed] is tall." in tried("The Lighthouse is tall.")
    assert "No rule finds anything in it." in tried("Lighthouses are tall.")
    ended = tried("He said: a secret of the lighthouse")
    assert "A rule ends this answer here:" in ended and "He said: a </p>" in ended
    assert alice.client.post(f"{PAGE}try/", {"answer": ""}).status_code == 400
    with in_tenant(alice.tenant.pk):
        PromptRule.objects.update(enabled=False)
    assert "No rule finds anything in it." in tried("The Lighthouse is tall.")


def test_who_may_not(alice: Person, bob: Person, mallory: Person) -> None:
    alice.client.post(PAGE, WORD)
    with in_tenant(alice.tenant.pk):
        rule = PromptRule.objects.get().pk
    for person, status in ((bob, 403), (mallory, 404)):
        for path in (f"{rule}/switch/", f"{rule}/delete/"):
            assert person.client.post(PAGE + path, {"enabled": "false"}).status_code == status
    for path, body in (("", WORD), ("try/", {"answer": "lighthouse"})):
        assert bob.client.post(PAGE + path, body).status_code == 403
    assert bob.client.get(PAGE).status_code == 403
    assert "/team/rules/" not in bob.client.get("/team/").content.decode()
    assert "/team/rules/" in alice.client.get("/team/").content.decode()
    assert rules(alice) == [("lighthouse", "word", "redact", True)]
