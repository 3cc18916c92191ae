"""What can go wrong in the engine. Imports no torch: web processes may catch these."""

from __future__ import annotations


class EngineError(Exception):
    """Base of every error that the engine raises on purpose."""


class CatalogError(EngineError, ValueError):
    """A model entry is wrong; the message names the file, the model and the key."""


class CheckpointError(EngineError):
    """A checkpoint cannot be loaded: which file, why, and what to do.

    `file` is the offending path, `reason` what is wrong with it, `remedy` the next step for the operator.
    """

    def __init__(self, *, file: object, reason: str, remedy: str) -> None:
        self.file = str(file)
        self.reason = reason
        self.remedy = remedy
        super().__init__(f"{self.file}: {reason}; {remedy}")


class BadFrame(EngineError):
    """A picture that must not be delivered: NaN, infinite or completely black. `reason` says which."""

    def __init__(self, reason: str) -> None:
        self.reason = reason
        super().__init__(reason)


class RowRefused(EngineError, ValueError):
    """One row asks for what this model cannot do; the message names the field and the bound."""


class LoraRefused(RowRefused):
    """A LoRA cannot be used with this model; the message names the key, and the LoRA where it has a name."""


class InputRefused(RowRefused):
    """A picture that a row starts from is gone, or not the one that was sent."""


class OutOfMemory(EngineError):
    """One picture alone does not fit the device's memory."""


class TailClosed(EngineError):
    """The tail takes no more pictures: it was closed."""


class HookFailed(EngineError):
    """A hook of the caller raised; the pass ended there. The hook's own exception is the `__cause__`."""
