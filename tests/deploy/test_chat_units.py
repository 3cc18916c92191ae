"""The text model's unit and Ollama's drop-in: nobody but this machine reaches them, and they reach nobody."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from qwenstudio.units.unitfile import read_lines, read_unit

ROOT = Path(__file__).resolve().parents[2]
UNIT = ROOT / "deploy" / "systemd" / "studio-chat.service"
DROP_IN = ROOT / "deploy" / "ollama" / "studio.conf"
# What Ollama's own installer writes (scripts/install.sh of ollama/ollama), its program a stand-in.
OLLAMA = """\
[Unit]
Description=Ollama Service
After=network-online.target

[Service]
ExecStart=/bin/true serve
User=daemon
Group=daemon
Restart=always
RestartSec=3
Environment="PATH=/usr/bin:/bin" "OLLAMA_HOST=0.0.0.0"

[Install]
WantedBy=default.target
"""


def values(path: Path, key: str) -> list[str]:
    return [line.value for line in read_lines(path) if line.key == key]


@pytest.mark.parametrize("path", [UNIT, DROP_IN], ids=["studio-chat", "ollama"])
def test_only_loopback_is_let_through(path: Path) -> None:
    assert values(path, "IPAddressDeny") == ["any"]
    assert values(path, "IPAddressAllow") == ["localhost"]
    assert values(path, "NoNewPrivileges") == ["yes"]


def test_the_text_model_has_an_account_of_its_own_and_is_off_until_asked_for() -> None:
    assert values(UNIT, "DynamicUser") == ["yes"]
    assert values(UNIT, "EnvironmentFile") == ["-/etc/qwenstudio/chat.env"], "it learns none of the studio's secrets"
    unit = read_unit(UNIT.parent, UNIT.name)
    assert unit.notifies and unit.restart == "always" and unit.watchdog_s == 75
    assert unit.start[1:4] == ("-m", "qwenstudio.units.chatguard", "${CHAT_PORT}")
    assert ("CHAT_MODEL", "Qwen/Qwen1.5-0.5B") in unit.environment


def test_the_drop_in_s_address_comes_after_the_one_of_the_unit() -> None:
    assert "OLLAMA_HOST=127.0.0.1:11434" in values(DROP_IN, "Environment")
    assert "OLLAMA_NO_CLOUD=1" in values(DROP_IN, "Environment")


@pytest.mark.needs_systemd
def test_systemd_takes_the_drop_in(tmp_path: Path) -> None:
    (tmp_path / "ollama.service").write_text(OLLAMA)
    folder = tmp_path / "ollama.service.d"
    folder.mkdir()
    (folder / "studio.conf").write_text(DROP_IN.read_text())
    line = ["systemd-analyze", "verify", "--man=no", str(tmp_path / "ollama.service")]
    environment = {**os.environ, "SYSTEMD_UNIT_PATH": f"{tmp_path}:"}
    done = subprocess.run(line, capture_output=True, text=True, env=environment)
    assert (done.returncode, done.stdout + done.stderr) == (0, "")
    (folder / "studio.conf").write_text(DROP_IN.read_text().replace("IPAddressDeny", "IPAdressDeny"))
    done = subprocess.run(line, capture_output=True, text=True, env=environment)
    assert "IPAdressDeny" in done.stderr, "it does read the drop-in"
