"""The processes of one machine and lane put their numbers together in `$STUDIO_VAR/metrics/<lane>`.

Each long-running process holds a slot of its kind (`web-0`, `worker-1`) by a lock on `<slot>.lock` and writes what it
counted into `<slot>.json` every two seconds, whole and by rename. Whoever shows `/metrics` adds the files up.

A process that ends leaves its counts, and the next one of its kind that takes the slot goes on from them: sums never
fall, and there are never more files than processes at one time. Gauges count only while the slot's lock is held, so
those of a dead process vanish with it, also where process ids start anew (containers) or are used again.

Not `prometheus_client`'s own multi-process mode, because that maps files into memory: on a full disk the first touch of
a new page ends the process (SIGBUS), while here a write fails, and the numbers wait in memory. Nor Valkey or
PostgreSQL: what is counted must be readable while they are down.
"""

from __future__ import annotations

import atexit
import fcntl
import hashlib
import logging
import os
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any, TextIO

import orjson
from django.conf import settings
from prometheus_client.metrics_core import Metric

from accounts.meters import FORMS, GAUGES, REGISTRY

logger = logging.getLogger(__name__)

WRITE_EVERY_S = 2.0

Labels = tuple[tuple[str, str], ...]
Values = dict[tuple[str, Labels], float]
"""The samples of one family: by name (`…_bucket`, `…_sum`) and labels."""


@dataclass(slots=True)
class Numbers:
    """Families of counts, and families of gauges."""

    counts: dict[str, Values] = field(default_factory=dict)
    gauges: dict[str, Values] = field(default_factory=dict)

    def add(self, other: Numbers, *, gauges: bool) -> None:
        """Put another process's numbers into these."""
        for family, values in other.counts.items():
            mine = self.counts.setdefault(family, {})
            for key, value in values.items():
                mine[key] = mine.get(key, 0.0) + value
        for family, values in other.gauges.items() if gauges else ():
            mine = self.gauges.setdefault(family, {})
            for key, value in values.items():
                before = mine.get(key, 0.0)
                mine[key] = max(before, value) if GAUGES.get(family) == "max" else before + value


def folder() -> Path:
    """Where this lane's processes meet."""
    return Path(settings.STUDIO_VAR) / "metrics" / settings.STUDIO_LANE


def form_of_series() -> str:
    """A short hash of names, labels and buckets: numbers of another form (another release's) are not added to ours."""
    return hashlib.sha256(repr(sorted(FORMS.items())).encode()).hexdigest()[:16]


def own_numbers() -> Numbers:
    """What this process has counted by itself."""
    found = Numbers()
    for family in REGISTRY.collect():
        target = found.gauges if family.type == "gauge" else found.counts
        values = {(sample.name, tuple(sorted(sample.labels.items()))): sample.value for sample in family.samples}
        if values:
            target[family.name] = values
    return found


class Share:
    """This process's slot."""

    def __init__(self, process: str) -> None:
        self._process = process
        self._lock_file: TextIO | None = None
        self._former = Numbers()  # of the processes that held the slot before
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._write_on, name="meters", daemon=True)
        self._writing = threading.Lock()
        self._failed = False
        self.slot = ""

    def start(self) -> None:
        """Take a slot and begin to write. Raises OSError where there is no place for it."""
        folder().mkdir(mode=0o700, parents=True, exist_ok=True)
        self.slot, self._lock_file = _take_slot(self._process)
        self._former = _read(folder() / f"{self.slot}.json") or Numbers()
        self._former.gauges.clear()
        self.write()
        self._thread.start()
        atexit.register(self.stop)

    def stop(self) -> None:
        """Write once more, and let the slot go."""
        self._ended.set()
        if self._thread.is_alive():
            self._thread.join(timeout=5)
        self.write()
        if self._lock_file is not None:
            self._lock_file.close()
            self._lock_file = None

    def numbers(self) -> Numbers:
        """What this slot has counted, this process and those before it."""
        found = own_numbers()
        found.add(self._former, gauges=False)
        return found

    def write(self) -> None:
        """Write the file anew. On a full disk the old one stays; the next write says everything."""
        with self._writing:
            if self._lock_file is None:
                return
            path = folder() / f"{self.slot}.json"
            draft = path.with_suffix(".tmp")
            try:
                draft.write_bytes(_dump(self.numbers()))
                draft.replace(path)
            except FileNotFoundError:
                return  # somebody took the folder away: the next start makes it again
            except OSError as error:
                if not self._failed:
                    logger.warning("metrics cannot be written to %s: %s", path, error)
                self._failed = True
                return
            self._failed = False

    def _write_on(self) -> None:
        while not self._ended.wait(WRITE_EVERY_S):
            try:
                self.write()
            except Exception:  # a gauge that cannot be read now; the process has other things to do
                logger.exception("metrics were not written")


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


def read_together() -> tuple[Numbers, dict[str, int]]:
    """The numbers of all processes of this machine and lane, and how many of each kind live. Raises OSError."""
    own = _share
    found = own.numbers() if own is not None else own_numbers()
    living: dict[str, int] = {}
    for lock in sorted(folder().glob("*.lock")) if folder().is_dir() else ():
        slot, is_own = lock.stem, own is not None and lock.stem == own.slot
        lives = is_own or _is_held(lock)
        kind = slot.rpartition("-")[0]
        living[kind] = living.get(kind, 0) + lives
        if not is_own and (other := _read(lock.with_suffix(".json"))) is not None:
            found.add(other, gauges=lives)
    return found, living


def make_families(numbers: Numbers) -> Iterator[Metric]:
    """The numbers as what `prometheus_client` prints; a series that nobody has touched yet is there with its HELP."""
    for empty in REGISTRY.collect():
        family = Metric(empty.name, empty.documentation, empty.type)
        values = (numbers.gauges if empty.type == "gauge" else numbers.counts).get(empty.name, {})
        for (name, labels), value in sorted(values.items(), key=_order):
            family.add_sample(name, dict(labels), value)
        yield family


def _order(item: tuple[tuple[str, Labels], float]) -> tuple[Any, ...]:
    """Buckets of one series stand together, from the least on."""
    (name, labels), _ = item
    rest = tuple(pair for pair in labels if pair[0] != "le")
    bound = next((float(value) for label, value in labels if label == "le"), 0.0)
    return (rest, name, bound)


def _take_slot(process: str) -> tuple[str, TextIO]:
    for number in count():
        file = (folder() / f"{process}-{number}.lock").open("a", encoding="ascii")
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


def _dump(numbers: Numbers) -> bytes:
    def rows(families: dict[str, Values]) -> dict[str, list[Any]]:
        return {
            family: [[name, labels, value] for (name, labels), value in values.items()]
            for family, values in families.items()
        }

    body = {
        "form": form_of_series(),
        "pid": os.getpid(),
        "counts": rows(numbers.counts),
        "gauges": rows(numbers.gauges),
    }
    return orjson.dumps(body)


def _read(path: Path) -> Numbers | None:
    """What a process wrote; None where there is nothing, or numbers of another form."""
    try:
        body = orjson.loads(path.read_bytes())
        if body["form"] != form_of_series():
            return None
        return Numbers(_read_families(body["counts"]), _read_families(body["gauges"]))
    except FileNotFoundError:
        return None
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:  # a power cut may leave half a file
        logger.warning("metrics in %s cannot be read and do not count: %s", path, error)
        return None


def _read_families(found: dict[str, list[Any]]) -> dict[str, Values]:
    return {
        family: {(name, tuple((key, text) for key, text in labels)): float(value) for name, labels, value in rows}
        for family, rows in found.items()
    }
