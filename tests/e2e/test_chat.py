"""The chat page in a browser: a conversation's life, a reload in the middle of an answer, and what models may write."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from playwright.sync_api import Locator, Page, expect

from accounts.tenancy import in_tenant
from generation.chat.demomodel import DEMO_SLUG
from generation.models import Message
from tests.e2e.conftest import Visitor
from tests.e2e.speaking import HOLD, speaking
from tests.factories import Person
from tests.qwenstudio.talking import offer_chat

pytestmark = [pytest.mark.needs_chromium, pytest.mark.timeout(300)]
PASSWORD = "correct horse battery staple"
MARKDOWN = (
    "# Plan\n\nUse `sum`:\n\n```python\nprint(sum([1, 2]))\n```\n\n- one\n  - two\n\n| a | b |\n|--|--:|\n| 1 | 2 |\n"
)
HOSTILE = """<script>document.title = "taken"</script> <img src=x onerror="document.title='taken'"> **bold**

![a picture](https://evil.example/track.png) [click](javascript:alert(1)) [data](data:text/html,x) [rel](/sign-out/)
[user](https://studio.example@evil.example/) [good](https://example.org/a_b?c=1 "title") https://example.org/x, too.

<iframe src="https://evil.example"></iframe> `<b>` [![nested](https://evil.example/i.png)](https://example.org/z)
"""


@pytest.fixture
def alice_with_password(alice: Person) -> Person:
    alice.user.set_password(PASSWORD)
    alice.user.save(update_fields=["password"])
    return alice


def open_chat(visitor: Visitor, person: Person) -> Page:
    visitor.sign_in(person.user.email, PASSWORD)
    visitor.page.goto(f"{visitor.url}/chat/")
    visitor.page.wait_for_selector("#chat[data-ready]")
    return visitor.page


def say(page: Page, text: str) -> None:
    page.fill("#say", text)
    page.keyboard.press("Enter")


def answer(page: Page, number: int = -1) -> Locator:
    return page.locator(".answer").nth(number)


def ended(page: Page, number: int = -1) -> Locator:
    """An answer that grows no more."""
    found = answer(page, number)
    expect(found.locator(".message-foot")).not_to_have_attribute("hidden", "")
    return found


def texts(person: Person) -> list[tuple[str, str]]:
    with in_tenant(person.tenant.pk):
        return list(Message.objects.order_by("place").values_list("status", "text"))


def test_a_conversation(visitor: Visitor, alice_with_password: Person, tmp_path: Path) -> None:
    """Begun, shown as Markdown, copied, answered anew, said differently, renamed, found, fetched, drawn, deleted."""
    page = visitor.page
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    with speaking(**{"How do I add?": MARKDOWN, "a red boat": "A **red boat** on calm water"}) as upstream:
        offer_chat(upstream.port)
        offer_chat(upstream.port, slug="thinker")
        offer_chat(upstream.port, slug=DEMO_SLUG)
        open_chat(visitor, alice_with_password)
        wish = page.get_by_role("button", name="Could I have something red and round?")
        for model in (DEMO_SLUG, "talker"):  # first questions are those that the model can answer
            page.select_option("#chat-model", model)
            expect(wish).to_be_visible(visible=model == DEMO_SLUG)
            expect(page.get_by_role("button", name="Suggest five names")).to_be_visible(visible=model != DEMO_SLUG)
        page.click("[data-instructions]")
        page.select_option("#preset", label="Short answers")
        page.fill("#preset-name", "Mine")
        page.keyboard.press("Enter")
        expect(page.locator("#preset")).to_contain_text("Mine")
        page.click("#instructions button.button-main")
        page.select_option("#chat-model", "talker")
        before = page.locator("#chatbox").bounding_box()
        say(page, "How do I add?")
        shown = ended(page)
        assert page.locator("#chatbox").bounding_box() == before, "the box stays where it is"
        expect(page).to_have_url(re.compile(r"/chat/[0-9a-f-]{36}/$"))
        expect(shown.locator("h3")).to_have_text("Plan")
        expect(shown.locator("li li")).to_have_text("two")
        expect(shown.locator("td.side-end")).to_have_text("2")
        shown.locator("[data-copy-code]").click()
        expect(page.locator(".toast").last).to_have_text("Copied")
        assert page.evaluate("navigator.clipboard.readText()") == "print(sum([1, 2]))"
        expect(page.locator("#talks a")).to_have_text(["How do I add?"])
        assert upstream.heard[0][0][0] == "system" and upstream.heard[0][1] == ("user", "How do I add?")

        page.select_option("#chat-model", "thinker")
        shown.locator("[data-again]").click()
        expect(answer(page).locator("[data-meta]")).to_contain_text("Thinker · ")  # its time is told at the end
        assert len(upstream.heard) == 2 and len(texts(alice_with_password)) == 2, "in the place of the first"

        page.locator(".said").hover()
        page.locator("[data-edit]").click()
        page.fill(".edit textarea", "a red boat")
        page.keyboard.press("Control+Enter")
        expect(ended(page).locator("strong")).to_have_text("red boat")
        expect(page.locator(".said-text")).to_have_text(["a red boat"])

        page.click(".talk-menu summary")
        page.click("[data-rename]")
        page.fill("#rename-name", "Boats")
        page.keyboard.press("Enter")
        expect(page.locator("#talks a")).to_have_text(["Boats"])
        expect(page.locator("#talk-title")).to_have_text("Boats")
        page.click(".talk-menu summary")
        with page.expect_download() as download:
            page.click("text=Fetch as Markdown")
        download.value.save_as(tmp_path / "talk.md")
        assert "## thinker\n\nA **red boat** on calm water\n" in (tmp_path / "talk.md").read_text(encoding="utf-8")
        page.keyboard.press("Escape")

        talk = page.url
        answer(page).locator("[data-draw]").click()
        page.wait_for_selector("#studio[data-ready]")
        expect(page.locator("#prompt")).to_have_value("A red boat on calm water")
        page.goto(f"{visitor.url}/chat/?q=calm")
        expect(page.locator("#talks a")).to_have_text(["Boats"])
        page.goto(talk)
        page.wait_for_selector("#chat[data-ready]")
        page.click(".talk-menu summary")
        page.click("[data-delete]")
        page.click("[data-confirm-yes]")
        expect(page.locator("#talks-none")).to_be_visible()
        assert texts(alice_with_password) == []
    assert (visitor.complaints, visitor.foreign) == ([], [])


def test_answers(visitor: Visitor, alice_with_password: Person) -> None:
    """A reload in the middle loses nothing; stopped, refused, and full of what must stay text."""
    page = visitor.page
    says = {"Go": HOSTILE, "Count": f"One two three {HOLD}four five", "Stop it": f"Never {HOLD}ending"}
    with speaking(**says) as upstream:
        offer_chat(upstream.port)
        open_chat(visitor, alice_with_password)
        say(page, "Count")
        expect(answer(page)).to_contain_text("One two three")
        page.fill("#say", "a draft")
        page.reload()
        page.wait_for_selector("#chat[data-ready]")
        expect(answer(page)).to_contain_text("One two three")
        expect(page.locator("#say")).to_have_value("a draft")
        expect(page.locator("[data-stop]")).to_be_visible()
        upstream.go_on()
        expect(ended(page).locator("[data-text]")).to_have_text("One two three four five")
        assert len(upstream.heard) == 1, "asked once"
        say(page, "Stop it")
        expect(answer(page)).to_contain_text("Never")
        page.keyboard.press("Escape")
        expect(ended(page).locator("[data-note]")).to_have_text("Stopped.")
        assert texts(alice_with_password)[-1] == ("stopped", "Never ") and upstream.gone == 1
        expect(page.locator("[data-send]")).to_be_visible()
        page.set_viewport_size({"width": 390, "height": 844})
        for one in ("[data-send]", "#say", "#chat-model", ".talk-back", ".talk-menu summary"):
            expect(page.locator(one)).to_be_in_viewport(ratio=0.9)
        assert page.evaluate("document.documentElement.scrollWidth") == 390, "nothing sticks out of a phone"
        say(page, "Go")
        check_hostile(page, ended(page).locator("[data-text]"))
    say(page, "Nobody listens any more")
    expect(ended(page).locator("[data-note]")).to_contain_text("There is no answer:")
    assert (visitor.complaints, visitor.foreign) == ([], [])


def check_hostile(page: Page, shown: Locator) -> None:
    """No markup of its own, no picture, no link but to the web; and none of it takes long."""
    expect(shown).to_contain_text('<script>document.title = "taken"</script>')
    assert shown.locator("script, img, iframe, b, [onerror], [style]").count() == 0
    links = shown.locator("a").evaluate_all("all => all.map((one) => [one.href, one.rel, one.target])")
    assert {(rel, target) for _, rel, target in links} == {("noopener noreferrer nofollow", "_blank")}
    assert [href for href, _, _ in links] == [
        "https://evil.example/track.png",
        "https://example.org/a_b?c=1",
        "https://example.org/x",
        "https://evil.example/",
        "https://example.org/z",
    ]
    assert "taken" not in page.title()
    found = page.evaluate(CASES, [list(case) for case in MARKS])
    assert dict(found) == dict(MARKS)
    slowest = page.evaluate(HARD, HARD_PIECES)
    assert slowest < 3000, f"{slowest} ms for 60,000 characters"


# What stands between the tags, and what becomes of it: a table of what people and models write.
MARKS = [
    ("***both***", "<p><strong><em>both</em></strong></p>"),
    ("snake_case_name and 2 * 3 * 4", "<p>snake_case_name and 2 * 3 * 4</p>"),
    ("**注意：**请看", "<p><strong>注意：</strong>请看</p>"),
    ("a\nb  \nc", "<p>a<br>b<br>c</p>"),
    ("``a ` b``", "<p><code>a ` b</code></p>"),
    ("~~old~~ \\*kept\\*", "<p><del>old</del> *kept*</p>"),
    ("1. a\n2. b\n\n5. c", "<ol><li>a</li><li>b</li><li>c</li></ol>"),
    ("- a\n\n  b\n- c", "<ul><li><p>a</p><p>b</p></li><li><p>c</p></li></ul>"),
    ("3) a\n   - b", '<ol start="3"><li>a<ul><li>b</li></ul></li></ol>'),
    ("> a\n> > b", "<blockquote><p>a</p><blockquote><p>b</p></blockquote></blockquote>"),
    ("a\n\n---\n#### b ##", "<p>a</p><hr><h6>b</h6>"),
    (
        "a | b\n--|--\n`x\\|y` | ",
        "<div><table><thead><tr><th>a</th><th>b</th></tr></thead>"
        "<tbody><tr><td><code>x|y</code></td><td></td></tr></tbody></table></div>",
    ),
    (
        "(see https://example.org/a_(b))",
        '<p>(see <a href="https://example.org/a_(b)">https://example.org/a_(b)</a>)</p>',
    ),
    ("<br> & &amp; <!-- x -->", "<p><br> &amp; &amp;amp; &lt;!-- x --&gt;</p>"),
]
HARD_PIECES = ["*a ", "[", "[a](", "`", "_a_b", "> ", "- ", "|", "**a**", "~~", "![", "https://!", "\\", "<br"]
BARE = r"/ (dir|target|rel|tabindex|class)=\"[^\"]*\"/g"
LOAD = "document.querySelector('script[src*=\"chat.js\"]').src.replace('chat.js', 'markdown.js')"
CASES = f"""async (cases) => {{
  const {{ render }} = await import({LOAD});
  return cases.map(([given]) => {{
    const box = document.createElement("div");
    render(box, given);
    return [given, box.innerHTML.replace({BARE}, "")];
  }});
}}"""
HARD = f"""async (pieces) => {{
  const {{ render }} = await import({LOAD});
  let slowest = 0;
  for (const piece of pieces) {{
    const began = performance.now();
    render(document.createElement("div"), piece.repeat(60000 / piece.length));
    render(document.createElement("div"), (piece + "\\n").repeat(60000 / (piece.length + 1)));
    slowest = Math.max(slowest, performance.now() - began);
  }}
  return slowest;
}}"""
