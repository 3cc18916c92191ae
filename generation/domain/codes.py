"""Generation's entries of the catalogue of codes (`accounts/domain/codes.py`): refusals, failures, waits, warnings."""

from __future__ import annotations

from django.utils.translation import gettext_lazy as _

from accounts.domain.codes import Place, Retry, add_code

# ---- refusals
add_code(
    "invalid_request",
    400,
    Retry.CHANGED,
    _("A value of the request is out of its bounds."),
    _("Correct the fields that `errors` names, within the bounds it gives."),
)
add_code(
    "model_not_found",
    400,
    Retry.CHANGED,
    _("There is no such model, or your organisation may not use it."),
    _("Choose one of the models that GET /api/v1/models lists."),
)
add_code(
    "lora_unfit",
    400,
    Retry.CHANGED,
    _("The file of this LoRA cannot be offered."),
    _("Take a safetensors file that was made for a model on offer; the message names the key that does not fit."),
)
add_code(
    "lora_in_use",
    409,
    Retry.STATE,
    _("Generations that wait are drawn with this LoRA."),
    _("Switch it off, and delete it when they are done."),
)
add_code(
    "task_not_offered",
    400,
    Retry.CHANGED,
    _("The model does not do what was asked for."),
    _("Choose a model whose `tasks` in GET /api/v1/models name it."),
)
add_code(
    "picture_refused",
    400,
    Retry.CHANGED,
    _("A picture or mask that was sent cannot be used."),
    _("Send a still PNG, JPEG or WebP within the bounds that the message names; a mask in the size of its image."),
)
add_code(
    "took_too_long",
    503,
    Retry.ANEW,
    _("The picture was not done in the time that a request may wait; it was cancelled and is not charged."),
    _("Try again when the queue is shorter, or ask POST /api/v1/images, which does not wait."),
)
add_code(
    "studio_stops",
    503,
    Retry.LATER,
    _("The studio is being updated; what was waited for was cancelled and is not charged."),
    _("Send the same request again; OpenAI's clients do so by themselves."),
    whole=True,
)
add_code(
    "chat_refused",
    400,
    Retry.CHANGED,
    _("The server of this chat model does not take the request."),
    _("Correct what the detail names: often the conversation is longer than the model reads."),
)
add_code(
    "chat_unavailable",
    503,
    Retry.LATER,
    _("No server of this chat model answers just now."),
    _("Try again after the time in Retry-After; operators look at the upstreams' page."),
    whole=True,
)
add_code(
    "chat_busy",
    503,
    Retry.LATER,
    _("The servers of this chat model have as many requests as they take at once."),
    _("Try again after the time in Retry-After."),
    whole=True,
)
add_code(
    "too_many_chats",
    429,
    Retry.LATER,
    _("As many chat calls of your organisation or key are under way as may be at once."),
    _("Try again when one has ended; an admin can have the limit raised."),
    whole=True,
)
add_code(
    "chat_broken",
    503,
    Retry.LATER,
    _("The server of this chat model broke off in the middle of its answer."),
    _("Ask again; the part that came is counted."),
    whole=True,
)
add_code(
    "answer_lost",
    503,
    Retry.LATER,
    _("The answer broke off on our side."),
    _("Ask again; what came of it is kept."),
    whole=True,
)
add_code(
    "answer_under_way",
    409,
    Retry.STATE,
    _("An answer is under way in this conversation."),
    _("Stop it, or wait for its end."),
    whole=True,
)
add_code(
    "nothing_to_answer",
    409,
    Retry.STATE,
    _("Nobody has said anything in this conversation yet."),
    _("Say something first."),
    whole=True,
)
add_code(
    "conversation_full",
    409,
    Retry.STATE,
    _("This conversation has as many messages as it may have."),
    _("Begin a new one."),
    whole=True,
)
add_code(
    "too_many_conversations",
    409,
    Retry.STATE,
    _("You have as many conversations as you may have."),
    _("Delete those that you do not need."),
    whole=True,
)
add_code(
    "preset_exists",
    409,
    Retry.CHANGED,
    _("You have a preset of this name already."),
    _("Choose another name, or change the preset that has it."),
    whole=True,
)
add_code(
    "too_many_presets",
    409,
    Retry.STATE,
    _("You have as many presets as you may have."),
    _("Delete those that you do not use."),
    whole=True,
)
add_code(
    "sentiment_unclear",
    503,
    Retry.LATER,
    _("The chat model did not say whether the text is positive, neutral or negative."),
    _("Try again, or with another model."),
    whole=True,
)
add_code(
    "answer_blocked",
    503,
    Retry.ANEW,
    _("The answer could not be checked by your organisation's rules, so nothing more of it is shown."),
    _("Ask again; if it stays so, an admin of your organisation looks at its rules for answers."),
    whole=True,
)
add_code(
    "canceled",
    409,
    Retry.ANEW,
    _("Somebody has cancelled the picture while it was waited for."),
    _("Ask for it once more, if it is still wanted."),
    whole=True,
)
add_code(
    "release_refused",
    409,
    Retry.STATE,
    _("This step does not follow from where the lanes of the studio are."),
    _("Staff look at `release status`, which says what can be done next."),
)
add_code(
    "release_failed",
    503,
    Retry.LATER,
    _("A step of a release did not end well; the lane that served before still does."),
    _("Staff look at `release status`, which says where things stand."),
)
add_code(
    "already_finished",
    409,
    Retry.NO,
    _("This generation has ended already."),
    _("Nothing is to be done: what has ended cannot be cancelled."),
)
add_code(
    "not_finished",
    409,
    Retry.STATE,
    _("This generation has not ended yet."),
    _("Cancel it first, or wait until it has ended."),
    whole=True,
)
add_code(
    "idempotency_in_progress",
    409,
    Retry.LATER,
    _("The first request with this Idempotency-Key is still being taken."),
    _("Send the same request again after a second."),
    whole=True,
)
add_code(
    "idempotency_key_reused",
    422,
    Retry.CHANGED,
    _("This Idempotency-Key came with another body before."),
    _("Use a new Idempotency-Key for a new request."),
    whole=True,
)
add_code(
    "no_pictures",
    409,
    Retry.STATE,
    _("None of the selected generations has a picture."),
    _("Select generations that have succeeded."),
    whole=True,
)
add_code(
    "selection_under_way",
    409,
    Retry.STATE,
    _("Three of your zips or deletions are under way already."),
    _("Wait until one of them is done; GET tells how far it is."),
    whole=True,
)
add_code(
    "style_exists",
    409,
    Retry.CHANGED,
    _("Your organisation has a style of this name already."),
    _("Choose another name, or change the style that has it."),
    whole=True,
)
add_code(
    "too_many_styles",
    409,
    Retry.CHANGED,
    _("Your organisation has as many styles as it may have."),
    _("Delete the styles that nobody uses."),
    whole=True,
)
add_code(
    "queue_full",
    429,
    Retry.LATER,
    _("Too many of your organisation's generations are waiting."),
    _("Wait until some are drawn, or cancel some."),
)

