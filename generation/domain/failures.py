"""What a worker knew about a row that failed in its hands, kept for staff."""

from __future__ import annotations

from dataclasses import dataclass
from uuid import UUID

from accounts.domain.sql import execute
from generation.models import Failure

KEPT_DAYS = 30
MAX_LINES = 40
MAX_CHARS = 8000

_FORGET_SQL = "DELETE FROM generation_failure WHERE created_at < now() - make_interval(days => %(days)s)"


@dataclass(frozen=True, slots=True, kw_only=True)
class FailureNote:
    """Who held the row, and its log lines about it: without prompts and secrets, newest last."""

    worker: UUID | None
    worker_name: str = ""
    lines: tuple[str, ...] = ()


def write_failure(*, tenant: UUID, generation: UUID, code: str, note: FailureNote) -> None:
    """Store a note in the caller's transaction and tenant scope."""
    Failure.objects.create(
        tenant_id=tenant,
        generation_id=generation,
        worker=note.worker,
        worker_name=note.worker_name[:120],
        code=code[:40],
        lines=cut_lines(note.lines),
    )


def cut_lines(lines: tuple[str, ...]) -> str:
    """The last lines that fit `MAX_LINES` and `MAX_CHARS`: what came last says most."""
    kept: list[str] = []
    left = MAX_CHARS
    for line in reversed(lines[-MAX_LINES:]):
        left -= len(line) + 1
        if left < 0:
            break
        kept.append(line)
    return "\n".join(reversed(kept)).replace("\x00", "").encode("utf-8", "replace").decode()


def forget_failures() -> int:
    """Delete what is older than `KEPT_DAYS`; the sweep's part, under the worker's role."""
    return execute(_FORGET_SQL, days=KEPT_DAYS)
