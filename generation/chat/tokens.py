"""How many tokens a text will be, by its length: to reserve by, and where an upstream counts nothing."""

from __future__ import annotations

from generation.chat.request import ChatRequest

BYTES_PER_TOKEN = 4  # English has about 4.2 letters to a token of Qwen's, Chinese about 1.5 characters of 3 bytes
MESSAGE_TOKENS = 5  # the chat template's frame around each message
IMAGE_TOKENS = 1024  # Qwen-VL: a token for each 28 × 28 pixels, so a picture of about 900 × 900


def estimate_text(text: str) -> int:
    """Tokens of a text, never less than none."""
    return -(-len(text.encode("utf-8", "replace")) // BYTES_PER_TOKEN)


def estimate_prompt(request: ChatRequest) -> int:
    """Tokens of a request's prompt, with its tools and pictures."""
    words = sum(estimate_text(message.text) + MESSAGE_TOKENS for message in request.messages)
    calls = sum(estimate_text(call.arguments) for message in request.messages for call in message.tool_calls)
    pictures = sum(IMAGE_TOKENS for message in request.messages for _ in message.images)
    tools = sum(estimate_text(f"{tool.name}{tool.description}{tool.parameters}") for tool in request.tools)
    return words + calls + pictures + tools
