"""A stand-in for the Perspective API on this machine, which misbehaves as it is told.

``python tests/perspective_server.py --port P --log FILE --errors 0.05 --late 0.01`` serves until
it is killed: that share of the requests fails or comes too late, whatever text they hold.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import json
import os
import random
import socket
import struct
import threading
import time
from collections import Counter
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import TracebackType
from typing import Any

PATH = "/v1alpha1/comments:analyze"
LATE_S = 120.0
FAILURES = ("500", "503", "429", "no json", "no scores", "cut", "close", "reset")

Behaviour = Callable[[str, int], str]
"""From a text and how often it has been asked for, to what is done with the request."""


def truth(text: str, attribute: str = "TOXICITY") -> float:
    """The score that this service gives a text: from its bytes, between 0 and 1."""
    digest = hashlib.blake2b(f"{attribute}\0{text}".encode(), digest_size=4).digest()
    return int.from_bytes(digest, "little") / 2**32


class PerspectiveServer:
    """Serves on a port of this machine, in threads, until it is stopped.

    ``asked`` counts requests by text, ``answered`` whole answers by text; ``requests`` holds what
    each request was. A second server may take the port of one that has stopped.
    """

    def __init__(self, behaviour: Behaviour = lambda text, count: "ok", port: int = 0) -> None:
        self.behaviour = behaviour
        self.asked: Counter[str] = Counter()
        self.answered: Counter[str] = Counter()
        self.requests: list[dict[str, Any]] = []
        self.lock = threading.Lock()
        self.ending = threading.Event()
        self.log: int | None = None
        self.in_flight = self.most_in_flight = 0
        self.server = _Server(("127.0.0.1", port), _handler(self))
        self.port = self.server.server_address[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self.thread = threading.Thread(target=self.server.serve_forever, args=(0.02,), daemon=True)

    def __enter__(self) -> PerspectiveServer:
        self.thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    def stop(self) -> None:
        """Die: connections end where they are."""
        self.ending.set()
        self.server.shutdown()
        self.server.server_close()
        for connection in list(self.server.connections):
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    def note(self, what: str, text: str, key: str) -> None:
        """Count a request or an answer, and write it into the log, with the key of who asked."""
        with self.lock:
            (self.asked if what == "asked" else self.answered)[text] += 1
        if self.log is not None:
            os.write(self.log, (json.dumps([time.time(), what, key, text]) + "\n").encode())


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    allow_reuse_address = True
    request_queue_size = 256

    def __init__(self, *arguments: Any) -> None:
        self.connections: set[socket.socket] = set()
        super().__init__(*arguments)

    def process_request(self, request: Any, client_address: Any) -> None:
        self.connections.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        self.connections.discard(request)
        super().shutdown_request(request)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that went away is no news."""


def _handler(service: PerspectiveServer) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True  # or each answer waits 40 ms for its body

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            text = body["comment"]["text"]
            with service.lock:
                service.requests.append(
                    {"path": self.path, "headers": dict(self.headers), "body": body}
                )
                service.in_flight += 1
                service.most_in_flight = max(service.most_in_flight, service.in_flight)
            service.note("asked", text, self.headers["X-Goog-Api-Key"])
            try:
                _respond(self, service, body, text)
            finally:
                with service.lock:
                    service.in_flight -= 1

        def log_message(self, format: str, *arguments: Any) -> None:
            """Say nothing."""

    return Handler


def _respond(handler: Any, service: PerspectiveServer, body: dict[str, Any], text: str) -> None:
    behaviour, _, detail = service.behaviour(text, service.asked[text]).partition(" ")
    whole = _scores(body)
    if handler.path != PATH:
        _send(handler, 404, b"<html>not found</html>")
    elif behaviour == "ok":
        _send(handler, 200, whole)
        service.note("answered", text, handler.headers["X-Goog-Api-Key"])
    elif behaviour == "slow":
        service.ending.wait(float(detail))
        _send(handler, 200, whole)
        service.note("answered", text, handler.headers["X-Goog-Api-Key"])
    elif behaviour == "late":
        service.ending.wait(float(detail or LATE_S))
        handler.close_connection = True
    elif behaviour == "pieces":
        _in_pieces(handler, whole, float(detail or 0), service.ending)
        service.note("answered", text, handler.headers["X-Goog-Api-Key"])
    elif behaviour == "cut":
        handler.send_response(200)
        handler.send_header("Content-Length", str(len(whole)))
        handler.end_headers()
        handler.wfile.write(whole[: len(whole) // 2])
        handler.close_connection = True
    elif behaviour == "close":
        handler.close_connection = True
    elif behaviour == "reset":
        _reset(handler.connection)
        handler.close_connection = True
    elif behaviour == "no":  # json, scores
        _send(handler, 200, b"<html>" if detail == "json" else b'{"attributeScores": {}}')
    elif behaviour == "body":
        _send(handler, 200, detail.encode())
    else:
        _send_error(handler, int(behaviour), detail)


def _scores(body: dict[str, Any]) -> bytes:
    scores = {
        name: {"summaryScore": {"value": truth(body["comment"]["text"], name)}}
        for name in body["requestedAttributes"]
    }
    return json.dumps({"attributeScores": scores, "languages": body.get("languages")}).encode()


def _send(handler: Any, status: int, body: bytes, **headers: str) -> None:
    handler.send_response(status)
    for name, value in headers.items():
        handler.send_header(name.replace("_", "-"), value)
    handler.send_header("Content-Length", str(len(body)))
    handler.end_headers()
    handler.wfile.write(body)


def _send_error(handler: Any, status: int, detail: str) -> None:
    """``detail``: for 429 the header Retry-After, else the error type or the message."""
    error: dict[str, Any] = {"code": status, "message": f"told to fail: {detail}"}
    if detail.isupper():
        error["details"] = [{"errorType": detail, "reason": detail}]
    elif detail:
        error["message"] = detail
    headers = {"Retry_After": detail} if status == 429 and detail else {}
    _send(handler, status, json.dumps({"error": error}).encode(), **headers)


def _in_pieces(handler: Any, whole: bytes, pause: float, ending: threading.Event) -> None:
    handler.send_response(200)
    handler.send_header("Transfer-Encoding", "chunked")
    handler.end_headers()
    for start in range(0, len(whole), 9):
        piece = whole[start : start + 9]
        handler.wfile.write(f"{len(piece):x}\r\n".encode() + piece + b"\r\n")
        handler.wfile.flush()
        if ending.wait(pause):
            return
    handler.wfile.write(b"0\r\n\r\n")


def _reset(connection: socket.socket) -> None:
    """End a connection without a word (RST)."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()


def misbehaving(errors: float, late: float, seed: int) -> Behaviour:
    """A share ``errors`` of the requests fails in one way or another, ``late`` never ends."""
    draws = random.Random(seed)

    def behaviour(text: str, count: int) -> str:
        draw = draws.random()
        if draw < late:
            return "late"
        return draws.choice(FAILURES) if draw < late + errors else "ok"

    return behaviour


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--log", type=Path, required=True)
    parser.add_argument("--errors", type=float, default=0.0)
    parser.add_argument("--late", type=float, default=0.0)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    behaviour = misbehaving(given.errors, given.late, given.seed)
    with PerspectiveServer(behaviour, given.port) as service:
        service.log = os.open(given.log, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
        service.thread.join()


if __name__ == "__main__":
    main()
