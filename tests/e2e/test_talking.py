"""What a newcomer hears: examples/demo.yaml as it stands, asked with the official SDK."""

import base64
import io
import wave
from collections.abc import AsyncIterator, Iterator
from typing import Any

import numpy as np
import pytest
from openai import AsyncOpenAI
from PIL import Image

from demo.conversations.scenes import Picture
from demo.media.pictures import draw_picture
from tests.e2e.replies import BYTES_PER_S, SPOKEN, hear
from tests.e2e.served import EXAMPLES, Served, serve


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with serve(EXAMPLES / "demo.yaml", tmp_path_factory.mktemp("demo") / "run") as served:
        yield served


@pytest.fixture
async def sdk(demo: Served) -> AsyncIterator[AsyncOpenAI]:
    async with AsyncOpenAI(base_url=demo.url, api_key="none", max_retries=0) as opened:
        yield opened


def green_circle() -> dict[str, Any]:
    file = io.BytesIO()
    Image.fromarray(draw_picture(Picture(color="green", shape="circle", count=1, seed=3))).save(file, "PNG")
    url = f"data:image/png;base64,{base64.b64encode(file.getvalue()).decode()}"
    return {"type": "image_url", "image_url": {"url": url}}


def three_beeps() -> dict[str, Any]:
    time = np.arange(int(0.15 * 16_000)) / 16_000
    silence = np.zeros(int(0.2 * 16_000))
    beep = 0.5 * np.sin(2 * np.pi * 880 * time) * np.minimum(1, np.minimum(time, 0.15 - time) / 0.008)
    sound = np.concatenate([silence, *3 * (beep, silence)])
    file = io.BytesIO()
    with wave.open(file, "wb") as writer:
        writer.setparams((1, 2, 16_000, 0, "NONE", ""))
        writer.writeframes((sound * 32_767).astype("<i2").tobytes())
    data = base64.b64encode(file.getvalue()).decode()
    return {"type": "input_audio", "input_audio": {"data": data, "format": "wav"}}


@pytest.mark.parametrize(
    ("content", "answer"),
    [
        ("What is three plus four?", "Three plus four is seven."),
        ("Repeat after me: the small cat sleeps", "The small cat sleeps."),
        ("Write a poem about the moon", "I am only a small demo, so I cannot write that."),
        ([green_circle(), {"type": "text", "text": "What do you see?"}], "I see a green circle."),
        ([three_beeps(), {"type": "text", "text": "What do you hear?"}], "I hear three beeps."),
    ],
    ids=["a sum", "repeating", "what it did not learn", "a picture", "a sound"],
)
@pytest.mark.parametrize("voice", ["Chelsie", "Ethan"])
async def test_it_says_what_it_was_asked(
    demo: Served, sdk: AsyncOpenAI, content: Any, answer: str, voice: str
) -> None:
    """The right words, in speech of a length that fits them, ended by itself."""
    spoken = {**SPOKEN, "audio": {"voice": voice, "format": "pcm16"}}
    messages = [{"role": "user", "content": content}]
    reply = await hear(sdk, {"model": demo.model, "messages": messages} | spoken)
    assert (reply.text, reply.finish_reason) == (answer, "stop")
    assert 0.04 < len(reply.pcm) / BYTES_PER_S / len(answer) < 0.12