# ---- why a generation failed: none of these is charged
add_code(
    "bad_frame",
    0,
    Retry.ANEW,
    _("The model drew a broken picture, which is not delivered."),
    _("Try another seed; if it goes on, tell the studio's operators: the model or a LoRA may be damaged."),
    place=Place.GENERATION,
)
add_code(
    "out_of_memory",
    0,
    Retry.ANEW,
    _("The picture needs more memory than the GPU has."),
    _("Ask for a smaller size."),
    place=Place.GENERATION,
    whole=True,
)
add_code(
    "refused",
    0,
    Retry.CHANGED,
    _("The model cannot draw what was asked for."),
    _("Change the value that the message names."),
    place=Place.GENERATION,
)
add_code(
    "lora_refused",
    0,
    Retry.CHANGED,
    _("A LoRA cannot be used."),
    _("Leave it out, or tell the studio's operators: its file is damaged, gone, or too large for the worker."),
    place=Place.GENERATION,
)
add_code(
    "input_refused",
    0,
    Retry.CHANGED,
    _("The picture that it starts from cannot be read."),
    _("Send the picture again with a new request."),
    place=Place.GENERATION,
)
add_code(
    "engine_error",
    0,
    Retry.ANEW,
    _("The model failed while drawing."),
    _("Ask for it once more; if it fails again, tell the studio's operators."),
    place=Place.GENERATION,
)
add_code(
    "lost",
    0,
    Retry.ANEW,
    _("Every worker that took this on was lost while drawing it."),
    _("Ask for a smaller size or fewer images; if it fails again, tell the studio's operators."),
    place=Place.GENERATION,
    whole=True,
)

# ---- why a generation waits, beside its turn
add_code(
    "paused",
    0,
    Retry.NO,
    _("Staff have paused the queue."),
    _("Nothing is to be done: what is waiting is kept and drawn afterwards."),
    place=Place.QUEUE,
)
add_code(
    "model_off",
    0,
    Retry.NO,
    _("Staff have switched this model off, and no worker serves it any more."),
    _("Cancel it, or ask the operators of this studio whether the model comes back."),
    place=Place.QUEUE,
    whole=True,
)
add_code(
    "no_worker",
    0,
    Retry.NO,
    _("No GPU worker is running for this model."),
    _("Nothing is to be done: it is drawn as soon as one starts."),
    place=Place.QUEUE,
    whole=True,
)
add_code(
    "loading",
    0,
    Retry.NO,
    _("The GPU worker is loading the model."),
    _("Nothing is to be done: it is drawn when the model is loaded."),
    place=Place.QUEUE,
    whole=True,
)
add_code(
    "drained",
    0,
    Retry.NO,
    _("Staff have stopped the GPU workers from taking more work."),
    _("Nothing is to be done: it is drawn as soon as they are let go on."),
    place=Place.QUEUE,
    whole=True,
)
add_code(
    "not_in_memory",
    0,
    Retry.NO,
    _("The model is not in memory: it is loaded when its turn comes."),
    _("Nothing is to be done: other models are drawn meanwhile."),
    place=Place.QUEUE,
    whole=True,
)
add_code(
    "lora_not_in_memory",
    0,
    Retry.NO,
    _("A LoRA is not in memory: it is loaded when its turn comes."),
    _("Nothing is to be done: loading takes seconds and is not charged."),
    place=Place.QUEUE,
    whole=True,
)
add_code(
    "own_limit",
    0,
    Retry.NO,
    _("As many of your generations are being drawn at once as your plan allows."),
    _("Nothing is to be done: it is drawn when one of them has ended."),
    place=Place.QUEUE,
    whole=True,
)

# ---- what to know about a picture
add_code(
    "prompt_cut",
    0,
    Retry.ANEW,
    _("The prompt was longer than the model reads; its end was left out."),
    _("Say it in fewer words, the most important first."),
    place=Place.WARNING,
)
add_code(
    "negative_prompt_cut",
    0,
    Retry.ANEW,
    _("The negative prompt was longer than the model reads; its end was left out."),
    _("Say it in fewer words, the most important first."),
    place=Place.WARNING,
)
