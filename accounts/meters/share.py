"""The processes of one machine and lane put their numbers together in `$STUDIO_VAR/metrics/<lane>`.

Each long-running process holds a slot of its kind (`web-0`, `worker-1`) by a lock on `<slot>.lock` and writes what it
counted into `<slot>.prom` every two seconds, in Prometheus' own text format, whole and by rename. Whoever shows
`/metrics` adds the files up, line by line.

A process that ends leaves its counts, and the next one of its kind that takes the slot goes on from them: sums never
fall, and there are never more files than processes at one time. Gauges count only while the slot's lock is held, so
those of a dead process vanish with it, also where process ids start anew (containers) or are used again.

Not `prometheus_client`'s own multi-process mode, because that maps files into memory: on a full disk the first touch of
a new page ends the process (SIGBUS), while here a write fails, and the numbers wait in memory. Nor Valkey or
PostgreSQL: what is counted must be readable while they are down.
"""

from __future__ import annotations

import fcntl
import hashlib
import logging
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import count
from multiprocessing.util import Finalize
from pathlib import Path
from typing import TextIO

from django.conf import settings
from prometheus_client import generate_latest
from prometheus_client.utils import floatToGoString

from accounts.meters import FORMS, GAUGES, REGISTRY

logger = logging.getLogger(__name__)

WRITE_EVERY_S = 2.0
SPARED = 50  # a write that takes long is made so many times rarer: 2 % of a core at most
ENDING = "# EOF\n"


@dataclass(slots=True)
class Family:
    """The samples of one name, each under its line without the value; `head` are its HELP and TYPE lines."""

    name: str
    kind: str
    head: str
    values: dict[str, float] = field(default_factory=dict)

    def add(self, other: Family) -> None:
        """Put another process's samples into these."""
        highest = GAUGES.get(self.name) == "max"
        for line, value in other.values.items():
            before = self.values.get(line, 0.0)
            self.values[line] = max(before, value) if highest else before + value


Numbers = dict[str, Family]


def folder() -> Path:
    """Where this lane's processes meet."""
    return Path(settings.STUDIO_VAR) / "metrics" / settings.STUDIO_LANE


def form_of_series() -> str:
    """A short hash of names, labels and buckets: numbers of another form (another release's) are not added to ours."""
    return hashlib.sha256(repr(sorted(FORMS.items())).encode()).hexdigest()[:16]


def own_numbers() -> Numbers:
    """What this process has counted by itself."""
    return parse(generate_latest(REGISTRY).decode())


def parse(text: str) -> Numbers:
    """Numbers from Prometheus' text format, as this package writes it; raises ValueError."""
    found: Numbers = {}
    head = ""
    family = Family("", "", "")
    for line in text.splitlines():
        if line.startswith("# HELP "):
            head = line
        elif line.startswith("# TYPE "):
            name, kind = line.split(" ")[2:4]
            family = found[name] = Family(name, kind, f"{head}\n{line}\n")
        elif not line.startswith("#"):
            sample, _, value = line.rpartition(" ")
            family.values[sample] = float(value)
    return found


def render(numbers: Numbers) -> str:
    """The same back."""
    return "".join(
        family.head + "".join(f"{line} {_print(value)}\n" for line, value in family.values.items())
        for family in numbers.values()
    )


def _print(value: float) -> str:
    return str(floatToGoString(value))  # type: ignore[no-untyped-call]


def add_up(numbers: Numbers, other: Numbers, *, gauges: bool) -> None:
    """Put another process's numbers into these."""
    for name, family in other.items():
        if name in numbers and (gauges or family.kind != "gauge"):
            numbers[name].add(family)


