"""Rules for answers: what matches, that streams are filtered like whole texts, and that a failing filter blocks."""

from __future__ import annotations

import json
import random
import re
import time
import unicodedata

import orjson
import pytest

from generation.chat.deltas import Delta, ToolCallPiece, Usage
from generation.chat.filters.answer import AnswerFilter
from generation.chat.filters.patterns import BadPattern, parse_pattern
from generation.chat.filters.rules import REDACTED, Rule, RuleSet, compile_rules
from generation.chat.filters.stream import _JOINING, StreamFilter, filter_text, joins
from generation.errors import AnswerBlocked


def rules(*texts: str, stop: str = "", pattern: str = "") -> RuleSet:
    found = [Rule("word", "redact", text) for text in texts]
    if stop:
        found.append(Rule("word", "stop", stop))
    if pattern:
        found.append(Rule("pattern", "redact", pattern))
    made = compile_rules(tuple(found))
    assert made is not None
    return made


def cut(text: str, rule_set: RuleSet) -> str:
    return filter_text(text, rule_set)[0]


@pytest.mark.parametrize(
    ("word", "text", "found"),
    [
        ("acme", "Ask ACME, or Acme.", f"Ask {REDACTED}, or {REDACTED}."),
        ("ass", "a glass, an ass, assets", f"a glass, an {REDACTED}, assets"),
        ("秘密", "这是秘密。", f"这是{REDACTED}。"),
        ("acme", "问acme吧", f"问{REDACTED}吧"),
        ("café", "cafe\u0301 Café", f"{REDACTED} {REDACTED}"),
        ("cafe", "cafe\u0301", "café"),
        ("red fox", "a red \n fox", f"a {REDACTED}"),
        ("acme", "ac\u200bme a\u00adcme", f"{REDACTED} {REDACTED}"),
        ("a.b", "a.b acb", f"{REDACTED} acb"),
        ("über", "ÜBER", REDACTED),
        ("x", "x", REDACTED),
        ("c++", "in C++ it", f"in {REDACTED} it"),
        ("пример", "ПРИМЕР примеры", f"{REDACTED} примеры"),
        # No sign but a letter, a digit or an accent makes another word of one.
        ("acme", "«acme» ¿acme? °acme acme·", f"«{REDACTED}» ¿{REDACTED}? °{REDACTED} {REDACTED}·"),
        ("كلمة", "كلمة، كلمة؟ كلمةب", f"{REDACTED}، {REDACTED}؟ كلمةب"),
        ("कम", "कम। कमल कमा", f"{REDACTED}। कमल कमा"),
        ("acme", "acmés acme\u0327", "acmés acme\u0327".replace("e\u0327", "ȩ")),
    ],
)
def test_words(word: str, text: str, found: str) -> None:
    assert cut(text, rules(word)) == found


@pytest.mark.parametrize("code", [0xAD, 0x34F, 0x61C, 0x180E, 0x200B, 0x202E, 0x2060, 0x2069, 0xFE0F, 0xFEFF, 0xE0061])
def test_signs_that_nobody_sees_hide_nothing(code: int) -> None:
    """Inside a word, and at its ends."""
    sign = chr(code)
    assert cut(f"ac{sign}me {sign}acme acme{sign} acme{sign}{sign}.", rules("acme")).count(REDACTED) == 4


def test_where_two_match_the_order_counts() -> None:
    """Whatever stands at their ends: those that stop before all others, then the first."""
    made = compile_rules(
        (Rule("word", "redact", "ab"), Rule("pattern", "redact", "ab."), Rule("word", "redact", "ab c"))
    )
    assert made is not None and cut("ab cd ab c", made) == f"{REDACTED} cd {REDACTED} c"
    made = compile_rules((Rule("word", "redact", "ab c"), Rule("word", "redact", "ab"), Rule("word", "stop", "秘b")))
    assert made is not None and cut("ab c ab 秘b", made) == f"{REDACTED} {REDACTED} "
    assert filter_text("秘b", made)[1]


