"""`python -m tests.proofs.fuzz`: thousands of requests made from the API's own description, and none upsets it.

Schemathesis reads `/api/schema/` and asks every operation for what it allows and for what it forbids, one at a time and
in chains where an answer's id goes into the next request. A whole studio answers: front, a worker whose engine sleeps,
errands and the ticker. No answer may be a 5xx, and each must be as described: status, type, headers, body.

Schemathesis is no dependency: it is a program, found as `$SCHEMATHESIS` or on the path (`pipx install schemathesis`).
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import UUID

import httpx

from tests.proofs.record import write_record

REQUESTS = 5_000
EXAMPLES = 80  # of each operation and phase
PROVES = ("accounts/api", "generation/api", "qwenstudio/door", "accounts/domain/codes.py")
CHECKS = (
    "not_a_server_error",
    "status_code_conformance",
    "content_type_conformance",
    "response_headers_conformance",
    "response_schema_conformance",
)
ENDLESS = r"^/api/v1/events$"  # a stream that ends with its client
# What may end the key that asks, and what anybody may ask: its refusals count as wrong credentials of this address,
# which then may ask nothing for a while. So a run, a tenant and a key of their own.
KEYS = r"^/api/v1/keys/"
SUICIDE = r"^/api/v1/keys/self/revoke$"  # ends it for certain


@dataclass(frozen=True)
class Run:
    """One run of the program: the operations by their paths, and how many requests of each at most."""

    name: str
    paths: str
    without: str
    examples: int


RUNS = (
    Run("everything", r"^/(api/)?v1/", f"{ENDLESS}|{KEYS}", EXAMPLES),
    Run("keys", KEYS, SUICIDE, EXAMPLES),
)


def find_program() -> str | None:
    """Schemathesis on this machine."""
    return os.environ.get("SCHEMATHESIS") or shutil.which("schemathesis")


def run_program(program: str, run: Run, *, url: str, secret: str, folder: Path, seed: int) -> dict[str, Any]:
    """One run, counted: requests by status, how many were past the checks of what they say, and what was wrong."""
    events, report = folder / f"{run.name}.ndjson", folder / f"{run.name}.json"
    line = [
        program, "run", f"{url}/api/schema/", "--url", url, "--header", f"Authorization:Bearer {secret}",
        "--include-path-regex", run.paths, "--exclude-path-regex", run.without, "--checks", ",".join(CHECKS),
        "--max-examples", str(run.examples), "--seed", str(seed), "--workers", "1", "--continue-on-failure",
        "--request-timeout", "60", "--suppress-health-check", "all", "--warnings", "off", "--no-shrink",
        "--report", "ndjson,json", "--report-ndjson-path", str(events), "--report-json-path", str(report),
    ]  # fmt: skip
    with (folder / f"{run.name}.log").open("wb") as log:
        subprocess.run(line, cwd=folder, stdout=log, stderr=subprocess.STDOUT, timeout=3600)
    found = json.loads(report.read_text(encoding="utf-8"))
    with events.open(encoding="utf-8") as lines:
        statuses = Counter(statuses_of(lines))
    return {
        "operations": found["operations"]["tested"],
        "requests": statuses.total(),
        "statuses": dict(sorted(statuses.items())),
        "complete": found["complete"],
        "failures": found["failures"],
        "errors": found["errors"],
        "told": tell(folder / f"{run.name}.log") if found["failures"] or found["errors"] else [],
    }


def tell(log: Path) -> list[str]:
    """The program's own account of what was wrong, for whoever mends it."""
    lines = log.read_text(encoding="utf-8").splitlines()
    first = next((at for at, line in enumerate(lines) if "= ERRORS =" in line or "= FAILURES =" in line), len(lines))
    return lines[first : first + 120]


def statuses_of(lines: Iterable[str]) -> Iterator[str]:
    """The status of every answer in the program's report of events; "none" where there was no answer."""
    for line in lines:
        recorder = json.loads(line).get("ScenarioFinished", {}).get("recorder") or {}
        for asked in recorder.get("interactions", {}).values():
            yield str((asked.get("response") or {}).get("status_code", "none"))


def is_good(counts: Mapping[str, Any]) -> bool:
    """Enough was asked, most of it was no nonsense, and nothing was wrong."""
    runs: Sequence[Mapping[str, Any]] = counts["runs"].values()
    statuses: Counter[str] = Counter()
    for run in runs:
        statuses.update(run["statuses"])
    return (
        statuses.total() >= REQUESTS
        and all(run["complete"] and not run["failures"] and not run["errors"] for run in runs)
        and not any(status == "none" or status.startswith("5") for status in statuses)
        and all(statuses[status] for status in ("200", "202", "400", "404"))
    )


def measure(program: str, *, folder: Path, seed: int) -> dict[str, Any]:
    """Both runs against a studio of their own."""
    from tests.chaos.rig import Rig, wait_for
    from tests.proofs.studio import own_studio  # it prepares the environment that Django reads

    with own_studio(folder) as studio:
        secrets = [make_secret() for _ in RUNS]
        rig = Rig(studio.services, folder / "rig", environment={"SLEEPING_PREVIEWS": "1"})
        try:
            rig.start_worker()
            rig.start_errands()
            rig.start_ticker()
            rig.wait_for_worker()
            for secret in secrets:
                wait_for(rig, draw_one(studio.url, secret), "succeeded")
            return {
                run.name: run_program(program, run, url=studio.url, secret=secret, folder=folder, seed=seed)
                for run, secret in zip(RUNS, secrets, strict=True)
            }
        finally:
            rig.close()


def make_secret() -> str:
    """An owner's key that may do everything, in a tenant of its own."""
    from django.db import connections

    from accounts.enums import Scope
    from tests.factories import make_key, make_plan, make_tenant

    plan = make_plan(requests_per_minute=100_000, tenant_requests_per_minute=100_000, queue_length=10_000)
    tenant, owner = make_tenant("Fuzzed", plan=plan)
    _, secret = make_key(tenant, owner, scopes=Scope.values)
    connections["default"].close()
    return secret


def draw_one(url: str, secret: str) -> UUID:
    """A generation, so that there is something to read."""
    headers = {"Authorization": f"Bearer {secret}"}
    answer = httpx.post(f"{url}/api/v1/images", headers=headers, json={"model": "demo", "prompt": "a boat"}, timeout=60)
    return UUID(answer.raise_for_status().json()["id"])


def main() -> int:
    """1 when an answer was not as described, or too little was asked; 2 without the program."""
    program = find_program()
    if program is None:
        print("Schemathesis is missing: install it (pipx install schemathesis), or name the program in SCHEMATHESIS")
        return 2
    began = time.monotonic()
    seed = int(os.environ.get("FUZZ_SEED", "1"))
    folder = Path(tempfile.mkdtemp(prefix="qwenstudio-fuzz-"))
    try:
        counts = {"seed": seed, "runs": measure(program, folder=folder, seed=seed)}
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    good = is_good(counts)
    write_record("fuzz", proves=PROVES, counts={"passed": good, **counts}, seconds=time.monotonic() - began)
    print(json.dumps(counts, indent=1))
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
