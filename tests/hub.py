"""A server that speaks a model hub's URLs (commit, tree, files with ranges), and misbehaves as networks do."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote, urlsplit

COMMIT = "0123456789abcdef0123456789abcdef01234567"
REPO = "owner/tiny"


def weights(size: int, fill: int) -> bytes:
    """A true safetensors file of `size` bytes of data."""
    header = json.dumps({"a": {"dtype": "U8", "shape": [size], "data_offsets": [0, size]}}).encode()
    return len(header).to_bytes(8, "little") + header + bytes([fill]) * size


@dataclass
class Store:
    """What the hub has, and how it misbehaves."""

    files: dict[str, bytes]
    cuts: dict[str, list[int]] = field(default_factory=dict)  # per file: after how many bytes each answer ends
    lies: dict[str, list[bytes]] = field(default_factory=dict)  # per file: bytes that are sent instead, in turn
    no_ranges: bool = False
    busy: int = 0  # so many answers of 503 first
    page: int = 100
    redirect: str = ""
    listed: Any = None  # answered instead of the list of its files: JSON, or bytes as they are
    link: str = ""  # and where that says that the rest is
    asked: list[tuple[str, str]] = field(default_factory=list)  # (path, Range)
    authorized: list[bool] = field(default_factory=list)


class Handler(BaseHTTPRequestHandler):
    store: Store

    def log_message(self, *_: Any) -> None:
        return None

    def do_GET(self) -> None:
        url = urlsplit(self.path)
        path = unquote(url.path)
        self.store.asked.append((path, self.headers.get("Range", "")))
        self.store.authorized.append("Authorization" in self.headers)
        if self.store.busy:
            self.store.busy -= 1
            self.send_error(503)
        elif path == f"/api/models/{REPO}/revision/main" or path == f"/api/models/{REPO}/revision/{COMMIT}":
            self.answer_json({"sha": COMMIT})
        elif path == f"/api/models/{REPO}/tree/{COMMIT}" and self.store.listed is not None:
            self.answer_json(self.store.listed, self.store.link)
        elif path == f"/api/models/{REPO}/tree/{COMMIT}":
            self.answer_tree(url.query)
        elif path.startswith(f"/{REPO}/resolve/{COMMIT}/") and self.store.redirect:
            self.send_response(302)
            self.send_header("Location", self.store.redirect + self.path)
            self.send_header("Content-Length", "0")
            self.end_headers()
        elif (name := path.removeprefix(f"/{REPO}/resolve/{COMMIT}/")) in self.store.files:
            self.answer_file(name)
        else:
            self.send_error(404)

    def answer_json(self, value: Any, link: str = "") -> None:
        body = value if isinstance(value, bytes) else json.dumps(value).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        if link:
            self.send_header("Link", f'<{link}>; rel="next"')
        self.end_headers()
        self.wfile.write(body)

    def answer_tree(self, query: str) -> None:
        at = int(query.rpartition("at=")[2]) if "at=" in query else 0
        names = sorted(self.store.files)
        entries = [{"type": "directory", "path": "transformer", "oid": "0" * 40, "size": 0}] if not at else []
        entries += [self.entry(name) for name in names[at : at + self.store.page]]
        following = at + self.store.page
        link = f"/api/models/{REPO}/tree/{COMMIT}?recursive=true&at={following}" if following < len(names) else ""
        self.answer_json(entries, link)

    def entry(self, name: str) -> dict[str, Any]:
        data = self.store.files[name]
        blob = hashlib.sha1(b"blob %d\0" % len(data) + data, usedforsecurity=False).hexdigest()
        entry: dict[str, Any] = {"type": "file", "path": name, "size": len(data), "oid": blob}
        if name.endswith((".safetensors", ".bin")):
            entry["lfs"] = {"oid": hashlib.sha256(data).hexdigest(), "size": len(data), "pointerSize": 135}
        return entry

    def answer_file(self, name: str) -> None:
        data = self.store.files[name]
        lies = self.store.lies.get(name, [])
        if lies:
            data = lies.pop(0)
        asked = self.headers.get("Range", "")
        start = 0 if self.store.no_ranges or not asked else int(asked.removeprefix("bytes=").rstrip("-"))
        self.send_response(206 if start else 200)
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(data) - 1}/{len(data)}")
        self.send_header("Content-Length", str(len(data) - start))
        self.end_headers()
        cuts = self.store.cuts.get(name, [])
        end = len(data)
        if cuts:
            end = min(end, start + cuts.pop(0))
            self.close_connection = True
        self.wfile.write(data[start:end])


def make_store() -> Store:
    """A little repository with what a checkpoint has, and with what nobody loads."""
    return Store(
        files={
            "README.md": b"# tiny\n",
            "model_index.json": b'{"_class_name": "QwenImagePipeline"}',
            "transformer/config.json": b"{}",
            "transformer/diffusion_pytorch_model.safetensors": weights(5_000_000, 7),
            "vae/diffusion_pytorch_model.safetensors": weights(300_000, 9),
            "vae/diffusion_pytorch_model.bin": b"pickle",
            "tiny.safetensors": weights(10, 1),
            "assets/picture.png": b"png",
        }
    )


@contextmanager
def serving() -> Iterator[Callable[[Store], str]]:
    """`with serving() as serve: base = serve(store)`; the servers end with the block."""
    servers = []

    def start(store: Store) -> str:
        server = ThreadingHTTPServer(("127.0.0.1", 0), type("Own", (Handler,), {"store": store}))
        threading.Thread(target=server.serve_forever, daemon=True).start()
        servers.append(server)
        return f"http://127.0.0.1:{server.server_port}"

    try:
        yield start
    finally:
        for server in servers:
            server.shutdown()
            server.server_close()
