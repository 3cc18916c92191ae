"""The house of the matrix, and a look at everything in it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import psycopg
import pytest

if TYPE_CHECKING:
    from tests.factories import Person
    from tests.matrix.asking import Stored
    from tests.matrix.house import House


@pytest.fixture
def house(alice: Person, mallory: Person, media: Path, admin_sql: psycopg.Connection[tuple[Any, ...]]) -> House:
    """Two tenants; a model, a chat model and a LoRA are on offer, and no plan stands in the way."""
    from accounts.models import Plan
    from generation.models import ChatModel, Model
    from tests.chaos.rig import offer_sleeping_model
    from tests.generation.lorafiles import offer_lora
    from tests.matrix.house import House

    offer_sleeping_model()
    spec = Model.objects.get(slug="demo").spec | {"tasks": ["text-to-image", "image-to-image", "inpaint"]}
    Model.objects.filter(slug="demo").update(spec=spec)
    offer_lora("style")
    ChatModel.objects.create(slug="talker", title="Talker")
    Plan.objects.update(requests_per_minute=100_000, queue_length=100_000)

    def look(sql: str, *values: Any) -> list[tuple[Any, ...]]:
        cursor = admin_sql.execute(sql, values or None)  # type: ignore[arg-type]
        return cursor.fetchall()

    return House(alice=alice, mallory=mallory, media=media, look=look)


@pytest.fixture
def stored(house: House) -> Stored:
    """Everything that is stored."""
    from tests.matrix.asking import Stored

    return Stored(house.look, house.media)
