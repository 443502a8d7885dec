"""`first_sound.py SERVICE PORT MODEL TIMEOUT_S`: one spoken turn through the gateway, as `helm test` runs it.

Prints when the first text and the first sound came, and how much sound there was; fails without sound.
Standard library only. The Service's address comes from the variable that Kubernetes sets, else from DNS.
"""

import base64
import json
import os
import sys
import time
from collections.abc import Iterator
from http.client import HTTPConnection, HTTPResponse
from typing import Any

BYTES_PER_S = 2 * 24_000


def find_address(service: str) -> str:
    return os.environ.get(f"{service.upper().replace('-', '_')}_SERVICE_HOST", service)


def ask(connection: HTTPConnection, model: str) -> HTTPResponse:
    request = {
        "model": model,
        "messages": [{"role": "user", "content": "Say hello."}],
        "modalities": ["text", "audio"],
        "audio": {"format": "pcm16"},
        "max_completion_tokens": 32,
        "stream": True,
    }
    connection.request(
        "POST", "/v1/chat/completions", json.dumps(request), {"Content-Type": "application/json"}
    )
    response = connection.getresponse()
    if response.status != 200:
        sys.exit(f"the gateway answered {response.status}: {response.read().decode(errors='replace')}")
    return response


def iter_deltas(response: HTTPResponse) -> Iterator[dict[str, Any]]:
    """What each event of the stream adds; an error in it ends the test."""
    for line in response:
        data = line.decode().strip().removeprefix("data: ")
        if not data.startswith("{"):
            continue  # a blank line, a comment, [DONE]
        event = json.loads(data)
        if "error" in event:
            sys.exit(f"the turn failed: {event['error']}")
        yield from (choice["delta"] for choice in event["choices"])


def main() -> None:
    service, port, model, timeout_s = sys.argv[1:]
    connection = HTTPConnection(find_address(service), int(port), timeout=float(timeout_s))
    began = time.monotonic()
    first_text_s = first_sound_s = None
    sound_bytes = 0
    for delta in iter_deltas(ask(connection, model)):
        elapsed_s = time.monotonic() - began
        audio = delta.get("audio") or {}
        if audio.get("transcript") and first_text_s is None:
            first_text_s = elapsed_s
        if audio.get("data"):
            first_sound_s = elapsed_s if first_sound_s is None else first_sound_s
            sound_bytes += len(base64.b64decode(audio["data"]))
    if first_sound_s is None:
        sys.exit(f"{model} answered without a sound")
    sys.stdout.write(
        f"first text after {(first_text_s or first_sound_s) * 1000:.0f} ms, "
        f"first sound after {first_sound_s * 1000:.0f} ms, "
        f"{sound_bytes / BYTES_PER_S:.2f} s of speech in {time.monotonic() - began:.2f} s\n"
    )


if __name__ == "__main__":
    main()
