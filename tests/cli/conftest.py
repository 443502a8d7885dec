"""A gateway of paper: it answers chat completions with prepared lines and remembers what it was asked."""

import base64
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Lock, Thread
from typing import Any

import pytest

PCM = b"\x01\x00\x02\x00\x03\x00" * 400
"""2,400 bytes: 50 ms."""


@dataclass(slots=True, kw_only=True)
class PaperGateway:
    """`script` makes the events of a reply; `status` other than 200 refuses with `message`."""

    url: str = ""
    status: int = 200
    message: str = "the voice is not known"
    script: Callable[[dict[str, Any]], list[object]] = field(default_factory=lambda: spoken_reply)
    asked: list[dict[str, Any]] = field(default_factory=list)
    keys: list[str | None] = field(default_factory=list)
    most_at_once: int = 0
    open_now: int = 0
    lock: Any = field(default_factory=Lock)


def spoken_reply(body: dict[str, Any]) -> list[object]:
    """Text and two pieces of sound, as the API streams them."""
    audio = "audio" in body.get("modalities", [])
    words = [{"audio": {"transcript": word}} if audio else {"content": word} for word in ("Hello ", "there.")]
    data = base64.b64encode(PCM).decode()
    sound = [{"audio": {"id": "audio_1", "data": data}}, {"audio": {"data": data}}] if audio else []
    deltas = [{"role": "assistant"}, *words, *sound]
    usage = {"completion_tokens": 25, "completion_tokens_details": {"text_tokens": 20, "audio_tokens": 5}}
    return [
        *({"choices": [{"index": 0, "delta": delta, "finish_reason": None}]} for delta in deltas),
        {"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]},
        {"choices": [], "usage": usage},
    ]


@pytest.fixture
def gateway() -> Iterator[PaperGateway]:
    paper = PaperGateway()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            paper.keys.append(self.headers["Authorization"])
            _send_json(self, 200, {"data": [{"id": "demo"}]})

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            with paper.lock:
                paper.asked.append(body)
                paper.open_now += 1
                paper.most_at_once = max(paper.most_at_once, paper.open_now)
            if paper.status == 200:
                _send_events(self, paper.script(body))
            else:
                _send_json(self, paper.status, {"error": {"message": paper.message}})
            with paper.lock:
                paper.open_now -= 1

        def log_message(self, *args: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        paper.url = f"http://127.0.0.1:{server.server_port}"
        thread = Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield paper
        server.shutdown()
        thread.join()


def _send_json(request: BaseHTTPRequestHandler, status: int, body: object) -> None:
    content = json.dumps(body).encode()
    request.send_response(status)
    request.send_header("Content-Length", str(len(content)))
    request.end_headers()
    request.wfile.write(content)


def _send_events(request: BaseHTTPRequestHandler, events: list[object]) -> None:
    request.send_response(200)
    request.send_header("Content-Type", "text/event-stream")
    request.end_headers()
    request.wfile.write(b": ping\n\n")
    for event in [*(json.dumps(event) for event in events), "[DONE]"]:
        request.wfile.write(f"data: {event}\n\n".encode())
        request.wfile.flush()