@pytest.mark.parametrize(
    ("pattern", "text", "found"),
    [
        (r"\d{4}-\d{4}", "call 1234-5678 now", f"call {REDACTED} now"),
        (r"sk-[a-z0-9]{4,20}", "sk-ABCD1234!", f"{REDACTED}!"),
        (r"(foo|bar)s?", "foos bar", f"{REDACTED} {REDACTED}"),
        (r"a[^b-d\]]c", "abc axc a]c", f"abc {REDACTED} a]c"),
        (r"\bno\b", "no nope", f"{REDACTED} nope"),
        (r"x\.y", "x.y xzy", f"{REDACTED} xzy"),
        (r"[.\-+]{2}", "a.- b", f"a{REDACTED} b"),
        (r"密码.{1,3}!", "密码是1!", REDACTED),
        (r"[a\-z]q", "-q bq", f"{REDACTED} bq"),
        (r"[\d_]x", "1x _x ax", f"{REDACTED} {REDACTED} ax"),
    ],
)
def test_patterns(pattern: str, text: str, found: str) -> None:
    assert cut(text, rules(pattern=pattern)) == found


@pytest.mark.parametrize(
    ("pattern", "words"),
    [
        ("a*", "has no bound, write {0,20}"),
        ("a+", "has no bound, write {1,20}"),
        ("(a{1,5}){1,5}", "a repeat of what holds"),
        ("(a|a){20}", "a repeat of what holds"),
        ("(a?){20}", "a repeat of what holds"),
        ("a{1,2}{3}", "a repeat of a repeat"),
        ("a{2,1}", "from the smaller"),
        ("a{1000}", "is written"),
        ("a{}", "is written"),
        ("a{,5}", "is written"),
        ("(?=a)", "no options"),
        ("(?:a)", "no options"),
        (r"\1", "not in the language"),
        (r"\Ax", "not in the language"),
        ("^a", "must have a"),
        ("a$", "must have a"),
        ("(a", "a ) is missing"),
        ("a)", "nothing opens this"),
        ("[a", "a ] is missing"),
        ("[z-a]", "from the smaller"),
        ("a?", "where nothing is"),
        (r"\b", "where nothing is"),
        ("a|", "where nothing is"),
        (r"(\b){3}", "a repeat of nothing"),
        ("?", "something to repeat"),
        (".{0,30}.{0,30}.{0,30}x", "in 29791 ways"),
        (".{191}", "max 190"),
        ("x" * 201, "1 to 200"),
        ("", "1 to 200"),
        ("a\\", "at the end"),
    ],
)
def test_what_is_not_in_the_language(pattern: str, words: str) -> None:
    with pytest.raises(BadPattern, match=re.escape(words)):
        parse_pattern(pattern)


def test_bounds_of_rules() -> None:
    for word in ("", "  ", "x" * 65):
        with pytest.raises(BadPattern):
            Rule("word", "redact", word)
    with pytest.raises(ValueError, match="max 200"):
        compile_rules(tuple(Rule("word", "redact", f"w{number}") for number in range(201)))
    heavy = tuple(Rule("pattern", "redact", f".{{0,30}}[a-{letter}]{{1,40}}!") for letter in "bcdefg")
    with pytest.raises(ValueError, match="ways at one place"):
        compile_rules(heavy)
    with pytest.raises(ValueError, match="3200 letters together, max 3000"):
        compile_rules(tuple(Rule("word", "redact", f"w{number}".ljust(64, "x")) for number in range(50)))
    assert compile_rules(()) is None


# ---- a stream gives what the whole text gives

ALPHABETS = ("ab ", "abAB. -", "ae\u0301\u0323 é", "秘密是a ", "ㄱ\u1100\u1161\u11a8가 a", "a\u200bc\u00ad ", "x1-\n")


def brute(text: str, rule_set: RuleSet) -> tuple[str, bool]:
    """The same by one search over the whole text."""
    text, out, at = unicodedata.normalize("NFC", text), [], 0
    for match in rule_set.expression.finditer(text):
        out.append(text[at : match.start()])
        at = match.end()
        if match.lastindex in rule_set.stops:
            return "".join(out), True
        out.append(REDACTED)
    return "".join([*out, text[at:]]), False


