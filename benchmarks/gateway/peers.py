"""LiteLLM's proxy in an environment of its own, and nginx as a bare proxy.

LiteLLM keeps no books here: one master key, no database, no Redis, one worker, and the settings that its own page for
production asks for (docs.litellm.ai, "Production Best Practices", read on 2026-11-27). That is the least it can do.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import psutil

from benchmarks.gateway.load import Place, Question
from benchmarks.gateway.running import running
from qwenstudio.embedded.ports import free_port
from tests.needs import find_nginx

INSTALL_S = 900.0
MASTER_KEY = "sk-benchmark"
NGINX = """
worker_processes 1;
daemon off;
pid {folder}/nginx.pid;
error_log stderr error;
events {{ worker_connections 4096; }}
http {{
    access_log off;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    upstream model {{ server 127.0.0.1:{upstream}; keepalive 256; }}
    server {{
        listen 127.0.0.1:{port} backlog=1024;
        keepalive_requests 1000000;
        location / {{
            proxy_pass http://model;
            proxy_http_version 1.1;
            proxy_set_header Connection "";
            proxy_buffering off;
        }}
    }}
}}
"""


@contextmanager
def running_nginx(folder: Path, upstream: Place) -> Iterator[tuple[Place, psutil.Process]]:
    """nginx, with as little to do as it can have."""
    port = free_port()
    folder.mkdir()
    config = folder / "nginx.conf"
    config.write_text(NGINX.format(folder=folder, upstream=upstream.port, port=port), encoding="utf-8")
    words = [str(find_nginx()), "-c", str(config), "-e", "stderr"]
    url = f"http://127.0.0.1:{port}/counts"
    with running(words, log=folder / "nginx.log", environment=os.environ, ready=url) as process:
        yield Place(port=port), process


def nginx_version() -> str:
    """As it says itself."""
    said = subprocess.run([str(find_nginx()), "-v"], capture_output=True, text=True).stderr
    return said.strip().rpartition("/")[2]


class NotInstalled(Exception):
    """LiteLLM is not to be had here; the text says why."""


def install_litellm(folder: Path) -> Path:
    """An environment with `litellm[proxy]`, which is kept: made where it is missing. Raises `NotInstalled`."""
    program = folder / "bin" / "litellm"
    if program.exists():
        return program
    print(f"installing LiteLLM into {folder} …", file=sys.stderr, flush=True)
    steps: list[list[str]] = [
        [sys.executable, "-m", "venv", str(folder)],
        [str(folder / "bin" / "pip"), "install", "--quiet", "litellm[proxy]"],
    ]
    for step in steps:
        try:
            done = subprocess.run(step, capture_output=True, text=True, timeout=INSTALL_S)
        except subprocess.TimeoutExpired:
            raise NotInstalled(f"pip took more than {INSTALL_S:g} s") from None
        if done.returncode:
            raise NotInstalled(done.stderr.strip()[-300:])
    return program


def litellm_version(program: Path) -> str:
    """Of the package in its environment."""
    code = "import importlib.metadata as m; print(m.version('litellm'))"
    return subprocess.run([program.with_name("python"), "-c", code], capture_output=True, text=True).stdout.strip()


def litellm_config(upstream: Place, questions: Sequence[Question]) -> dict[str, object]:
    """Its configuration; JSON is YAML."""
    base = f"http://127.0.0.1:{upstream.port}/v1"
    return {
        "model_list": [
            {
                "model_name": model,
                "litellm_params": {"model": f"openai/{model}", "api_base": base, "api_key": "none"},
            }
            for model in sorted({question.model for question in questions})
        ],
        "general_settings": {"master_key": MASTER_KEY},
        "litellm_settings": {"request_timeout": 600, "set_verbose": False, "json_logs": True},
    }


@contextmanager
def running_litellm(
    folder: Path, program: Path, upstream: Place, questions: Sequence[Question]
) -> Iterator[tuple[Place, psutil.Process]]:
    """Its proxy, with one worker."""
    port = free_port()
    folder.mkdir()
    config = folder / "config.yaml"
    config.write_text(json.dumps(litellm_config(upstream, questions), indent=1), encoding="utf-8")
    environment = {name: value for name, value in os.environ.items() if name in ("PATH", "HOME", "LANG")}
    environment |= {
        "LITELLM_LOG": "ERROR",
        "LITELLM_MODE": "PRODUCTION",
        "LITELLM_LOCAL_MODEL_COST_MAP": "True",  # it would fetch one from GitHub
        "LITELLM_TELEMETRY": "False",
    }
    words = [str(program), "--config", str(config), "--host", "127.0.0.1", "--port", str(port), "--num_workers", "1"]
    url = f"http://127.0.0.1:{port}/health/liveliness"
    with running(words, log=folder / "litellm.log", environment=environment, ready=url, cwd=folder) as process:
        yield Place(port=port, keys=(MASTER_KEY,)), process