class Share:
    """This process's slot."""

    def __init__(self, process: str) -> None:
        self._process = process
        self._folder = folder()
        self._lock_file: TextIO | None = None
        self._former: Numbers = {}  # of the processes that held the slot before
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._write_on, name="meters", daemon=True)
        self._writing = threading.Lock()
        self._failed = False
        self.slot = ""

    def start(self) -> None:
        """Take a slot and begin to write. Raises OSError where there is no place for it."""
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.slot, self._lock_file = _take_slot(self._folder, self._process)
        self._former = _read(self._folder / f"{self.slot}.prom")
        self.write()
        self._thread.start()
        # A server's worker is a child of `multiprocessing`, which ends without `atexit`; this holds in both.
        Finalize(None, self.stop, exitpriority=0)

    def stop(self) -> None:
        """Write once more, and let the slot go."""
        self._ended.set()
        if self._thread.is_alive():
            self._thread.join(timeout=5)
        self.write()
        if self._lock_file is not None:
            self._lock_file.close()
            self._lock_file = None

    def write(self) -> Numbers:
        """Write the file anew, and say what stands in it: what this process and those before it have counted.

        On a full disk the old one stays; the next write says everything.
        """
        with self._writing:
            numbers = own_numbers()
            add_up(numbers, self._former, gauges=False)
            if self._lock_file is None:
                return numbers
            path = self._folder / f"{self.slot}.prom"
            draft = path.with_suffix(".tmp")
            try:
                draft.write_text(f"# form {form_of_series()}\n{render(numbers)}{ENDING}", encoding="utf-8")
                draft.replace(path)
            except FileNotFoundError:
                pass  # somebody took the folder away: the next start makes it again
            except OSError as error:
                if not self._failed:
                    logger.warning("metrics cannot be written to %s: %s", path, error)
                self._failed = True
            else:
                self._failed = False
            return numbers

    def _write_on(self) -> None:
        took = 0.0
        while not self._ended.wait(max(WRITE_EVERY_S, SPARED * took)):
            started = time.perf_counter()
            try:
                self.write()
            except Exception:  # a gauge that cannot be read now; the process has other things to do
                logger.exception("metrics were not written")
            took = time.perf_counter() - started


_share: Share | None = None


def share(process: str) -> None:
    """From now on other processes see what this one counts. Whatever keeps it from that, the process goes on."""
    global _share
    if _share is not None:
        return
    made = Share(process)
    try:
        made.start()
    except OSError as error:
        logger.warning("metrics are not shared: %s", error)
        return
    _share = made


def write_now() -> None:
    """Do not wait for the next round."""
    if _share is not None:
        _share.write()


def read_together() -> tuple[Numbers, Mapping[str, int]]:
    """The numbers of all processes of this machine and lane, and how many of each kind live. Raises OSError.

    Our own are written before they are shown: were we killed, the next process of the slot would begin below what was
    seen, and Prometheus would take that for a counter that began anew, and count all of it once more.
    """
    own = _share
    found = own.write() if own is not None else own_numbers()
    living: dict[str, int] = {}
    for lock in sorted(folder().glob("*.lock")) if folder().is_dir() else ():
        slot, is_own = lock.stem, own is not None and lock.stem == own.slot
        lives = is_own or _is_held(lock)
        kind = slot.rpartition("-")[0]
        living[kind] = living.get(kind, 0) + lives
        if not is_own:
            add_up(found, _read(lock.with_suffix(".prom")), gauges=lives)
    return found, living


def _take_slot(place: Path, process: str) -> tuple[str, TextIO]:
    for number in count():
        file = (place / f"{process}-{number}.lock").open("a", encoding="ascii")
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.close()
            continue
        return f"{process}-{number}", file
    raise AssertionError  # count() never ends


def _is_held(lock: Path) -> bool:
    """Whether the process that took this slot lives."""
    try:
        with lock.open("a", encoding="ascii") as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    return False


def _read(path: Path) -> Numbers:
    """What a process wrote; nothing where there is nothing whole, or numbers of another form."""
    try:
        text = path.read_text(encoding="utf-8")
        if not text.endswith(ENDING):
            raise ValueError("it breaks off")
        return parse(text) if text.startswith(f"# form {form_of_series()}\n") else {}
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:  # a power cut may leave half a file
        logger.warning("metrics in %s cannot be read and do not count: %s", path, error)
        return {}
