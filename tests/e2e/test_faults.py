"""Requests that are wrong: each is refused in OpenAI's words, and the next turn is served."""

import base64
import json
from typing import Any

import httpx
import pytest

from tests.e2e.replies import SPOKEN, ask_about
from tests.e2e.served import Served
from tests.gateway.media_samples import bomb_png, data_url, picture, tone, video, wav

THREE_HOURS_BYTES = 3 * 3600 * 16_000 * 2
KEYS = {"message", "type", "param", "code"}
ANSWER_S = 60


def image(data: bytes) -> dict[str, Any]:
    return ask_about({"type": "image_url", "image_url": {"url": data_url(data, "image/png")}})


def sound(data: bytes) -> dict[str, Any]:
    audio = {"data": base64.b64encode(data).decode(), "format": "wav"}
    return ask_about({"type": "input_audio", "input_audio": audio})


def clip(data: bytes) -> dict[str, Any]:
    return ask_about({"type": "video_url", "video_url": {"url": data_url(data, "video/mp4")}})


def encode(body: dict[str, Any]) -> bytes:
    return json.dumps(body).encode()


VOICE = {"voice": "Chelsie", "format": "pcm16"}
FAULTS: dict[str, tuple[bytes, int]] = {
    "corrupt picture": (encode(image(picture()[:60])), 400),
    "not a picture": (encode(image(b"no picture at all")), 400),
    "bomb of a picture": (encode(image(bomb_png())), 413),
    "sound that lies about its length": (
        encode(sound(wav(tone(0.0, 16_000), 16_000, claimed_bytes=THREE_HOURS_BYTES) + b"0123456789")),
        400,
    ),
    "video without the sound asked for": (encode(clip(video(1.0)) | {"use_audio_in_video": True}), 400),
    "ten megabytes of words": (encode(ask_about(text="word " * 2_000_000)), 400),
    "ten megabytes of brackets": (b'{"model": "demo", "messages": ' + b"[" * 10_000_000, 413),
    "ten megabytes of one unknown field": (encode(ask_about() | {"padding": "x" * 10_000_000}), 400),
    "not UTF-8": (encode(ask_about(text="caf.")).replace(b"caf.", b"caf\xe9"), 400),
    "half a character": (encode(ask_about(text="\ud800")), 400),
    "not JSON": (b"model=demo", 400),
    "two choices": (encode(ask_about() | {"n": 2}), 400),
    "a voice and no speech": (encode(ask_about() | {"audio": VOICE}), 400),
    "speech and no voice": (encode(ask_about() | {"modalities": ["text", "audio"]}), 400),
    "unknown voice": (encode(ask_about() | SPOKEN | {"audio": VOICE | {"voice": "Nobody"}}), 400),
    "unknown model": (encode(ask_about() | {"model": "gpt-0"}), 404),
    "more words than fit": (encode(ask_about(text="word " * 8_000)), 400),
}


@pytest.mark.parametrize(("body", "status"), FAULTS.values(), ids=FAULTS.keys())
async def test_a_fault_is_named_and_the_next_turn_is_served(
    colocated: Served, body: bytes, status: int
) -> None:
    """A 4xx with all four keys, so that the SDK raises what it says."""
    async with httpx.AsyncClient(base_url=colocated.url, timeout=ANSWER_S) as http:
        refused = await http.post("/chat/completions", content=body)
        assert refused.status_code == status, refused.text[:500]
        error = refused.json()["error"]
        assert error.keys() == KEYS
        assert error["type"] == "invalid_request_error"
        assert error["message"]
        served = await http.post("/chat/completions", json=ask_about())
        assert served.status_code == 200, served.text


async def test_words_that_do_not_fit_have_a_code_of_their_own(colocated: Served) -> None:
    """Callers cut their history by it."""
    async with httpx.AsyncClient(base_url=colocated.url, timeout=ANSWER_S) as http:
        refused = await http.post("/chat/completions", json=ask_about(text="word " * 8_000))
    assert refused.json()["error"]["code"] == "context_length_exceeded"
