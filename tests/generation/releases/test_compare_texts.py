"""The golden texts of `release compare`: a changed prompt shows, a bad one is red, and what cannot be asked is told."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from generation.chat.tasks import FILE
from generation.enums import Verdict
from generation.models import ChatModel, ChatTarget, ComparedCase, Comparison, Upstream
from generation.releases.compare.report import as_json
from generation.releases.compare.texts.asking import TextPair
from generation.releases.compare.texts.cases import Said, TextCase, read_text_cases
from generation.releases.compare.texts.judge import judge_said, judge_texts
from generation.releases.compare.words import say_reason
from generation.staff.compared import describe_comparison
from tests.generation.releases.comparing import SLUGS, compare, drawing
from tests.generation.releases.machine import Machine
from tests.generation.releases.test_release_steps import promote, start

CASES = read_text_cases()
LABELS = {case.text: case.wanted for case in CASES}
WHOLE = FILE.read_text(encoding="utf-8")
INSTRUCTIONS = "What is the mood of the text?"


class TextModel(ThreadingHTTPServer):
    """A small model: it knows the golden moods if it is asked for moods, and answers chats as its prompt says."""

    daemon_threads = True
    asked = 0


class Answering(BaseHTTPRequestHandler):
    server: TextModel

    def do_POST(self) -> None:
        self.server.asked += 1
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if self.path == "/v1/systemone":
            self._answer({"model": "m", "answers": {"mood": self._choose(body)}, "usage": {"input_tokens": 9}})
            return
        system = next((one["content"] for one in body["messages"] if one["role"] == "system"), "")
        text = body["messages"][-1]["content"]
        said = "I'm sorry, I cannot do that." if "refuse" in system else f"{text} {text}"
        message = {"role": "assistant", "content": said.upper() if "shout" in system else said}
        self._answer({"choices": [{"index": 0, "message": message, "finish_reason": "stop"}]})

    def _choose(self, body: dict[str, Any]) -> dict[str, Any]:
        asked = body["questions"]["mood"]["instructions"]
        right = LABELS[body["state"]] if "mood" in asked else "positive"
        sure = 0.7 if "please" in asked else 0.9
        others = [mood for mood in ("positive", "neutral", "negative") if mood != right]
        return {"choice": right, "probabilities": {right: sure, **dict.fromkeys(others, (1 - sure) / 2)}}

    def _answer(self, body: dict[str, Any]) -> None:
        content = json.dumps(body).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *arguments: Any) -> None:
        """Nobody reads it."""


@pytest.fixture
def model(db: object) -> Iterator[TextModel]:
    """A chat model on offer, and the server that answers for it."""
    server = TextModel(("127.0.0.1", 0), Answering)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    Upstream.objects.create(slug="one", base_url=f"http://127.0.0.1:{server.server_address[1]}")
    ChatModel.objects.create(slug="chat", title="Chat")
    ChatTarget.objects.create(model_id="chat", upstream_id="one", name="theirs")
    yield server
    server.shutdown()
    server.server_close()


def tasks_file(folder: Path, old: str, new: str) -> Path:
    """The shipped tasks with one change."""
    assert old in WHOLE
    file = folder / "tasks.toml"
    file.write_text(WHOLE.replace(old, new), encoding="utf-8")
    return file


def texts_of(found: Comparison) -> dict[str, ComparedCase]:
    return {row.slug: row for row in found.cases.all() if "kind" in row.params}


def run(machine: Machine, **options: Any) -> Comparison:
    with drawing():
        return compare(tasks_of=machine.tasks_of, **options)


# ---- whole comparisons


@pytest.mark.timeout(120)
@pytest.mark.usefixtures("golden_cases")
def test_prompts_of_two_lanes(machine: Machine, model: TextModel, tmp_path: Path) -> None:
    start(machine)
    said: list[str] = []
    found = run(machine, say=said.append)
    assert found.verdict == "green" and set(texts_of(found)) == {case.slug for case in CASES}
    assert [row["model"] for row in found.by_model] == ["demo", "chat"]
    assert found.by_model[1]["right"] == {"new": 10, "old": 10, "of": 10}
    assert "  good-day-zh: green" in said and any("10 of 10 moods right" in line for line in said)
    assert model.asked == 2 * len(CASES) + 1

    # A prompt that changes how sure the model is, and nothing else: shown, to be looked at.
    machine.tasks["green"] = tasks_file(tmp_path, INSTRUCTIONS, "What is the mood of the text, please?")
    found = run(machine)
    assert found.by_model[1]["reasons"] == [
        {"code": "tasks", "level": "yellow", "fields": ["sentiment.choice.instructions"]}
    ]
    assert say_reason(found.by_model[1]["reasons"][0]) == "it is asked in another way: sentiment.choice.instructions"
    row = texts_of(found)["thanks"]
    assert (found.verdict, row.verdict, row.reasons[0]["code"]) == ("yellow", "yellow", "scores")
    assert row.params["new"]["scores"]["positive"] == 0.7 and row.params["old"]["scores"]["positive"] == 0.9

    # A prompt that asks for something else: red, and it says in which cases.
    machine.tasks["green"] = tasks_file(tmp_path, INSTRUCTIONS, "Which language is this?")
    found = run(machine)
    assert found.verdict == "red"
    _, reason = found.by_model[1]["reasons"]
    assert (reason["code"], reason["new"], reason["old"], reason["of"]) == ("agreement", 4, 10, 10)
    row = texts_of(found)["broken"]
    assert row.reasons == [
        {"code": "label", "level": "yellow", "new": "positive", "old": "negative", "wanted": "negative"}
    ]
    report = json.dumps(as_json(found))
    assert say_reason(reason) == "4 of 10 moods are right, before 10"
    assert "positive instead of negative; right is negative" in report
    page = json.dumps(describe_comparison(found), default=str)
    assert '"said": "positive"' in page and "negative 0.90" in page

    # A system prompt for chats: other words are yellow, refusals red.
    for prompt, verdict, code in (("shout", "yellow", "words"), ("refuse", "red", "refusal")):
        machine.tasks["green"] = tasks_file(tmp_path, 'system = ""', f'system = "{prompt}"')
        found = run(machine, slugs=["wish"])
        assert (found.verdict, found.whole, list(texts_of(found))) == (verdict, False, ["wish"])
        assert code in [one["code"] for one in texts_of(found)["wish"].reasons]

    # A file that cannot be read is red, not a crash.
    machine.tasks["green"] = tasks_file(tmp_path, "[chat]", "[chats]")
    found = run(machine, slugs=["wish"])
    assert (found.verdict, texts_of(found)["wish"].new_error) == ("red", "bad_tasks")


@pytest.mark.timeout(120)
@pytest.mark.usefixtures("golden_cases")
def test_references_and_no_model_at_all(machine: Machine, model: TextModel, tmp_path: Path) -> None:
    start(machine)
    first = run(machine, lane="blue", slugs=[*SLUGS, "wish", "thanks"])
    first.refresh_from_db()
    assert first.against == "references" and first.promoted_at is not None
    assert {row.reasons[0]["code"] for row in texts_of(first).values()} == {"no_reference"}

    machine.tasks["green"] = tasks_file(tmp_path, 'system = ""', 'system = "shout"')
    found = run(machine, against="references", slugs=["wish", "thanks"])
    rows = texts_of(found)
    assert rows["thanks"].verdict == "green" and rows["wish"].reasons[0]["code"] == "words"
    assert rows["wish"].params["old"]["text"] == texts_of(first)["wish"].params["new"]["text"]

    before = model.asked
    ChatModel.objects.update(enabled=False)
    assert texts_of(run(machine)) == {}
    with drawing():
        promote(machine)  # it compares the first picture of each model, and asks for no text
    assert model.asked == before


@pytest.mark.timeout(60)
@pytest.mark.usefixtures("golden_cases")
def test_an_upstream_that_is_away_is_nobodys_fault(machine: Machine, model: TextModel) -> None:
    start(machine)
    Upstream.objects.update(base_url="http://127.0.0.1:9")
    found = run(machine, slugs=["apple", "thanks", "who"])
    assert found.verdict == "yellow"
    assert [row.reasons[0]["code"] for row in texts_of(found).values()] == ["both_failed"] * 2
    assert found.by_model[1]["new_errors"] == {"chat_unavailable": 2}


# ---- one case


def judged(case: TextCase, new: Said, old: Said | None) -> list[tuple[str, str]]:
    return [(one["code"], one["level"]) for one in judge_said(TextPair(case, new, old)).reasons]


MOOD = TextCase(slug="m", position=0, kind="mood", text="so good", wanted="positive")
CHAT = TextCase(slug="c", position=0, kind="chat", text="你好", wanted="zh")
HELLO, RIGHT = Said(text="你好，很高兴见到你", ms=100), Said(text="positive", ms=100)


@pytest.mark.parametrize(
    ("case", "new", "old", "codes"),
    [
        (MOOD, RIGHT, RIGHT, []),
        (MOOD, Said(text="negative", ms=1), RIGHT, [("label", "yellow")]),
        (MOOD, Said(error="chat_broken"), RIGHT, [("failed", "red")]),
        (MOOD, Said(error="chat_broken"), Said(error="chat_broken"), [("both_failed", "yellow")]),
        (MOOD, RIGHT, Said(error="chat_broken"), [("old_unsaid", "yellow")]),
        (MOOD, Said(text="negative"), None, [("no_reference", "yellow"), ("wrong_label", "yellow")]),
        (MOOD, Said(text="positive", ms=3001), RIGHT, [("late", "yellow")]),
        (MOOD, Said(text="positive", ms=10_001), RIGHT, [("late", "red")]),
        (MOOD, Said(text="positive", ms=9000), Said(text="positive", ms=3500), []),
        (CHAT, HELLO, HELLO, []),
        (CHAT, Said(text="Nice to meet you"), HELLO, [("language", "red")]),
        (CHAT, Said(text="Nice to meet you"), Said(text="Hello"), [("language", "yellow")]),
        (CHAT, Said(text="抱歉，我不能回答"), HELLO, [("refusal", "red")]),
        (CHAT, Said(text="抱歉，我不能回答"), Said(text="抱歉"), [("words", "yellow")]),
        (CHAT, Said(text="你好" * 60), HELLO, [("length", "red")]),
        (CHAT, Said(text="你好" * 60), Said(text="你好" * 25), [("length", "yellow")]),
        (CHAT, Said(text="你好呀"), HELLO, [("words", "yellow")]),
    ],
)
def test_one_case(case: TextCase, new: Said, old: Said | None, codes: list[tuple[str, str]]) -> None:
    assert judged(case, new, old) == codes


@pytest.mark.parametrize(("right", "verdict"), [(10, Verdict.GREEN), (9, Verdict.YELLOW), (8, Verdict.RED)])
def test_a_tenth_of_the_labels_is_too_many(right: int, verdict: Verdict) -> None:
    wrong = Said(text="negative")
    pairs = [TextPair(MOOD, RIGHT if at < right else wrong, RIGHT) for at in range(10)]
    assert judge_texts("chat", pairs).verdict == verdict


@pytest.mark.parametrize(
    "text",
    ["[moods.a]\ntext = 'x'\n", "[moods.a]\ntext = 'x'\nlabel = 'glad'\n", "[other.a]\n", "[chats.a]\ntext = ''"],
)
def test_a_wrong_file_is_named(tmp_path: Path, text: str) -> None:
    file = tmp_path / "golden-texts.toml"
    file.write_text(text)
    with pytest.raises(ValueError, match=r"golden-texts.toml: "):
        read_text_cases(file)
