"""`studio rotate`: every secret changed under a running installation, and with the power cut at each step."""

from __future__ import annotations

import os
import re
import stat
import subprocess
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path

import httpx
import psycopg
import pytest

from qwenstudio.embedded import Services, start
from qwenstudio.rotation import SECRETS, Rotation, RotationError, Secrets, database, files, redis, steps
from qwenstudio.units.layout import Layout
from tests.deploy.installed import (
    DOMAIN,
    UNITS,
    Installed,
    database_words,
    install,
    let_sleep,
    managed,
    set_up,
    wait_for,
)

LONG_S = 150.0
KINDS = ("web", "stream", "worker", "ticker")
SEAL = """
from accounts.domain.sealed import seal
from accounts.models import User
from allauth.mfa.models import Authenticator
person = User.objects.get(is_staff=True)
Authenticator.objects.create(user=person, type="totp", data={"secret": seal("JBSWY3DP")})
"""
UNSEAL = """
from accounts.domain.sealed import unseal
from allauth.mfa.models import Authenticator
print("opened", unseal(Authenticator.objects.get().data["secret"]))
"""


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Services]:
    """Servers whose passwords may change: not those of the other tests."""
    services = start(tmp_path_factory.mktemp("own"), log=lambda text: None, durable=False, tie=True)
    yield services
    services.stop()


def run_studio(layout: Layout, *words: str, code: int = 0) -> str:
    """One command line as an operator types it."""
    clean = {name: value for name, value in os.environ.items() if name in ("PATH", "HOME", "LANG")}
    done = subprocess.run([str(layout.command), *words], capture_output=True, text=True, timeout=600, env=clean)
    assert done.returncode == code, done.stdout + done.stderr
    return done.stdout + done.stderr


def remember(own: Services, secrets: dict[str, str]) -> None:
    """What the servers take from now on."""
    for role, name in (("web", "database-url"), ("worker", "database-worker-url"), ("owner", "database-owner-url")):
        own.urls[role] = secrets[name]
    own.redis_url = secrets["redis-url"]


def read_all(layout: Layout) -> dict[str, str]:
    """Every secret's text by its name."""
    return {path.name: path.read_text().strip() for path in sorted(layout.secrets.iterdir())}


def modes(layout: Layout) -> dict[str, int]:
    return {path.name: stat.S_IMODE(path.stat().st_mode) for path in layout.secrets.iterdir()}


class Browser:
    """Somebody who is signed in."""

    def __init__(self, found: Installed, email: str, password: str) -> None:
        headers = {"Host": DOMAIN, "X-Forwarded-Proto": "https", "X-Forwarded-For": "127.0.0.1"}
        self.client = httpx.Client(headers=headers, timeout=30)
        self.found, self.kept = found, httpx.Cookies()
        page = self.ask("GET", "/sign-in/")
        token = re.search(r'name="csrfmiddlewaretoken" value="(\w+)"', page.text)
        assert token, page.text[:500]
        form = {"csrfmiddlewaretoken": token[1], "email": email, "password": password}
        entered = self.ask("POST", "/sign-in/", data=form)
        assert entered.status_code == 302, entered.text[:3000]

    def ask(self, method: str, path: str, **options: object) -> httpx.Response:
        """Cookies are marked "secure" and this is nginx's side: they are carried by hand."""
        cookies = "; ".join(f"{name}={value}" for name, value in self.kept.items())
        headers = {"Cookie": cookies, "Referer": f"https://{DOMAIN}/"}
        url = f"http://127.0.0.1:{self.found.port('web')}{path}"
        answer = self.client.request(method, url, headers=headers, **options)  # type: ignore[arg-type]
        for line in answer.headers.get_list("set-cookie"):
            name, _, value = line.partition(";")[0].partition("=")
            self.kept.set(name, value)
        return answer

    @property
    def is_in(self) -> bool:
        return self.ask("GET", "/account/").status_code == 200


@pytest.fixture
def found(tmp_path: Path, own: Services) -> Iterator[Installed]:
    """Everything but the GPU worker: no secret is the engine's, so it need not even load."""
    layout = set_up(tmp_path / "server", own)
    let_sleep(layout)
    run_studio(layout, "migrate", "--verbosity", "0")
    run_studio(layout, "bootstrap_demo")
    with managed(layout) as found:
        wait_for(lambda: found.units.answers(), seconds=LONG_S, what="the manager of the units")
        found.units.stop([UNITS["gpu"]])
        for kind in KINDS:
            wait_for(partial(found.serves, kind), seconds=LONG_S, what=kind)
        yield found


