"""manage.py metrics: the metrics of a machine that runs workers and no pages."""

from __future__ import annotations

import signal
import threading
from argparse import ArgumentParser
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from qwenstudio.metrics.access import may_read
from qwenstudio.metrics.show import CONTENT_TYPE, show_machine

TIMEOUT_S = 10


class Command(BaseCommand):
    help = (
        "Print what this machine's processes of this lane have counted, and its GPUs; with --listen, answer "
        "GET /metrics until SIGTERM. For machines without pages: where those run, ask them."
    )
    requires_system_checks = ()

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--listen", default="", metavar="ADDRESS:PORT", help="such as 10.0.0.7:9109")

    def handle(self, *, listen: str, **options: Any) -> None:
        if not listen:
            self.stdout.write(show_machine().decode(), ending="")
            return
        address, _, port = listen.rpartition(":")
        if not address or not port.isdigit():
            raise CommandError("--listen must be ADDRESS:PORT")
        try:
            server = Server((address.strip("[]"), int(port)), Handler)
        except (OSError, OverflowError) as error:
            raise CommandError(f"cannot listen on {listen}: {error}") from error
        for number in (signal.SIGTERM, signal.SIGINT):
            # In a thread: `shutdown` waits for the loop that this very thread runs.
            signal.signal(number, lambda *_: threading.Thread(target=server.shutdown).start())
        self.stderr.write(f"answering GET http://{listen}/metrics")
        with server:
            server.serve_forever(poll_interval=0.2)


class Server(ThreadingHTTPServer):
    daemon_threads = True


class Handler(BaseHTTPRequestHandler):
    """Two answers: the page, or 404."""

    timeout = TIMEOUT_S

    def do_GET(self) -> None:
        headers = {name.lower(): value for name, value in self.headers.items()}
        if self.path != "/metrics" or not may_read(remote=self.client_address[0], headers=headers):
            self.send_error(404)
            return
        page = show_machine()
        self.send_response(200)
        self.send_header("Content-Type", CONTENT_TYPE)
        self.send_header("Content-Length", str(len(page)))
        self.end_headers()
        self.wfile.write(page)

    def log_message(self, format: str, *args: Any) -> None:
        """Nobody wants a line for each scrape."""
