"""Under which account PostgreSQL runs, and where it can therefore keep its data.

As an ordinary user everything is simple: our account, `$STUDIO_VAR/postgres`. As root PostgreSQL refuses to run:

1. in a user namespace, where the kernel allows one: the server sees itself as `nobody`, its files stay root's, and no
   folder changes its mode;
2. else as the account `nobody`, with data (and a copy of the program, when it lies behind a private folder) in a folder
   of its own under `$TMPDIR` or `/var/tmp`, which `$STUDIO_VAR/postgres.json` records.
"""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from qwenstudio.embedded.errors import EmbeddedError
from qwenstudio.embedded.files import read_json, write_json

LAUNCH = Path(__file__).with_name("launch.py")
STATE = "postgres.json"
ACCOUNTS = ("nobody", "daemon")


@dataclass(frozen=True)
class Home:
    """Where the database lives and how its programs are started."""

    data: Path
    bin: Path
    prefix: tuple[str, ...]
    owner: tuple[int, int] | None
    """The account that must own files made for the server; None where that is us."""

    def command(self, program: str, *arguments: str, tie: bool = False) -> list[str]:
        """The command line of one of PostgreSQL's programs."""
        # SIGINT is PostgreSQL's fast shutdown; SIGTERM would wait for all clients to leave.
        tied = ("--tie", str(os.getpid()), "--signal", "INT") if tie else ()
        line = (str(self.bin / program), *arguments)
        if not self.prefix and not tied:
            return list(line)
        return [sys.executable, "-I", str(LAUNCH), *self.prefix, *tied, "--", *line]

    def give(self, path: Path) -> None:
        """Let the server's account own `path`."""
        if self.owner is not None:
            os.chown(path, *self.owner)


def find_home(var: Path, bin_folder: Path) -> Home:
    """Decide for `var`; the choice of an earlier start is kept, because the data's owner follows from it."""
    if os.geteuid() != 0:
        return Home(data=var / "postgres", bin=bin_folder, prefix=(), owner=None)
    account = unprivileged_account()
    ids = f"{account.pw_uid}:{account.pw_gid}"
    recorded = read_json(var / STATE).get("home")
    if recorded is None and namespace_works(ids):
        return Home(data=var / "postgres", bin=bin_folder, prefix=("--namespace", ids), owner=None)
    return account_home(var, bin_folder, account, recorded)


def account_home(var: Path, bin_folder: Path, account: pwd.struct_passwd, recorded: str | None) -> Home:
    """A folder that `account` owns, under the system's temporary folder, and programs that it can reach."""
    ids = f"{account.pw_uid}:{account.pw_gid}"
    if (var / "postgres" / "PG_VERSION").exists():
        raise EmbeddedError(
            f"The database in {var / 'postgres'} was made in a user namespace, which this machine no longer allows to "
            "root. Run the studio as an ordinary user that owns the folder, or set DATABASE_URL."
        )
    home = Path(recorded) if recorded else make_home(account)
    if not home.is_dir():
        raise EmbeddedError(f"{home}, the database's folder named in {var / STATE}, is gone: put it back from a backup")
    if recorded is None:
        write_json(var / STATE, read_json(var / STATE) | {"home": str(home)})
    if not can_run(ids, bin_folder / "postgres"):
        bin_folder = copy_programs(bin_folder, home)
        if not can_run(ids, bin_folder / "postgres"):
            raise EmbeddedError(f"{account.pw_name} cannot run {bin_folder / 'postgres'}: set TMPDIR to a folder on "
                                "a file system without `noexec`, or set DATABASE_URL")  # fmt: skip
    owner = (account.pw_uid, account.pw_gid)
    return Home(data=home / "data", bin=bin_folder, prefix=("--account", ids), owner=owner)


def make_home(account: pwd.struct_passwd) -> Path:
    """A private folder that `account` owns, in a place that it can reach."""
    places = [os.environ.get("TMPDIR", ""), "/var/tmp", "/tmp"]  # noqa: S108  (mkdtemp makes a private folder in it)
    for place in filter(None, places):
        if not Path(place).is_dir():
            continue
        home = Path(tempfile.mkdtemp(prefix="qwenstudio-postgres-", dir=place))
        os.chown(home, account.pw_uid, account.pw_gid)
        if can_run(f"{account.pw_uid}:{account.pw_gid}", Path("/bin/ls"), str(home)):
            return home
        home.rmdir()
    raise EmbeddedError(f"No folder that {account.pw_name} can reach: set TMPDIR to one, or set DATABASE_URL")


def copy_programs(bin_folder: Path, home: Path) -> Path:
    """PostgreSQL's installation copied into `home`, readable by all who can enter it; returns its `bin`."""
    target = home / f"program-{bin_folder.parent.name}"
    if not target.exists():
        # Libraries that the wheel's builder put beside the package are found by a path relative to the program.
        package = bin_folder.parent.parent
        site, copy = package.parent, home / f".copy-{os.getpid()}"
        shutil.copytree(bin_folder.parent, copy / package.name / bin_folder.parent.name, symlinks=True)
        for libraries in site.glob(f"{package.name}.libs"):
            shutil.copytree(libraries, copy / libraries.name, symlinks=True)
        for path in (copy, *copy.rglob("*")):
            if not path.is_symlink():
                path.chmod(0o755)
        copy.rename(target)
    return target / bin_folder.parent.parent.name / bin_folder.parent.name / "bin"


def unprivileged_account() -> pwd.struct_passwd:
    """The first account that exists for programs without rights."""
    for name in ACCOUNTS:
        try:
            return pwd.getpwnam(name)
        except KeyError:
            continue
    raise EmbeddedError("PostgreSQL does not run as root, and there is no account `nobody`: run as an ordinary user")


def namespace_works(ids: str) -> bool:
    """Whether this kernel (and the container around us) lets root make a user namespace."""
    if sys.platform != "linux":
        return False
    line = [sys.executable, "-I", str(LAUNCH), "--namespace", ids, "--", "/bin/sh", "-c", "test $(id -u) -ne 0"]
    return subprocess.run(line, capture_output=True).returncode == 0


def can_run(ids: str, program: Path, *arguments: str) -> bool:
    """Whether the account can run `program` (with `--version` where no arguments are given)."""
    line = [sys.executable, "-I", str(LAUNCH), "--account", ids, "--", str(program), *(arguments or ("--version",))]
    return subprocess.run(line, capture_output=True, cwd="/").returncode == 0