@pytest.mark.timeout(900)
def test_every_secret_changes_under_a_running_studio(found: Installed, own: Services) -> None:
    layout = found.layout
    demo = dict(line.split("=", 1) for line in (layout.var / "demo.env").read_text().splitlines() if "=" in line)
    email, password, key = (demo[name].strip("'\"") for name in ("STUDIO_EMAIL", "STUDIO_PASSWORD", "STUDIO_API_KEY"))
    run_studio(layout, "shell", "-c", SEAL)
    old, rights = read_all(layout), modes(layout)
    comes, stays_away = Browser(found, email, password), Browser(found, email, password)
    assert comes.is_in and stays_away.is_in

    print(run_studio(layout, "rotate", "secret-key"))
    assert comes.is_in, "what the old key has signed is good"
    run_studio(layout, "check", "--deploy")
    print(run_studio(layout, "rotate", "secret-key", "--finish"))
    assert comes.is_in, "they have come since"
    assert not stays_away.is_in, "they have not"

    print(run_studio(layout, "rotate", "encryption-key"))
    assert "opened JBSWY3DP" in run_studio(layout, "shell", "-c", UNSEAL)
    run_studio(layout, "rotate", "encryption-key", "--finish")
    assert "opened JBSWY3DP" in run_studio(layout, "shell", "-c", UNSEAL)
    new = layout.secret("encryption-keys").read_text()
    layout.secret("encryption-keys").write_text(old["encryption-keys"] + "\n")
    assert "not among STUDIO_ENCRYPTION_KEYS" in run_studio(layout, "shell", "-c", UNSEAL, code=1)
    layout.secret("encryption-keys").write_text(new)

    print(run_studio(layout, "rotate", "redis"))
    print(run_studio(layout, "rotate", "database"))
    now = read_all(layout)
    remember(own, now)
    assert now.keys() == old.keys() and modes(layout) == rights, "no file more, none opened"
    assert not [name for name in old if old[name] == now[name]]
    for name in steps.ROLES:
        assert database.signs_in(now[name]) and not database.signs_in(old[name]), name
    assert redis.signs_in(now["redis-url"]) and not redis.signs_in(old["redis-url"])
    assert comes.is_in
    assert found.ask("web", "GET", "/api/v1/images", key=key)[0] == 200

    def is_whole() -> bool:
        status, ready = found.ask("web", "GET", "/readyz")
        return status == 200 and ready["degraded"] == {}

    wait_for(is_whole, seconds=LONG_S, what="a studio that misses nothing")
    run_studio(layout, "migrate", "--check")  # the owner gets in
    with psycopg.connect(now["database-owner-url"]) as connection:
        connection.execute("SET ROLE studio_staff")
        events = connection.execute("SELECT target FROM accounts_auditevent WHERE action = 'secret.rotated'").fetchall()
    assert {target for (target,) in events} == {f"secret:{name}" for name in SECRETS}


# ---- the power, cut


class NoUnits:
    """An installation that is stopped."""

    def states(self, names: Sequence[str]) -> dict[str, str]:
        return dict.fromkeys(names, "inactive")

    def __getattr__(self, name: str) -> Callable[..., None]:
        raise AssertionError(f"{name}: nothing runs here")


class PowerCut(BaseException):
    """Nobody catches it."""


CHANGES = [
    (files, "replace_file"), (files, "sync_folder"), (database, "change_password"), (redis, "_set_user"),
]  # fmt: skip


