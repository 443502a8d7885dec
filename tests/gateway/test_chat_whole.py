"""Replies in one piece."""

import asyncio
import base64
import gc
import io
import struct
from typing import Any

import av
import pytest
from tercet_gateway.schemas.chat import ChatRequest
from tercet_wire.messages import TokenLogprob, TopLogprob
from tercet_wire.names import Stage, Tensor

from tests.gateway.conftest import MODEL, Gateway
from tests.gateway.fake_triton import FakeTriton, Fault, Piece, pcm_of

QUESTION: dict[str, Any] = {"model": MODEL, "messages": [{"role": "user", "content": "Hi"}]}


def spoken(audio_format: str) -> dict[str, Any]:
    audio = {"voice": "Chelsie", "format": audio_format}
    return {**QUESTION, "modalities": ["text", "audio"], "audio": audio}


async def test_text_reply(gateway: Gateway) -> None:
    """Content, reason and usage are where the SDK looks for them."""
    reply = await gateway.sdk.chat.completions.create(**QUESTION)
    assert reply.object == "chat.completion"
    assert reply.choices[0].message.content == "Hello you"
    assert reply.choices[0].message.audio is None
    assert reply.choices[0].finish_reason == "stop"
    assert reply.usage is not None
    assert (reply.usage.prompt_tokens, reply.usage.completion_tokens, reply.usage.total_tokens) == (10, 3, 13)


async def test_length_is_told(gateway: Gateway, triton: FakeTriton) -> None:
    """A reply cut by max_tokens says so."""
    triton.finish_reason = "length"
    reply = await gateway.sdk.chat.completions.create(**QUESTION, max_completion_tokens=3)
    assert reply.choices[0].finish_reason == "length"
    assert triton.calls[0].turn().sampling.max_tokens == 3


async def test_spoken_reply_holds_the_exact_sound(gateway: Gateway) -> None:
    """pcm16 is the stage's PCM; content is null and the words are the transcript."""
    reply = await gateway.sdk.chat.completions.create(**spoken("pcm16"))
    message = reply.choices[0].message
    assert message.content is None
    assert message.audio is not None
    assert message.audio.transcript == "Hello you"
    assert base64.b64decode(message.audio.data) == pcm_of([1, 2, 3, 4, 5, 6])
    assert message.audio.expires_at > reply.created


@pytest.mark.parametrize(
    ("fields", "voice"),
    [
        ({}, "Chelsie"),
        ({"speaker": "Ethan"}, "Ethan"),
        ({"audio": {"voice": {"id": "Ethan"}, "format": "wav"}}, "Ethan"),
        ({"audio": {"voice": "Ethan", "format": "wav"}, "speaker": "Ethan"}, "Ethan"),
    ],
)
async def test_voice_is_named_in_three_ways_or_not_at_all(
    gateway: Gateway, triton: FakeTriton, fields: dict[str, Any], voice: str
) -> None:
    """OpenAI's two spellings, that of other servers of this model, else the deployment's own voice."""
    body = {**QUESTION, "modalities": ["text", "audio"], "audio": {"format": "wav"}, **fields}
    response = await gateway.http.post("/v1/chat/completions", json=body)
    assert response.status_code == 200, response.text
    speech = triton.calls[0].turn().speech
    assert speech is not None
    assert speech.voice == voice


async def test_spoken_reply_counts_codes_as_audio_tokens(gateway: Gateway) -> None:
    """Completion tokens are the text's and the codes'."""
    reply = await gateway.sdk.chat.completions.create(**spoken("pcm16"))
    assert reply.usage is not None
    assert reply.usage.completion_tokens_details is not None
    assert reply.usage.prompt_tokens_details is not None
    assert reply.usage.completion_tokens_details.audio_tokens == 6
    assert reply.usage.prompt_tokens_details.audio_tokens == 4
    assert reply.usage.completion_tokens == 3 + 6


@pytest.mark.parametrize("audio_format", ["wav", "mp3", "flac", "opus", "aac"])
async def test_sound_file_in_every_format(gateway: Gateway, triton: FakeTriton, audio_format: str) -> None:
    """A decoder finds about as much sound as code2wav made."""
    triton.batches = [[100] * 25, [200] * 25]
    reply = await gateway.sdk.chat.completions.create(**spoken(audio_format))
    assert reply.choices[0].message.audio is not None
    file = io.BytesIO(base64.b64decode(reply.choices[0].message.audio.data))
    with av.open(file) as container:
        seconds = sum(frame.samples / frame.sample_rate for frame in container.decode(audio=0))
    assert 0.95 < seconds < 1.2


