from __future__ import annotations
from pathlib import Path
import pytest
from qwenstudio.embedded import Services
from tests.factories import Person
from tests.deploy.server import running_server
from tests.chaos.rig import offer_sleeping_model

@pytest.mark.timeout(600)
@pytest.mark.needs_nginx
def test_try(tmp_path: Path, services: Services, alice: Person) -> None:
    offer_sleeping_model()
    with running_server(tmp_path / "server", services) as server:
        print(server.default(), server.states("blue"))
        server.add_release("two")
        for words in (("start", "green"), ("promote", "green"), ("rollback",), ("promote", "green"), ("drain", "blue"), ("finish",)):
            t = server.release(*words, fails=None)
            print(words, t.code, round(t.seconds, 1), t.said)
            print(server.default())
