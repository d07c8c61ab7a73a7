"""A web server on this machine that stands in for publishers, with faults on demand."""

import signal
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


class FileServer:
    """Serves `files` by path, with ranges; `faults` by path take over the answer.

    Attributes:
        files: path -> content.
        faults: path -> function that gets the handler, and returns True if it has answered.
        asked: (path, Range header) of every request, in order.
        tag: ETag of all files, "" for none.
        cut_after: bytes after which an answer breaks off, 0: never.
        reading: set when the first piece of a body has been sent.
        go_on: bodies wait for it after their first piece.
    """

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.faults: dict[str, Callable[[Any], bool]] = {}
        self.asked: list[tuple[str, str]] = []
        self.tag = '"first"'
        self.cut_after = 0
        self.reading, self.go_on = threading.Event(), threading.Event()
        self.go_on.set()
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                outer.answer(self)

            do_HEAD = do_POST = do_GET

            def log_message(self, *_: object) -> None:
                pass

        class Server(ThreadingHTTPServer):
            daemon_threads = True

            def handle_error(self, *_: object) -> None:
                """Clients that hang up are part of the play."""

        self.server = Server(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, args=(0.02,), daemon=True).start()

    def answer(self, handler: BaseHTTPRequestHandler) -> None:
        asked = handler.headers.get("Range", "")
        self.asked.append((handler.path, asked))
        fault = self.faults.get(handler.path)
        if fault is not None and fault(handler):
            return
        content = self.files.get(handler.path)
        if content is None:
            handler.send_error(404)
            return
        start = int(asked.removeprefix("bytes=").rstrip("-")) if asked else 0
        if handler.headers.get("If-Range", self.tag) != self.tag:
            start = 0
        if start and start >= len(content):
            handler.send_error(416)
            return
        handler.send_response(206 if start else 200)
        if start:
            handler.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
        if self.tag:
            handler.send_header("ETag", self.tag)
        handler.send_header("Content-Type", "application/octet-stream")
        handler.send_header("Content-Length", str(len(content) - start))
        handler.end_headers()
        body = content[start:]
        body = body[: self.cut_after] if self.cut_after else body
        half = len(body) // 2
        handler.wfile.write(body[:half])
        handler.wfile.flush()
        self.reading.set()
        self.go_on.wait(20)
        handler.wfile.write(body[half:])

    def close(self) -> None:
        self.go_on.set()
        self.server.shutdown()
        self.server.server_close()


def redirect(to: str, code: int = 302) -> Callable[[Any], bool]:
    """A fault that sends elsewhere."""

    def fault(handler: Any) -> bool:
        handler.send_response(code)
        handler.send_header("Location", to)
        handler.send_header("Content-Length", "0")
        handler.end_headers()
        return True

    return fault


def status(code: int, body: bytes = b"", **headers: str) -> Callable[[Any], bool]:
    """A fault that answers a status, with headers whose `_` are written `-`."""

    def fault(handler: Any) -> bool:
        handler.send_response(code)
        for name, value in headers.items():
            handler.send_header(name.replace("_", "-"), value)
        handler.end_headers()
        handler.wfile.write(body)
        return True

    return fault


def as_from_a_terminal() -> None:
    """For `preexec_fn`: a child of a background job ignores Ctrl-C unless it is told not to."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)
