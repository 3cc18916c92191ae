"""`deploy/tasks.toml`: what ships is right, and whatever is wrong is named with its field."""

from __future__ import annotations

from pathlib import Path

import pytest

from generation.chat.tasks import FILE, MOODS, ChatTask, TasksError, read_tasks

WHOLE = FILE.read_text(encoding="utf-8")


def test_what_ships_is_read() -> None:
    tasks = read_tasks()
    assert (tasks.chat.system, set(tasks.chat.sampling.values())) == ("", {None}), "API clients get what they ask for"
    assert tuple(tasks.sentiment.choice.criteria) == MOODS
    assert all(mood in tasks.sentiment.prompt.system for mood in MOODS)
    assert tasks.sentiment.prompt.temperature == 0


def test_left_out_fields_have_defaults_and_empty_meanings_are_none(tmp_path: Path) -> None:
    file = tmp_path / "tasks.toml"
    file.write_text(
        '[chat]\n[sentiment.choice]\ninstructions = "Mood?"\n[sentiment.prompt]\nsystem = "a"\nagain = "b"\n'
    )
    tasks = read_tasks(file)
    assert tasks.chat == ChatTask()
    assert tasks.sentiment.choice.criteria == dict.fromkeys(MOODS)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("[chat]", "[chats]", "chats is not known; there are: chat, sentiment"),
        ("[sentiment.choice]", "[sentiment.choices]", "sentiment.choices is not known; there are: choice, prompt"),
        ('system = ""', "top_k = 8", "chat.top_k is not known"),
        ('system = ""', "temperature = 2.5", "chat.temperature must be between 0 and 2, not 2.5"),
        ('system = ""', "temperature = true", "chat.temperature must be a number, not bool"),
        ('system = ""', "temperature = nan", "chat.temperature must be between 0 and 2, not nan"),
        ('system = ""', "system = 1", "chat.system must be text, not int"),
        ('system = ""', 'system = " "', "chat.system must not be empty"),
        ("max_tokens = 8", "max_tokens = 0", "sentiment.prompt.max_tokens must be between 1 and 64, not 0"),
        ("max_tokens = 8", 'max_tokens = "8"', "sentiment.prompt.max_tokens must be a whole number, not str"),
        ('system = ""', "max_tokens = 99999", "chat.max_tokens must be between 1 and 32768, not 99999"),
        ('instructions = "What is the mood of the text?"\n', "", "sentiment.choice.instructions is missing"),
        ('"What is the mood of the text?"', '" "', "sentiment.choice.instructions must not be empty"),
        ('"What is the mood of the text?"', "7", "sentiment.choice.instructions must be text, not int"),
        ('"What is the mood of the text?"', f'"{"x" * 8001}"', "instructions is longer than 8000 characters"),
        ("[chat]", "[chat", "is no valid TOML"),
    ],
)
def test_what_is_wrong_is_named(tmp_path: Path, old: str, new: str, message: str) -> None:
    assert old in WHOLE
    file = tmp_path / "tasks.toml"
    file.write_text(WHOLE.replace(old, new, 1), encoding="utf-8")
    with pytest.raises(TasksError) as refused:
        read_tasks(file)
    assert str(refused.value).startswith(str(file))
    assert message in str(refused.value)


def test_a_missing_table_and_a_missing_file_are_named(tmp_path: Path) -> None:
    file = tmp_path / "tasks.toml"
    with pytest.raises(TasksError, match="cannot be read"):
        read_tasks(file)
    file.write_text(WHOLE.partition("[sentiment.prompt]")[0], encoding="utf-8")
    with pytest.raises(TasksError, match=r"sentiment\.prompt is missing"):
        read_tasks(file)
    file.write_text("chat = 1\n[sentiment]\n")
    with pytest.raises(TasksError, match="chat must be a table"):
        read_tasks(file)
    file.write_text("[chat]\n[sentiment]\n")
    with pytest.raises(TasksError, match=r"sentiment\.choice is missing"):
        read_tasks(file)
