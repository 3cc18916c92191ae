"""An export whose worker is killed in the middle is made anew by the next one, and nothing half-made is left."""

from __future__ import annotations

import signal
import zipfile
from pathlib import Path

from accounts.domain.exports import request_export
from accounts.tenancy import across_tenants, in_tenant
from generation.models import Image
from tests.accounts.rows import make_row
from tests.chaos.rig import Rig, wait_until
from tests.factories import Person

PICTURES = 20
# A worker that is killed, by itself and for good, when ten pictures are in the file.
DYING = """
import django; django.setup()
import os, signal
from generation.domain import bundle
from generation.worker.errands import slow_turn
keep = bundle.Bundle._keep
def keep_or_die(self):
    keep(self)
    if self._done == 10:
        self._file.flush()
        os.kill(os.getpid(), signal.SIGKILL)
bundle.Bundle._keep = keep_or_die
slow_turn()
"""


def fill(person: Person, media: Path) -> None:
    with across_tenants():
        for number in range(PICTURES):
            image = make_row(Image, tenant=person.tenant.pk)
            name = f"{person.tenant.pk}/someone/2026-11/{number}.png"
            Image.objects.filter(pk=image.pk).update(file=name)
            (media / name).parent.mkdir(parents=True, exist_ok=True)
            (media / name).write_bytes(bytes([number]) * 100_000)


def test_killed_in_the_middle(rig: Rig, alice: Person, media: Path) -> None:
    fill(alice, media)
    with in_tenant(alice.tenant.pk):
        export = request_export(by=alice.caller).pk
    died = rig.start("dying", "-c", DYING, role="errands", DJANGO_SETTINGS_MODULE="qwenstudio.settings")
    assert died.wait(120) == -signal.SIGKILL, rig.log("dying")
    folder = media / str(alice.tenant.pk) / "exports"
    (left,) = folder.iterdir()
    assert left.suffix == ".tmp" and left.stat().st_size > 1_000_000 - 1
    assert rig.ask("SELECT status, file FROM accounts_export") == [("running", "")]

    rig.ask("UPDATE accounts_errand SET lease_until = now() WHERE kind = 'export'")
    rig.start_errands()
    wait_until(
        lambda: rig.ask("SELECT status FROM accounts_export") == [("ready",)],
        seconds=120, what=f"the export\n{rig.log('errands')}",
    )  # fmt: skip
    assert [path.name for path in folder.iterdir()] == [f"{export}.zip"]
    with zipfile.ZipFile(folder / f"{export}.zip") as bundle:
        assert bundle.testzip() is None
        assert len([name for name in bundle.namelist() if name.startswith("images/")]) == PICTURES
    assert rig.end("errands") == 0
