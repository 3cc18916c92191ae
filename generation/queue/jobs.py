"""What a wake-up may run. Any importable function named in a job would run otherwise, whoever wrote it into Redis."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from redis import Redis
from rq.job import Job
from rq.serializers import JSONSerializer

GPU_TURN = "generation.worker.turn"
ERRAND_TURN = "generation.worker.errands.errand_turn"
LISTED = frozenset({GPU_TURN, ERRAND_TURN})


class ForeignJob(Exception):
    """A job that is none of ours."""


class StudioJob(Job):
    """A job that runs a listed function with short strings as arguments, and nothing else."""

    def __init__(self, id: str | None = None, connection: Redis | None = None, serializer: object = None) -> None:
        # RQ's default would unpickle what stands in Redis: that too runs code.
        super().__init__(id, connection, JSONSerializer)

    @property
    def func(self) -> Callable[..., Any]:
        """The function; raises `ForeignJob`."""
        self.check()
        found: Callable[..., Any] = super().func
        return found

    def check(self) -> None:
        """Raise `ForeignJob` unless this is a wake-up as we write them."""
        if self.func_name not in LISTED or self.instance is not None:
            raise ForeignJob(f"job {self.id} asks for {str(self.func_name)[:100]!r}, which is not listed")
        if self.kwargs or not all(isinstance(arg, str) and len(arg) <= 40 for arg in self.args):
            raise ForeignJob(f"job {self.id} carries arguments that no wake-up has")

    def execute_success_callback(self, *args: Any, **kwargs: Any) -> None:
        """Wake-ups have no callbacks: theirs would be a function by name too."""

    def execute_failure_callback(self, *args: Any, **kwargs: Any) -> None:
        """Likewise."""

    def execute_stopped_callback(self, *args: Any, **kwargs: Any) -> None:
        """Likewise."""
