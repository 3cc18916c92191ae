"""A process on a restored studio: people sign in, keys work, pictures are there. Prints what it saw as JSON.

`python -m tests.qwenstudio.backup.probe EMAIL PASSWORD KEY IMAGE_PATH` with a studio's environment.
"""

from __future__ import annotations

import json
import os
import sys

os.environ["DJANGO_SETTINGS_MODULE"] = "qwenstudio.settings"

import django

django.setup()

from django.test import Client  # noqa: E402
from django.test.utils import setup_test_environment  # noqa: E402


def main(email: str, password: str, secret: str, session: str) -> None:
    setup_test_environment()
    person = Client()
    person.post("/sign-in/", {"email": email, "password": password})
    program = Client(headers={"Authorization": f"Bearer {secret}"})
    found = program.get("/api/v1/images").json()["results"]
    before = Client()
    before.cookies["studio_session"] = session
    pictures = [b"".join(person.get(image["url"])) for row in found for image in row["images"]]
    print(json.dumps({
        "signed_in": person.get("/account/").status_code,
        "old_session": before.get("/account/").status_code,
        "key": program.get("/api/v1/me").status_code,
        "pictures": sorted(picture.decode() for picture in pictures),
        "foreign": Client(headers={"Authorization": "Bearer qs_live_wrong"}).get("/api/v1/me").status_code,
    }))  # fmt: skip


if __name__ == "__main__":
    main(*sys.argv[1:])
