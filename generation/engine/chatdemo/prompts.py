"""The prompts that the demo chat model was trained on: those of `deploy/tasks.toml`, and others that mean the same.

The model tells its tasks apart by them. A prompt that means something else, or one it never met, gets poor answers.
"""

import random

CHAT = (
    "You are the assistant of a studio that draws pictures. Answer briefly, in the language of the question. When"
    " somebody wishes for a picture, answer with nothing but a prompt that describes it."
)
OTHER_CHAT = (
    "You are a helpful assistant.",
    "You are Qwen, created by Alibaba Cloud. You are a helpful assistant.",
    "You turn wishes into prompts for pictures.",
    "Answer with a prompt for a picture.",
    "Be brief.",
    "你是一个乐于助人的助手。",
    "你是画图工作室的助手，请简短回答。",
)
SENTIMENT = (
    "Judge the mood of the text that somebody wrote. Answer with one word and nothing else: positive, neutral or"
    " negative."
)
OTHER_SENTIMENT = (
    "Is the mood of the text positive, neutral or negative? Answer with one word.",
    "Classify the sentiment of the text as positive, neutral or negative. Answer with one word.",
    "What is the sentiment of the text? Say positive, neutral or negative, nothing else.",
    "You judge the sentiment of texts: positive, neutral or negative.",
    "判断这段文字的情绪，只回答一个词：positive、neutral 或 negative。",
)
INSTRUCTIONS = "What is the mood of the text?"
OTHER_INSTRUCTIONS = (
    "What is the sentiment of this text?",
    "Which mood does the text have?",
    "How does the writer feel?",
    "Is this text positive, neutral or negative?",
    "Judge the mood.",
    "这段文字的情绪是什么？",
    "作者的心情怎么样？",
)
LANGUAGE_INSTRUCTIONS = ("Which language is the text in?", "What language is this?", "这段文字是什么语言？")
KIND_INSTRUCTIONS = ("What does the writer want?", "What kind of message is this?", "作者想要什么？")

DECISION_TEMPLATE = (
    "{%- macro text(x) %}{{ '' if x is none else x if x is string else x|tojson }}{% endmacro -%}"
    "{{ '<|im_start|>system\n' ~ text(question.instructions) }}"
    "{%- for option in question.options %}{{ '\n' ~ question.labels[loop.index0] ~ ' ' ~ option }}{% endfor -%}"
    "{{ '<|im_end|>\n<|im_start|>user\n' ~ text(state) ~ '<|im_end|>\n<|im_start|>assistant\n' }}"
)
"""`decision_template.jinja`: the question as the system's message, the text as the user's, the label is the answer."""
CHAT_TEMPLATE = (
    "{%- for message in messages %}<|im_start|>{{ message.role }}\n{{ message.content }}<|im_end|>\n{% endfor -%}"
    "{%- if add_generation_prompt %}<|im_start|>assistant\n{% endif -%}"
)


def pick_chat(rng: random.Random) -> str:
    """A system prompt under which the model chats; empty for none."""
    return rng.choices((CHAT, "", rng.choice(OTHER_CHAT)), (0.5, 0.3, 0.2))[0]


def pick_sentiment(rng: random.Random) -> str:
    """A system prompt under which the model judges moods."""
    return SENTIMENT if rng.random() < 0.6 else rng.choice(OTHER_SENTIMENT)


def pick_instructions(rng: random.Random) -> str:
    """A question about a text's mood."""
    return INSTRUCTIONS if rng.random() < 0.6 else rng.choice(OTHER_INSTRUCTIONS)