SETS = (
    rules("a", "ab", "ba a"),
    rules("é", "ae", stop="aé"),
    rules("秘密", "a", pattern="是.{0,3}a"),
    rules("ab", pattern=r"\b[ab]{2,3}\b", stop="abab"),
    rules("가", "ac", pattern="[^ ]{3}"),
    rules(pattern=r"x\d{1,3}-?x", stop="x x"),
    rules(pattern=r"(aa|ab|b)a?"),
)


def test_streams_against_brute_force() -> None:
    chance = random.Random(7)
    for number in range(4000):
        alphabet, rule_set = chance.choice(ALPHABETS), chance.choice(SETS)
        text = "".join(chance.choices(alphabet, k=chance.randint(0, 60)))
        stream, out, at = StreamFilter(rule_set), "", 0
        while at < len(text) and not stream.stopped:
            size = chance.choice((1, 1, 2, 3, 7, 20))
            out += stream.feed(text[at : at + size])
            at += size
        out += stream.end()
        assert (out, stream.stopped) == brute(text, rule_set), (number, text)


def test_what_is_held_back_is_bounded() -> None:
    stream = StreamFilter(rules("x" * 64))
    out = ""
    for number in range(2000):
        out += stream.feed("y ")
        assert 2 * (number + 1) - len(out) <= 192 + 32


def test_accents_without_end_are_given_out() -> None:
    stream = StreamFilter(rules("secret"))
    given = sum(len(stream.feed("\u0301" * 50)) for _ in range(100))
    assert given > 4800


def test_which_signs_join() -> None:
    """Computed anew from this Python's own tables."""
    for code in range(0x110000):
        char = chr(code)
        parts = unicodedata.decomposition(char).split()
        if len(parts) == 2 and not parts[0].startswith("<"):
            second = chr(int(parts[1], 16))
            if unicodedata.normalize("NFC", chr(int(parts[0], 16)) + second) == char:
                assert joins(second), hex(ord(second))
    assert all(unicodedata.combining(char) == 0 for char in _JOINING)
    assert joins("\u1161") and joins("\u11a8") and not joins("a") and not joins("秘")


def test_the_heaviest_rules_have_a_bounded_cost() -> None:
    rule_set = compile_rules(
        (
            Rule("pattern", "redact", ".{0,30}.{0,30}[a-y]{2}!"),
            Rule("pattern", "redact", "[a-z]{0,30}[a-z]{1,40}[a-z]{10}[0-9]"),
            Rule("pattern", "stop", "a{0,40}a{0,40}a{20}b"),
        )
    )
    assert rule_set is not None
    answer = AnswerFilter(rule_set, budget_s=0.2)
    began = time.thread_time()
    with pytest.raises(AnswerBlocked, match="took too long"):
        answer.feed(Delta("a" * 1_000_000, finish="stop"))
    assert time.thread_time() - began < 1.5


def test_usual_rules_cost_little() -> None:
    rule_set = rules(*(f"word{number}" for number in range(50)), pattern=r"\d{3}-\d{2}-\d{4}")
    answer = AnswerFilter(rule_set)
    began = time.thread_time()
    for _ in range(2000):
        answer.feed(Delta(" token"))
    assert (time.thread_time() - began) / 2000 < 0.0003


# ---- answers


def run(rule_set: RuleSet, *deltas: Delta) -> list[Delta]:
    answer = AnswerFilter(rule_set)
    found = []
    for delta in deltas:
        if answer.stopped:
            break
        found.append(answer.feed(delta))
    return [delta for delta in found if delta]


def test_words_and_thoughts() -> None:
    found = run(
        rules("acme"),
        Delta(reasoning="about ac"),
        Delta(reasoning="me hm"),
        Delta("Ac"),
        Delta("me is"),
        Delta(finish="stop"),
        Delta(usage=Usage(1, 2)),
    )
    assert "".join(delta.reasoning for delta in found) == f"about {REDACTED} hm"
    assert "".join(delta.text for delta in found) == f"{REDACTED} is"
    assert [delta.finish for delta in found if delta.finish] == ["stop"]
    assert found[-1].usage == Usage(1, 2)


