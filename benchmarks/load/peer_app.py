"""The pattern that the studio's users come from: Flask, and the pipeline called inside the request.

One file, sync workers of gunicorn, a pipeline in each of them, SQLite for what was drawn. It knows the same people and
keys (`PEER_ACCOUNTS`), has the same actions where the pattern has them, and draws with the same checkpoint, size, steps
and dtype on one thread. Written after that description, as such apps are written; nothing in it is slow on purpose.

    PEER_FOLDER=… PEER_ACCOUNTS=… gunicorn --workers 2 --timeout 120 benchmarks.load.peer_app:app
"""

from __future__ import annotations

import functools
import os
import sqlite3
import time
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from diffusers import QwenImagePipeline
from flask import Flask, abort, g, jsonify, redirect, render_template_string, request, send_from_directory, session
from werkzeug.security import check_password_hash, generate_password_hash

from generation.engine.device import pick_device, pick_dtype

FOLDER = Path(os.environ["PEER_FOLDER"])
OUTPUTS = FOLDER / "outputs"
CHECKPOINT = Path(__file__).resolve().parents[2] / "generation/engine/demo/checkpoint"
PAGE = """<!doctype html><html><head><title>Pictures</title><link rel="stylesheet" href="/static/style.css"></head>
<body data-person="{{ person }}"><form method="post" action="/generate"><input name="prompt"><button>Draw</button>
</form>
{% if drawn %}<img src="/outputs/{{ drawn }}">{% endif %}
{% for name, prompt in pictures %}<a href="/outputs/{{ name }}"><img src="/outputs/{{ name }}" alt="{{ prompt }}"></a>
{% endfor %}</body></html>"""
LOGIN = """<!doctype html><html><head><link rel="stylesheet" href="/static/style.css"></head><body><form method="post">
<input name="email"><input name="password" type="password"><button>Sign in</button></form></body></html>"""

torch.set_num_threads(1)
device = pick_device()
pipe = QwenImagePipeline.from_pretrained(CHECKPOINT, torch_dtype=pick_dtype(device)[0]).to(device)
pipe.set_progress_bar_config(disable=True)

app = Flask(__name__)
app.secret_key = os.environ["PEER_SECRET"]
people: dict[str, str] = {}
keys: dict[str, str] = {}


def read_accounts() -> None:
    """All have one password here too, so it is hashed once."""
    hashed: dict[str, str] = {}
    email = ""
    for line in Path(os.environ["PEER_ACCOUNTS"]).read_text(encoding="utf-8").splitlines():
        words = line.split()
        if len(words) == 2:
            email = words[0]
            people[email] = hashed.setdefault(words[1], generate_password_hash(words[1]))
        else:
            keys[words[0]] = email


def database() -> sqlite3.Connection:
    """One connection a request."""
    if "database" not in g:
        g.database = sqlite3.connect(FOLDER / "pictures.db", timeout=30)
    return g.database  # type: ignore[no-any-return]


@app.teardown_appcontext
def close(error: object) -> None:
    """After each request."""
    if (found := g.pop("database", None)) is not None:
        found.close()


def signed_in(view: Callable[..., Any]) -> Callable[..., Any]:
    """Who has a session or a key."""

    @functools.wraps(view)
    def look(*words: Any, **named: Any) -> Any:
        key = request.headers.get("Authorization", "").removeprefix("Bearer ")
        g.person = keys.get(key) or session.get("person")
        if g.person is None:
            return (jsonify(error="no key"), 401) if request.path.startswith("/api/") else redirect("/login")
        return view(*words, **named)

    return look


def draw(prompt: str) -> tuple[str, str]:
    """The picture, in the request."""
    seed = torch.Generator("cpu").manual_seed(int(time.time() * 1000) % 2**31)
    image = pipe(
        prompt=prompt, width=256, height=256, num_inference_steps=4, true_cfg_scale=1.0, generator=seed
    ).images[0]  # fmt: skip
    found = uuid.uuid4().hex
    image.save(OUTPUTS / f"{found}.png")
    with database() as connection:
        connection.execute(
            "INSERT INTO pictures VALUES (?, ?, ?, ?)", (found, f"{found}.png", prompt, g.person)
        )  # fmt: skip
    return found, f"{found}.png"


def newest(count: int) -> list[tuple[str, str]]:
    """One's own."""
    rows = database().execute(
        "SELECT file, prompt FROM pictures WHERE person = ? ORDER BY rowid DESC LIMIT ?", (g.person, count)
    )
    return rows.fetchall()


@app.route("/login", methods=["GET", "POST"])
def login() -> Any:
    """The form."""
    if request.method == "GET":
        return render_template_string(LOGIN)
    if not check_password_hash(people.get(request.form["email"], "x"), request.form["password"]):
        abort(400)
    session["person"] = request.form["email"]
    return redirect("/")


@app.get("/")
@signed_in
def home() -> str:
    """The form and the last few."""
    return render_template_string(PAGE, person=g.person, pictures=newest(8))


@app.post("/generate")
@signed_in
def generate() -> str:
    """Draw, and show the page with the picture."""
    _, name = draw(request.form["prompt"])
    return render_template_string(PAGE, person=g.person, drawn=name, pictures=newest(8))


@app.get("/gallery")
@signed_in
def gallery() -> str:
    """All of them, up to a screenful."""
    return render_template_string(PAGE, person=g.person, pictures=newest(36))


@app.get("/outputs/<name>")
@signed_in
def output(name: str) -> Any:
    """A picture."""
    return send_from_directory(OUTPUTS, name)


@app.post("/api/generate")
@signed_in
def api_generate() -> Any:
    """Draw, and say where it is."""
    found, name = draw(request.get_json()["prompt"])
    return jsonify(id=found, url=f"/outputs/{name}")


@app.get("/api/images")
@signed_in
def api_images() -> Any:
    """The newest."""
    return jsonify(images=[{"url": f"/outputs/{name}", "prompt": prompt} for name, prompt in newest(20)])


@app.get("/api/me")
@signed_in
def api_me() -> Any:
    """Who it is."""
    return jsonify(person=g.person)


OUTPUTS.mkdir(parents=True, exist_ok=True)
with sqlite3.connect(FOLDER / "pictures.db", timeout=30) as setup:
    setup.execute("CREATE TABLE IF NOT EXISTS pictures (id TEXT PRIMARY KEY, file TEXT, prompt TEXT, person TEXT)")
read_accounts()
