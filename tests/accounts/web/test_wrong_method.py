"""An address that only takes forms, opened as a page."""

from __future__ import annotations

import pytest

from tests.factories import Person


@pytest.mark.parametrize("path", ["/team/organisation/delete/", "/team/leave/", "/account/sessions/end-others/"])
def test_who_opens_it_reads_why(alice: Person, path: str) -> None:
    answer = alice.client.get(path)
    assert (answer.status_code, answer["Allow"]) == (405, "POST")
    assert "This address only takes a form." in answer.content.decode()


def test_programs_get_a_problem_as_before(alice: Person) -> None:
    assert alice.api.delete("/api/v1/tenant").json()["code"] == "method_not_allowed"