async def test_logprobs(gateway: Gateway, triton: FakeTriton) -> None:
    """They come as the API spells them, and the thinker is asked for as many."""
    other = TopLogprob(token="Ha", bytes=(72, 97), logprob=-2.0)
    token = TokenLogprob(token="Hi", bytes=(72, 105), logprob=-0.1, top=(other,))
    triton.pieces = [Piece(text="Hi", logprobs=(token,))]
    reply = await gateway.sdk.chat.completions.create(**QUESTION, logprobs=True, top_logprobs=1)
    assert reply.choices[0].logprobs is not None
    assert reply.choices[0].logprobs.content is not None
    (read,) = reply.choices[0].logprobs.content
    assert (read.token, read.logprob, read.bytes) == ("Hi", -0.1, [72, 105])
    assert read.top_logprobs[0].token == "Ha"
    assert triton.calls[0].turn().sampling.top_logprobs == 1


async def test_sampling_reaches_the_thinker(gateway: Gateway, triton: FakeTriton) -> None:
    """Each field of the request arrives in the words of the stages; the seed seeds all three."""
    await gateway.sdk.chat.completions.create(
        **spoken("pcm16"),
        temperature=0.5,
        top_p=0.9,
        seed=7,
        stop=["END"],
        presence_penalty=0.1,
        frequency_penalty=0.2,
        logit_bias={"12": 3},
        max_tokens=9,
        extra_body={"top_k": 5, "repetition_penalty": 1.1},
    )
    turn = triton.calls[0].turn()
    sampling = turn.sampling
    assert (sampling.temperature, sampling.top_p, sampling.top_k, sampling.seed) == (0.5, 0.9, 5, 7)
    assert (sampling.stop, sampling.max_tokens, sampling.logit_bias) == (("END",), 9, {12: 3})
    assert sampling.repetition_penalty == 1.1
    assert (sampling.presence_penalty, sampling.frequency_penalty) == (0.1, 0.2)
    assert turn.speech is not None
    assert (turn.speech.sampling.seed, turn.speech.noise_seed) == (7, 7)


async def test_earlier_spoken_reply_is_known_by_its_id(gateway: Gateway, triton: FakeTriton) -> None:
    """The next request may name the audio in place of its words."""
    reply = await gateway.sdk.chat.completions.create(**spoken("pcm16"))
    assert reply.choices[0].message.audio is not None
    earlier = {"role": "assistant", "audio": {"id": reply.choices[0].message.audio.id}}
    body = {**QUESTION, "messages": [*QUESTION["messages"], earlier, {"role": "user", "content": "And?"}]}
    triton.calls.clear()
    response = await gateway.http.post("/v1/chat/completions", json=body)
    assert response.status_code == 200
    said = triton.calls[0].turn().messages[-2]
    assert said.model_dump()["content"] == ({"type": "text", "text": "Hello you"},)


def find_requests() -> list[ChatRequest]:
    return [each for each in gc.get_objects() if type(each) is ChatRequest]


async def test_media_are_let_go_once_the_thinker_has_them(gateway: Gateway, triton: FakeTriton) -> None:
    """A turn goes on for minutes, and a request may weigh as much as a video."""
    triton.faults[Stage.THINKER] = Fault(after=1)
    text = "word " * 100_000
    asking = asyncio.create_task(
        gateway.sdk.chat.completions.create(**{**QUESTION, "messages": [{"role": "user", "content": text}]})
    )
    await triton.wait_for(Stage.THINKER)
    assert not find_requests()
    asking.cancel()


async def test_media_that_are_refused_are_let_go_at_once(gateway: Gateway) -> None:
    """Not when the collector next looks for circles: it counts objects, and these are few and large."""
    image = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}
    gc.collect()
    gc.disable()
    try:
        response = await gateway.http.post(
            "/v1/chat/completions", json={**QUESTION, "messages": [{"role": "user", "content": [image]}]}
        )
        assert response.status_code == 400
        assert not find_requests()
    finally:
        gc.enable()


async def test_sound_of_the_caller_reaches_the_thinker(gateway: Gateway, triton: FakeTriton) -> None:
    """A wav part becomes 16 kHz samples beside the turn."""
    pcm = struct.pack("<h", 1000) * 16_000
    wav = (
        struct.pack(
            "<4sI8sIHHIIHH4sI",
            b"RIFF",
            36 + len(pcm),
            b"WAVEfmt ",
            16,
            1,
            1,
            16_000,
            32_000,
            2,
            16,
            b"data",
            len(pcm),
        )
        + pcm
    )
    part = {"type": "input_audio", "input_audio": {"data": base64.b64encode(wav).decode(), "format": "wav"}}
    body = {**QUESTION, "messages": [{"role": "user", "content": [part]}]}
    response = await gateway.http.post("/v1/chat/completions", json=body)
    assert response.status_code == 200, response.text
    (samples,) = triton.calls[0].inputs(Tensor.SAMPLES)
    assert len(samples) == 16_000 * 4
    assert gateway.count("audio_input_seconds_total", model=MODEL) == 1
