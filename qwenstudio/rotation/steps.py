"""Each secret's way from old to new."""

from __future__ import annotations

import json
import os
import secrets
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import urlsplit

from qwenstudio.processes import ROOT, manage
from qwenstudio.restarting import KINDS, Say, lanes_of, restart_units, running_units, start_units
from qwenstudio.rotation import database, redis
from qwenstudio.rotation.errors import RotationError
from qwenstudio.rotation.files import Secrets
from qwenstudio.units.control import Units
from qwenstudio.units.layout import Layout

FALLBACKS, FALLBACKS_VARIABLE = "secret-key-fallbacks", "SECRET_KEY_FALLBACKS_FILE"
ROLES = {"database-worker-url": "studio_worker", "database-owner-url": "studio_owner", "database-url": "studio_web"}
"""Pages come last: they serve again a moment later."""
SECRETS = {
    "secret-key": "signs sessions, links and receipts",
    "encryption-key": "seals e-mails that wait and second factors",
    "database": "the passwords of the three roles",
    "redis": "the password of Redis or Valkey",
}


@dataclass(frozen=True)
class Rotation:
    """One installation and whoever runs its units. Methods raise `RotationError`, `NotServing`, `UnitsError`."""

    layout: Layout
    units: Units
    say: Say
    timeout_s: float

    @property
    def secrets(self) -> Secrets:
        return Secrets(self.layout)

    def refuse_two_lanes(self) -> None:
        """Two releases read the same files, and the older one may not know what the newer writes."""
        if len(lanes_of(running_units(self.units, self.layout))) > 1:
            raise RotationError("two lanes run: end the release first (studio release status says how)")

    # ---- what signs

    def secret_key(self) -> None:
        """A new key signs, the old one's signatures stay good."""
        old = self.secrets.read("secret-key")
        before = self.secrets.read(FALLBACKS).split() if self.secrets.has(FALLBACKS) else []
        self.secrets.write(FALLBACKS, " ".join(dict.fromkeys([old, *before])), like="secret-key")
        self.secrets.name_it(FALLBACKS_VARIABLE, FALLBACKS)
        self.secrets.write("secret-key", secrets.token_urlsafe(50))
        self._restart()
        self.say("A new key signs; what older ones have signed stays good until: studio rotate secret-key --finish")

    def finish_secret_key(self) -> None:
        """Older keys' signatures are worth nothing any more."""
        self.secrets.name_no_longer(FALLBACKS_VARIABLE)
        self.secrets.remove(FALLBACKS)
        self._restart()
        self.say("Older keys are gone: who has not come since is signed out, links that were mailed are spent.")

    # ---- what seals

    def encryption_key(self) -> None:
        """A new key seals, everything is sealed anew, the old one is only for backups."""
        self.secrets.write("encryption-keys", f"{secrets.token_hex(32)} {self.secrets.read('encryption-keys')}")
        self._restart()
        self._reencrypt()
        self.say("Nothing needs the old key but backups of before. Put it beside them, then take it away here:")
        self.say("  studio rotate encryption-key --finish")

    def finish_encryption_key(self) -> None:
        """Only the newest is left."""
        newest, *older = self.secrets.read("encryption-keys").split()
        self._reencrypt()
        self.secrets.write("encryption-keys", newest)
        self._restart()
        self.say(f"{len(older)} older keys are gone. Backups from before cannot be restored without them.")

    def _reencrypt(self) -> None:
        """Until nothing was left to do, under the keys of the file: those of this process may be older."""
        keys = {"STUDIO_ENCRYPTION_KEYS_FILE": str(self.layout.secret("encryption-keys")), "STUDIO_PROCESS": "ticker"}
        environment = {name: value for name, value in os.environ.items() if name != "STUDIO_ENCRYPTION_KEYS"} | keys
        while True:
            done = subprocess.run(manage("reencrypt"), cwd=ROOT, env=environment, capture_output=True, text=True)
            if done.returncode != 0:
                said = (done.stdout + done.stderr).strip()[-600:]
                raise RotationError(f"not everything can be read; put the key that is missing back: {said}")
            found = json.loads(done.stdout)
            self.say("  sealed anew: " + ", ".join(f"{kind['resealed']} {name}" for name, kind in found.items()))
            if not any(kind["resealed"] for kind in found.values()):
                return

    # ---- passwords of servers

    def database(self) -> None:
        """All three roles. Workers are stopped before, because what they hold needs a new connection to be stored."""
        names = [name for name in ROLES if self.secrets.has(name)]
        old = {name: self.secrets.read(name) for name in names}
        for name in names:
            self.secrets.propose(name, database.with_password(old[name], database.make_password()))
        workers = running_units(self.units, self.layout, kinds=("gpu", "worker", "ticker", "metrics"))
        if workers:
            self.say("  workers finish what they hold ...")
            self.units.stop(workers)
        try:
            for name in names:
                self._change_role(name, old[name])
            self._restart(kinds=("web", "stream"))
        finally:
            start_units(self.units, self.layout, workers, say=self.say, timeout_s=self.timeout_s)
        still = [ROLES[name] for name in names if database.signs_in(old[name])]
        if still:
            raise RotationError(f"{', '.join(still)} can sign in without it, too: look for trust in pg_hba.conf")
        self.say(f"{', '.join(ROLES[name] for name in names)} have new passwords; the old ones are refused.")

    def _change_role(self, name: str, old: str) -> None:
        coming = self.secrets.read(f"{name}.new")
        if not database.signs_in(coming):  # else an earlier try was cut off here
            if not database.signs_in(old):
                raise RotationError(f"{ROLES[name]} cannot sign in with the password of {self.layout.secret(name)}")
            database.change_password(old, coming)
        self.secrets.accept(name)

    def redis(self) -> None:
        """Both are good until everybody has the new one."""
        old = self.secrets.read("redis-url")
        if not urlsplit(old).password:
            raise RotationError("REDIS_URL has no password in it: there is none to change")
        coming = self.secrets.propose("redis-url", database.with_password(old, database.make_password()))
        if not redis.signs_in(coming):
            redis.add_password(old, coming)
        self.secrets.accept("redis-url")
        ours = redis.write_configuration(self.layout.etc / "redis.conf", coming)
        self._restart()
        redis.keep_only(coming)
        if redis.signs_in(old):
            raise RotationError("Redis takes the old password too: does it take any (nopass)?")
        self.say("Redis has a new password; the old one is refused.")
        if not ours:
            self.say("It is not our own server: let its configuration say the new one too, before it starts anew.")

    def _restart(self, *, kinds: Sequence[str] = KINDS) -> None:
        names = running_units(self.units, self.layout, kinds=kinds)
        restart_units(self.units, self.layout, names, say=self.say, timeout_s=self.timeout_s)
