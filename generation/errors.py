"""Refusals of generation's domain."""

from __future__ import annotations

from collections.abc import Sequence

from accounts.errors import QuotaExceeded, StudioError


class ModelNotFound(StudioError):
    """No such model, or not one of this tenant's: the two answers are the same."""

    kind = "invalid"
    code = "model_not_found"


class LoraUnfit(StudioError):
    """A LoRA's file cannot be offered: it is broken, or fits no model; the message names the key."""

    kind = "invalid"
    code = "lora_unfit"


class LoraInUse(StudioError):
    """Deleting a LoRA that waiting generations are drawn with."""

    kind = "conflict"
    code = "lora_in_use"


class TaskNotOffered(StudioError):
    """The model is there, and does something else."""

    kind = "invalid"
    code = "task_not_offered"

    def __init__(self, task: str, *, slug: str, tasks: Sequence[str]) -> None:
        super().__init__(f"the model {slug!r} has no task {task!r}, its tasks are: {', '.join(tasks)}", field="model")


class SentimentUnclear(StudioError):
    """A model that was asked for a text's mood answers, twice, what is no mood."""

    kind = "unavailable"
    code = "sentiment_unclear"

    def __init__(self) -> None:
        super().__init__("the model did not answer with a mood; try again, or another model", retry_after_s=5)


class PictureRefused(StudioError):
    """A file that is sent as a picture or mask cannot be used; the message names the field, and the bound."""

    kind = "invalid"
    code = "picture_refused"

    def __init__(self, why: str, *, field: str) -> None:
        super().__init__(f"{field} {why}", fields={field: [why]}, field=field)


class InputNotFound(StudioError):
    """No such image, or another tenant's: the two answers are the same."""

    kind = "missing"
    code = "not_found"

    def __init__(self, field: str) -> None:
        super().__init__("no such image", field=field)


class GenerationNotFound(StudioError):
    kind = "missing"
    code = "not_found"

    def __init__(self) -> None:
        super().__init__("no such image generation")


class FileNotFound(StudioError):
    """No such file, or not one of this caller's: the two answers are the same."""

    kind = "missing"
    code = "not_found"

    def __init__(self) -> None:
        super().__init__("no such file")


class WebhookNotFound(StudioError):
    """No such webhook endpoint, or another tenant's: the two answers are the same."""

    kind = "missing"
    code = "not_found"

    def __init__(self) -> None:
        super().__init__("no such webhook endpoint", field="webhook")


class AlreadyFinished(StudioError):
    """Cancelling what has ended already."""

    kind = "conflict"
    code = "already_finished"


class NotFinished(StudioError):
    """Retrying or removing what still waits or runs."""

    kind = "conflict"
    code = "not_finished"


class StillRunning(StudioError):
    """The first request with this idempotency key has not been answered yet."""

    kind = "conflict"
    code = "idempotency_in_progress"


class KeyReused(StudioError):
    """The same idempotency key came with another body."""

    kind = "mismatch"
    code = "idempotency_key_reused"


class TookTooLong(StudioError):
    """A client has waited for its picture as long as one may; the picture was given up, at our cost."""

    kind = "unavailable"
    code = "took_too_long"
    repeats = False  # the queue is long: by itself a client would only stand in it once more

    def __init__(self, seconds: float) -> None:
        super().__init__(
            f"the picture was not done within {seconds:g} s: it was cancelled and is not charged; try again later, or "
            "ask POST /api/v1/images, which does not wait"
        )


class StudioStops(StudioError):
    """This process ends (an update): what it waited for was given up, and whoever takes over draws it."""

    kind = "unavailable"
    code = "studio_stops"
    repeats = True

    def __init__(self) -> None:
        super().__init__("the studio is being updated: nothing was charged, send it again", retry_after_s=1)


class PictureCanceled(StudioError):
    """Somebody has cancelled what a client waits for."""

    kind = "conflict"
    code = "canceled"
    repeats = False

    def __init__(self) -> None:
        super().__init__("this generation was cancelled while it was waited for")


class NoPictures(StudioError):
    """A zip of generations that have none."""

    kind = "conflict"
    code = "no_pictures"

    def __init__(self) -> None:
        super().__init__("none of these generations has a picture")