@pytest.mark.parametrize("secret", ["secret_key", "encryption_key", "database", "redis"])
def test_a_power_cut_at_any_step_is_mended_by_typing_it_again(
    secret: str, own: Services, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cuts = 0
    for place in range(100):
        layout = Layout(tmp_path / f"server-{place}")
        layout.secrets.mkdir(parents=True)
        names = {"database-url": own.urls["web"], "database-worker-url": own.urls["worker"]}
        names |= {"database-owner-url": own.urls["owner"], "redis-url": own.redis_url}
        names |= {"secret-key": "s" * 50, "encryption-keys": "e" * 64}
        for name, text in names.items():
            layout.secret(name).write_text(text + "\n")
        layout.settings.write_text("A=1\n")
        before = read_all(layout)
        rotation = Rotation(layout=layout, units=NoUnits(), say=lambda text: None, timeout_s=1)
        monkeypatch.setattr(Rotation, "_reencrypt", lambda self: None)
        done = run_until(place, partial(getattr(rotation, secret)), monkeypatch)
        if not done:
            cuts += 1
            getattr(rotation, secret)()
        after = read_all(layout)
        check(secret, before, after)
        remember(own, after)
        if done:
            break
    print(f"{secret}: {cuts} places")
    assert cuts >= 2


def run_until(place: int, call: Callable[[], None], monkeypatch: pytest.MonkeyPatch) -> bool:
    """Call it with the power cut before the change of this number (even) or after it (odd); whether it got through."""
    seen = 0

    def cutting(real: Callable[..., object], *words: object, **options: object) -> object:
        nonlocal seen
        number, seen = seen, seen + 1
        if 2 * number == place:
            raise PowerCut
        result = real(*words, **options)
        if 2 * number + 1 == place:
            raise PowerCut
        return result

    with monkeypatch.context() as patch:
        for module, name in CHANGES:
            patch.setattr(module, name, partial(cutting, getattr(module, name)))
        try:
            call()
        except PowerCut:
            return False
    return True


def check(secret: str, before: dict[str, str], after: dict[str, str]) -> None:
    """What was rotated is new and works alone; all else is as it was."""
    assert not [name for name in after if name.endswith(".new")]
    if secret == "secret_key":
        assert after["secret-key"] != before["secret-key"]
        assert before["secret-key"] in after["secret-key-fallbacks"].split()
    elif secret == "encryption_key":
        assert after["encryption-keys"].split()[0] not in before["encryption-keys"].split()
        assert set(before["encryption-keys"].split()) <= set(after["encryption-keys"].split())
    for name in steps.ROLES:
        assert database.signs_in(after[name])
        assert database.signs_in(before[name]) == (secret != "database")
    assert redis.signs_in(after["redis-url"])
    assert redis.signs_in(before["redis-url"]) == (secret != "redis")


# ---- refusals


def test_what_cannot_be_rotated_is_said(own: Services, tmp_path: Path) -> None:
    layout = Layout(tmp_path)
    layout.secrets.mkdir(parents=True)
    rotation = Rotation(layout=layout, units=NoUnits(), say=print, timeout_s=1)
    with pytest.raises(RotationError, match=r"secret-key: No such file"):
        rotation.secret_key()
    layout.secret("redis-url").write_text("unix:///run/redis.sock\n")
    with pytest.raises(RotationError, match="no password in it"):
        rotation.redis()
    layout.secret("database-url").write_text("postgresql://studio_web@/studio?host=/run/postgresql\n")
    with pytest.raises(RotationError, match="no password in it"):
        rotation.database()
    wrong = database.with_password(own.urls["web"], "wrong" * 5)
    layout.secret("database-url").write_text(wrong + "\n")
    with pytest.raises(RotationError, match="studio_web cannot sign in"):
        rotation.database()


def test_two_lanes_are_one_too_many(tmp_path: Path) -> None:
    class TwoLanes(NoUnits):
        def states(self, names: Sequence[str]) -> dict[str, str]:
            return {name: "active" if "studio-web@" in name else "inactive" for name in names}

    rotation = Rotation(layout=Layout(tmp_path), units=TwoLanes(), say=print, timeout_s=1)
    with pytest.raises(RotationError, match="two lanes run"):
        rotation.refuse_two_lanes()


def test_the_old_password_must_be_refused(own: Services, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that asks for none takes every one."""
    layout = Layout(tmp_path)
    layout.secrets.mkdir(parents=True)
    layout.secret("database-url").write_text(own.urls["web"] + "\n")
    monkeypatch.setattr(database, "change_password", lambda old, new: None)
    monkeypatch.setattr(database, "signs_in", lambda url: True)
    with pytest.raises(RotationError, match="studio_web can sign in without it"):
        Rotation(layout=layout, units=NoUnits(), say=print, timeout_s=1).database()


def test_our_own_redis_starts_with_the_new_password(tmp_path: Path) -> None:
    file = tmp_path / "redis.conf"
    file.write_text("port 1\nrequirepass old\nsave 300 1\n")
    file.chmod(0o640)
    assert redis.write_configuration(file, "redis://:new@127.0.0.1:1/0")
    assert file.read_text() == "port 1\nrequirepass new\nsave 300 1\n"
    assert stat.S_IMODE(file.stat().st_mode) == 0o640
    assert not redis.write_configuration(tmp_path / "none.conf", "redis://:new@127.0.0.1:1/0")


def test_settings_keep_what_else_they_say(tmp_path: Path) -> None:
    layout = Layout(tmp_path)
    layout.secrets.mkdir(parents=True)
    layout.settings.write_text("# mine\nA=1\n")
    layout.settings.chmod(0o640)
    secrets = Secrets(layout)
    secrets.name_it("SECRET_KEY_FALLBACKS_FILE", "secret-key-fallbacks")
    secrets.name_it("SECRET_KEY_FALLBACKS_FILE", "secret-key-fallbacks")
    assert layout.settings.read_text().count("SECRET_KEY_FALLBACKS_FILE=") == 1
    secrets.name_no_longer("SECRET_KEY_FALLBACKS_FILE")
    assert layout.settings.read_text() == "# mine\nA=1\n"
    assert stat.S_IMODE(layout.settings.stat().st_mode) == 0o640


def test_restart_refuses_settings_that_would_stop_everything(own: Services, tmp_path: Path) -> None:
    root = tmp_path / "server"
    install(root, *database_words(own))
    layout = Layout(root)
    assert "nobody manages the studio's units" in run_studio(layout, "restart", code=1)
    layout.settings.write_text(layout.settings.read_text() + "DEBUG=True\n")
    assert "studio.E101" in run_studio(layout, "restart", code=1)
    layout.settings.write_text(layout.settings.read_text().replace("DEBUG=True", "DEBUG=yes"))
    assert "DEBUG must be True or False" in run_studio(layout, "restart", code=1)
    layout.settings.write_text(layout.settings.read_text().replace("DEBUG=yes\n", ""))
    assert "page: it is one of web, stream" in run_studio(layout, "restart", "page", code=1)
