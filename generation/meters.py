"""What submits, passes and the ticker count (`accounts/meters`); `docs/metrics.md` lists every series.

Workers count in memory like everybody; where they run on a machine without pages, `manage.py metrics` shows theirs.
"""

from __future__ import annotations

from accounts.meters import child, make_counter, make_gauge, make_histogram

WAIT_S = (0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0, 1800.0, 3600.0)
PASS_S = (0.1, 0.25, 0.5, 1.0, 2.0, 3.0, 5.0, 8.0, 12.0, 20.0, 30.0, 60.0, 120.0, 300.0)

FIRST_BYTE_S = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.0, 3.0, 5.0, 10.0, 30.0, 60.0)
CHAT_S = (0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 20.0, 30.0, 60.0, 120.0, 300.0, 600.0)

SUBMITTED = make_counter("studio_generations_submitted", "Generations accepted.", "lane", "model")
ENDED = make_counter(
    "studio_generations_ended", "Generations that ended: succeeded, failed, canceled.", "lane", "model", "status"
)
FAILURES = make_counter(
    "studio_generation_failures", "Generations that failed and were refunded, by reason.", "lane", "model", "code"
)
RETRIES = make_counter(
    "studio_generation_retries", "Tries that failed and went back to the queue, by reason.", "lane", "model", "code"
)
LEASES_LOST = make_counter(
    "studio_leases_lost", "Leases that ran out: a worker was killed, froze or lost the database.", "lane", "pool"
)
WAITED = make_histogram(
    "studio_generation_wait_seconds", "Time from a submit to its first claim.", "lane", "model", buckets=WAIT_S
)
PASS_SECONDS = make_histogram(
    "studio_pass_duration_seconds", "Time of a pass, without decoding and storing.", "lane", "model", buckets=PASS_S
)
PASS_IMAGES = make_histogram(
    "studio_pass_images", "Images drawn together in one pass.", "lane", "model", buckets=(1, 2, 3, 4, 5, 6, 7, 8)
)
IMAGES = make_counter("studio_images", "Images delivered.", "lane", "model")
SWEPT_AT = make_gauge(
    "studio_ticker_last_sweep_timestamp_seconds", "When the ticker swept last, in Unix time.", "lane", together="max"
)
GPU_MEMORY_USED = make_gauge("studio_gpu_memory_used_bytes", "Memory of a GPU in use.", "gpu", together="max")
GPU_MEMORY = make_gauge("studio_gpu_memory_bytes", "Memory of a GPU.", "gpu", together="max")
GPU_BUSY = make_gauge(
    "studio_gpu_utilization_ratio", "Share of the last moment in which a GPU computed, 0 to 1.", "gpu", together="max"
)
GPU_TEMPERATURE = make_gauge("studio_gpu_temperature_celsius", "Temperature of a GPU.", "gpu", together="max")

CHAT_CALLS = make_counter(
    "studio_chat_calls", "Chat calls that reached the relay, by what came of them.", "lane", "model", "outcome"
)
CHAT_FIRST_BYTE = make_histogram(
    "studio_chat_first_byte_seconds",
    "Time from a chat call to the first byte of its answer.",
    "lane",
    "model",
    buckets=FIRST_BYTE_S,
)
CHAT_SECONDS = make_histogram(
    "studio_chat_duration_seconds", "Time of a whole chat call.", "lane", "model", buckets=CHAT_S
)
CHAT_TOKENS = make_counter(
    "studio_chat_tokens", "Tokens of chat calls, by direction: in (prompts), out.", "lane", "model", "direction"
)
CHAT_UNDER_WAY = make_gauge("studio_chat_calls_under_way", "Chat calls under way.", "lane")
CHAT_BREAKER = make_gauge(
    "studio_chat_breaker_open",
    "Whether an upstream's breaker was open (1) when somebody last wanted to ask it, by the name that staff gave it.",
    "lane",
    "upstream",
    together="max",
)


def count_chat(
    *, lane: str, model: str, outcome: str, first_byte_ms: int | None, total_ms: int, tokens_in: int, tokens_out: int
) -> None:
    """One chat call that has ended."""
    child(CHAT_CALLS, lane, model, outcome).inc()
    child(CHAT_SECONDS, lane, model).observe(total_ms / 1000)
    if first_byte_ms is not None:
        child(CHAT_FIRST_BYTE, lane, model).observe(first_byte_ms / 1000)
    child(CHAT_TOKENS, lane, model, "in").inc(tokens_in)
    child(CHAT_TOKENS, lane, model, "out").inc(tokens_out)