def test_thoughts_and_words_in_turns_hide_nothing() -> None:
    found = run(rules("acme"), Delta(reasoning="ac"), Delta("x"), Delta(reasoning="me "), Delta("y", finish="stop"))
    assert "".join(delta.reasoning for delta in found) == f"{REDACTED} "


def test_a_stop_ends_the_answer() -> None:
    deltas = (Delta("so mild, "), Delta("acme"), Delta(" and more words"), Delta(finish="stop"))
    found = run(rules("mild", stop="acme"), *deltas)
    assert "".join(delta.text for delta in found) == f"so {REDACTED}, "
    assert found[-1].finish == "content_filter" and found[-1].tool_calls == ()


def piece(arguments: str, index: int = 0, name: str = "") -> Delta:
    return Delta(tool_calls=(ToolCallPiece(index, f"c{index}" if name else "", name, arguments),))


def test_arguments_of_calls_are_read_as_what_they_say() -> None:
    found = run(
        rules("acme"),
        piece('{"to": "\\u0061c', name="send"),
        piece('me", "list": ["x acme", 5, {"acme": null}]}'),
        piece('{"fine": "y"}', 1, "other"),
        Delta(finish="tool_calls"),
    )
    (last,) = found
    assert [call.name for call in last.tool_calls] == ["send", "other"] and last.finish == "tool_calls"
    assert json.loads(last.tool_calls[0].arguments) == {
        "to": REDACTED,
        "list": [f"x {REDACTED}", 5, {REDACTED: None}],
    }
    assert last.tool_calls[1].arguments == '{"fine": "y"}'  # untouched, to the letter


def test_a_stop_in_arguments() -> None:
    (last,) = run(rules("x", stop="acme"), piece('{"a": "acme"}', name="send"), Delta(finish="tool_calls"))
    assert last == Delta(finish="content_filter")


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ('{"a": "acme', f'{{"a": "{REDACTED}'),
        ('{"a": "\\u0061cme', f'{{"a": "{REDACTED}'),
        ('{"a": "red\\nfox', f'{{"a": "{REDACTED}'),
        ('{"a": "\\ud83d\\ude00', '{"a": "\\ud83d\\ude00'),
        ("[" * 500 + "acme", "[" * 500 + REDACTED),
    ],
)
def test_arguments_that_are_no_json_are_text(arguments: str, told: str) -> None:
    """With and without their escapes: some readers know them in half an object, too."""
    (last,) = run(rules("acme", "red fox"), piece(arguments, name="send"), Delta(finish="length"))
    assert last.tool_calls[0].arguments == told


@pytest.mark.parametrize(
    "arguments",
    [
        '{"a": "acme", "a": "fine"}',  # some readers take the first
        '{"a": "\\u0061cme", "b": "\\ud800"}',  # JSON to most, not to all
        '{"a": "\\u0061cme", "b": NaN}',
        '{"a": "\\u0061cme", "b": 1e999}',
        '{"card": 4111111111111111}',
        '{"card": [4111111111111111.0]}',
        '{"card": 411111111111111100000000000000000000000000}',
        '{"4111111111111111": -1}',
    ],
)
def test_arguments_that_are_read_in_two_ways_hide_nothing(arguments: str) -> None:
    made = rules("acme", pattern=r"4\d{15}")
    (last,) = run(made, piece(arguments, name="send"), Delta(finish="tool_calls"))
    told = last.tool_calls[0].arguments
    assert "acme" not in told and "\\u0061cme" not in told and "4111111111111111" not in told, told
    orjson.dumps(told)  # it can be sent


def test_a_filter_that_fails_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(self: StreamFilter, piece: str) -> str:
        raise KeyError("a bug")

    monkeypatch.setattr(StreamFilter, "feed", broken)
    with pytest.raises(AnswerBlocked) as caught:
        AnswerFilter(rules("acme")).feed(Delta("anything"))
    assert caught.value.code == "answer_blocked" and "a bug" not in caught.value.message


def test_calls_without_end_are_blocked() -> None:
    answer = AnswerFilter(rules("acme"))
    with pytest.raises(AnswerBlocked, match="too long"):
        answer.feed(piece("x" * 300_000, name="send"))