class SelectionUnderWay(StudioError):
    """As many zips, or deletions, of one member are under way as may be."""

    kind = "conflict"
    code = "selection_under_way"

    def __init__(self) -> None:
        super().__init__("three of yours are under way already; wait until one of them is done")


class StyleExists(StudioError):
    """Two styles of a tenant have different names, whatever the case of their letters."""

    kind = "conflict"
    code = "style_exists"

    def __init__(self, name: str) -> None:
        super().__init__(f"there is a style named {name!r} already; choose another name", field="name")


class TooManyStyles(StudioError):
    kind = "conflict"
    code = "too_many_styles"

    def __init__(self, most: int) -> None:
        super().__init__(f"an organisation has {most} styles at most; delete those that nobody uses")


class QueueFull(QuotaExceeded):
    """As many generations of a tenant wait as its plan lets wait."""

    code = "queue_full"


class ReleaseRefused(StudioError):
    """A step of a release that does not follow from where the lanes are; the message says what to type."""

    kind = "conflict"
    code = "release_refused"


class ReleaseFailed(StudioError):
    """A step of a release that was tried and did not end well; the message says where things stand."""

    kind = "unavailable"
    code = "release_failed"


class BodyUnreadable(StudioError):
    """A body that is no JSON the studio takes; the message names the place and the bound."""

    kind = "invalid"
    code = "malformed_json"


class TooManyChats(QuotaExceeded):
    """As many chat calls of a tenant or key are under way as may be at once."""

    code = "too_many_chats"

    def __init__(self, most: int, *, of_key: bool) -> None:
        whose = "this key" if of_key else "your organisation"
        super().__init__(
            f"too many chat calls at once, max {most} for {whose}: try again when one has ended",
            limit="key_concurrent_chats" if of_key else "concurrent_chats",
            retry_after_s=1,
            quota=most,
        )


class ChatUnavailable(StudioError):
    """No server that answers for a chat model can be asked just now."""

    kind = "unavailable"
    code = "chat_unavailable"


class ChatBusy(StudioError):
    """Every server of a chat model has as many requests as it takes at once."""

    kind = "unavailable"
    code = "chat_busy"


class ChatBroken(StudioError):
    """A chat model's server broke off in the middle of its answer, or answered what nobody can read."""

    kind = "unavailable"
    code = "chat_broken"


class ChatRefused(StudioError):
    """A chat model's server does not take this request; the message is its own."""

    kind = "invalid"
    code = "chat_refused"


class AnswerBlocked(StudioError):
    """An answer could not be checked by the organisation's rules, so nothing of it is shown."""

    kind = "unavailable"
    code = "answer_blocked"


class AnswerUnderWay(StudioError):
    """A conversation has one answer at a time, and nothing of it changes meanwhile."""

    kind = "conflict"
    code = "answer_under_way"

    def __init__(self) -> None:
        super().__init__("an answer is under way in this conversation; stop it, or wait for its end")


class NothingToAnswer(StudioError):
    kind = "conflict"
    code = "nothing_to_answer"

    def __init__(self) -> None:
        super().__init__("nobody has said anything in this conversation yet")


class ConversationFull(StudioError):
    kind = "conflict"
    code = "conversation_full"

    def __init__(self, most: int) -> None:
        super().__init__(f"a conversation has {most} messages at most; begin a new one")


class TooManyConversations(StudioError):
    kind = "conflict"
    code = "too_many_conversations"

    def __init__(self, most: int) -> None:
        super().__init__(f"you may have {most} conversations at most; delete some")


class PresetExists(StudioError):
    kind = "conflict"
    code = "preset_exists"

    def __init__(self, name: str) -> None:
        super().__init__(f"you have a preset named {name!r} already; choose another name", field="name")


class TooManyPresets(StudioError):
    kind = "conflict"
    code = "too_many_presets"

    def __init__(self, most: int) -> None:
        super().__init__(f"you may have {most} presets at most; delete those that you do not use")


class AnswerLost(StudioError):
    """Nobody writes an answer any more: its process has died, or nobody came to see it begin."""

    kind = "unavailable"
    code = "answer_lost"

    def __init__(self) -> None:
        super().__init__("the answer broke off on our side; ask again", retry_after_s=1)
