"""Replicas that are lost in the middle of a turn: the listener hears the same reply, or a typed error."""

import asyncio
import base64
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest
from tercet_gateway.settings import Deployment, Endpoints, Limits, Settings, Timeouts
from tercet_wire.messages import TokenLogprob
from tercet_wire.names import Stage, Tensor

from tests.gateway.conftest import MODEL, Gateway, build_settings, eventually, serve_gateway
from tests.gateway.fake_triton import FakeTriton, Fault, Piece, failure, pcm_of, serve_fake_triton

QUESTION: dict[str, Any] = {
    "model": MODEL,
    "messages": [{"role": "user", "content": "Hi"}],
    "stream": True,
    "stream_options": {"include_usage": True},
}
SPOKEN: dict[str, Any] = {
    **QUESTION,
    "modalities": ["text", "audio"],
    "audio": {"voice": "Ethan", "format": "pcm16"},
}
TIMEOUTS = Timeouts(connect_s=1, heartbeat_s=30, return_s=0)
MESSAGES = 4
"""Of each stage of the fake, before its final response."""


@dataclass
class Reply:
    """What the client was told, without the names of this one completion."""

    text: str = ""
    pcm: bytes = b""
    logprobs: list[str] = field(default_factory=list)
    ends: list[object] = field(default_factory=list)
    error: dict[str, Any] | None = None

    def take(self, event: str) -> None:
        if event == "[DONE]":
            self.ends.append(event)
            return
        chunk = json.loads(event)
        self.error = chunk.get("error")
        for choice in chunk.get("choices", ()):
            audio = choice["delta"].get("audio") or {}
            self.text += choice["delta"].get("content") or audio.get("transcript") or ""
            self.pcm += base64.b64decode(audio.get("data") or "")
            self.logprobs += [each["token"] for each in (choice.get("logprobs") or {}).get("content", ())]
            self.ends += [choice["finish_reason"]] if choice["finish_reason"] else []
        self.ends += [chunk["usage"]] if chunk.get("usage") else []


async def hear(
    gateway: Gateway,
    body: dict[str, Any] = SPOKEN,
    *,
    begun: asyncio.Event | None = None,
    at_sound: Callable[[], Awaitable[None]] | None = None,
) -> Reply:
    """`begun` is set by the first thing that is heard."""
    reply = Reply()
    async with gateway.http.stream("POST", "/v1/chat/completions", json=body) as response:
        assert response.status_code == 200
        async for line in response.aiter_lines():
            if line.startswith("data: "):
                reply.take(line.removeprefix("data: "))
                if begun is not None:
                    begun.set()
            if reply.pcm and at_sound is not None:
                await at_sound()
                at_sound = None
    return reply


def cut_otherwise(fake: FakeTriton) -> None:
    """The same reply in other messages."""
    tokens = [TokenLogprob(token=token, bytes=(), logprob=-1.0) for token in ("Hel", "lo", " you")]
    fake.pieces = [
        Piece(text="He", prompt_rows=3, rows=3, logprobs=(tokens[0],)),
        Piece(text="llo y", rows=2, logprobs=(tokens[1], tokens[2])),
        Piece(text="ou", rows=1),
    ]
    fake.batches = [[1], [2, 3, 4], [5, 6]]


def with_logprobs(fake: FakeTriton) -> None:
    fake.pieces = [
        Piece(
            text=piece.text,
            rows=piece.rows,
            prompt_rows=piece.prompt_rows,
            logprobs=(TokenLogprob(token=piece.text, bytes=(), logprob=-1.0),),
        )
        for piece in fake.pieces
    ]


@asynccontextmanager
async def serve_replicas(count: int) -> AsyncIterator[list[FakeTriton]]:
    async with AsyncExitStack() as stack:
        yield [await stack.enter_async_context(serve_fake_triton()) for _ in range(count)]


def spread(stage: Stage, replicas: list[FakeTriton], others: FakeTriton) -> Settings:
    """Several replicas of one stage; the other stages are elsewhere."""
    addresses = {
        each.value: tuple(fake.endpoint for fake in replicas) if each is stage else (others.endpoint,)
        for each in Stage
    }
    deployment = Deployment(model=MODEL, endpoints=Endpoints(**addresses))
    return Settings(deployments=(deployment,), timeouts=TIMEOUTS)


def count_replays(gateway: Gateway, stage: Stage, outcome: str) -> float:
    return gateway.count("replays_total", model=MODEL, stage=stage.value, outcome=outcome)


WHOLE = Reply(text="Hello you", pcm=pcm_of([1, 2, 3, 4, 5, 6]))


@pytest.mark.parametrize("after", range(MESSAGES + 1))
@pytest.mark.parametrize("stage", list(Stage))
async def test_death_of_a_replica_is_not_heard(triton: FakeTriton, stage: Stage, after: int) -> None:
    """After each message of each stage, also between the last one and the end of its stream."""
    with_logprobs(triton)
    async with serve_replicas(2) as replicas, serve_gateway(spread(stage, replicas, triton)) as gateway:
        with_logprobs(replicas[0])
        cut_otherwise(replicas[1])
        body = {**SPOKEN, "logprobs": True}
        replicas[0].faults[stage] = Fault(after=after, dies=True)
        reply = await hear(gateway, body)
        undisturbed = await hear(gateway, body)
    assert (reply.text, reply.pcm, reply.error) == (WHOLE.text, WHOLE.pcm, None)
    assert reply.logprobs == ["Hel", "lo", " you"]
    assert reply == undisturbed
    assert len(replicas[0].calls) == 1
    assert count_replays(gateway, stage, "resumed") == (after < MESSAGES)


@pytest.mark.parametrize("after", range(MESSAGES + 1))
async def test_death_of_a_replica_is_not_read(triton: FakeTriton, after: int) -> None:
    """A turn of text: the same words, once."""
    async with serve_replicas(2) as replicas:
        settings = spread(Stage.THINKER, replicas, triton)
        async with serve_gateway(settings) as gateway:
            cut_otherwise(replicas[1])
            replicas[0].faults[Stage.THINKER] = Fault(after=after, dies=True)
            reply = await hear(gateway, QUESTION)
    assert (reply.text, reply.error) == (WHOLE.text, None)
    assert reply.ends[-1] == "[DONE]"


@pytest.mark.parametrize("after", range(MESSAGES + 1))
@pytest.mark.parametrize("stage", list(Stage))
async def test_server_of_all_stages_dies(stage: Stage, after: int) -> None:
    """All streams of the turn at once, at any moment."""
    async with serve_replicas(2) as (first, second):
        settings = build_settings(first.endpoint, second.endpoint, timeouts=TIMEOUTS)
        cut_otherwise(second)
        first.faults[stage] = Fault(after=after, dies=True)
        async with serve_gateway(settings) as gateway:
            reply = await hear(gateway)
    assert (reply.text, reply.pcm, reply.error) == (WHOLE.text, WHOLE.pcm, None)


@pytest.mark.parametrize("stage", list(Stage))
@pytest.mark.parametrize("words", [failure("cancelled", "the stage is shutting down"), "Server is stopping."])
async def test_replica_that_goes_says_so(triton: FakeTriton, stage: Stage, words: str) -> None:
    """In its own words or in Triton's, in the middle of the turn."""
    async with serve_replicas(2) as replicas, serve_gateway(spread(stage, replicas, triton)) as gateway:
        replicas[0].faults[stage] = Fault(after=2, text=words)
        reply = await hear(gateway)
    assert (reply.text, reply.pcm, reply.error) == (WHOLE.text, WHOLE.pcm, None)


async def test_only_server_comes_back() -> None:
    """The turn waits for it, and all its stages are done again there."""
    returned = asyncio.Event()
    async with serve_fake_triton() as first:
        first.faults = {stage: Fault(after=2) for stage in Stage}
        settings = build_settings(first.endpoint, timeouts=Timeouts(connect_s=1, return_s=30))
        async with serve_gateway(settings) as gateway, AsyncExitStack() as stack:

            async def restart() -> None:
                await first.stop()
                await eventually(lambda: gateway.count("in_flight_requests") == 1)
                second = await stack.enter_async_context(serve_fake_triton(first.endpoint))
                cut_otherwise(second)
                returned.set()

            reply = await hear(gateway, at_sound=restart)
    assert returned.is_set()
    assert (reply.text, reply.pcm, reply.error) == (WHOLE.text, WHOLE.pcm, None)


async def test_replica_is_given_the_same_again(triton: FakeTriton) -> None:
    """Every request as it was, but for the session's name: the seed too, though the caller gave none."""
    async with (
        serve_replicas(2) as replicas,
        serve_gateway(spread(Stage.TALKER, replicas, triton)) as gateway,
    ):
        replicas[0].faults[Stage.TALKER] = Fault(after=3, dies=True)
        await hear(gateway)
    lost, found = (replica.call(Stage.TALKER) for replica in replicas)
    assert lost.turn() == found.turn()
    for name in (Tensor.STATES, Tensor.POSITIONS):
        assert found.inputs(name)[: len(lost.inputs(name))] == lost.inputs(name)
    assert not {*lost.inputs(Tensor.SESSION)} & {*found.inputs(Tensor.SESSION)}
    assert len({*found.inputs(Tensor.SESSION)}) == 1


async def test_every_turn_has_a_seed_of_its_own(gateway: Gateway, triton: FakeTriton) -> None:
    """Drawn by the gateway, the same for words, speech and noise."""
    for _ in range(2):
        await hear(gateway)
    seeds = []
    for call in triton.calls:
        turn = call.turn()
        assert turn.speech is not None
        assert turn.sampling.seed == turn.speech.sampling.seed == turn.speech.noise_seed
        seeds.append(turn.sampling.seed)
    assert None not in seeds
    assert len({*seeds}) == 2


# --- what ends a turn all the same -------------------------------------------------------------


def assert_unavailable(reply: Reply) -> None:
    assert reply.error is not None
    assert reply.error["code"] == "upstream_unavailable"
    assert "[DONE]" not in reply.ends


@pytest.mark.parametrize("stage", list(Stage))
async def test_no_other_replica(triton: FakeTriton, stage: Stage) -> None:
    """A typed error, once nobody has come."""
    begun = asyncio.Event()
    async with serve_replicas(1) as replicas, serve_gateway(spread(stage, replicas, triton)) as gateway:
        replicas[0].faults[stage] = Fault(after=2, dies=True, when=begun)
        assert_unavailable(await hear(gateway, begun=begun))
        assert count_replays(gateway, stage, "no_replica") == 1


@pytest.mark.parametrize("stage", [Stage.TALKER, Stage.CODE2WAV])
async def test_stage_that_cannot_be_reached_is_waited_for(triton: FakeTriton, stage: Stage) -> None:
    """The text is on its way already; the wait is counted as any other."""
    async with serve_fake_triton() as gone:
        settings = spread(stage, [gone], triton)
    async with serve_gateway(settings) as gateway:
        assert_unavailable(await hear(gateway))
        assert count_replays(gateway, stage, "no_replica") == 1


async def test_turn_that_is_too_large_to_keep(triton: FakeTriton) -> None:
    """There is another replica, and nothing left to tell it."""
    begun = asyncio.Event()
    async with serve_replicas(2) as replicas:
        addresses = [replica.endpoint for replica in replicas]
        settings = build_settings(*addresses, limits=Limits(replay_bytes=10), timeouts=TIMEOUTS)
        async with serve_gateway(settings) as gateway:
            replicas[0].faults[Stage.THINKER] = Fault(after=2, dies=True, when=begun)
            assert_unavailable(await hear(gateway, QUESTION, begun=begun))
            assert count_replays(gateway, Stage.THINKER, "too_large") == 1
            assert gateway.count("replay_bytes") == 0


@pytest.mark.parametrize("deaths", [2, 3])
async def test_stage_may_be_lost_twice(triton: FakeTriton, deaths: int) -> None:
    """The third time the turn itself is suspected: it does not go round all replicas."""
    begun = asyncio.Event()
    async with (
        serve_replicas(4) as replicas,
        serve_gateway(spread(Stage.TALKER, replicas, triton)) as gateway,
    ):
        for replica in replicas[:deaths]:
            replica.faults[Stage.TALKER] = Fault(after=2, dies=True, when=begun)
        reply = await hear(gateway, begun=begun)
    if deaths == 2:
        assert (reply.text, reply.pcm, reply.error) == (WHOLE.text, WHOLE.pcm, None)
    else:
        assert_unavailable(reply)
        assert count_replays(gateway, Stage.TALKER, "too_often") == 1
    assert [len(replica.calls) for replica in replicas] == [1, 1, 1, 0]


@pytest.mark.parametrize("stage", [Stage.THINKER, Stage.TALKER])
async def test_replica_that_says_something_else(triton: FakeTriton, stage: Stage) -> None:
    """Half of one reply and half of another is worse than an error."""
    begun = asyncio.Event()
    async with serve_replicas(2) as replicas, serve_gateway(spread(stage, replicas, triton)) as gateway:
        replicas[0].faults[stage] = Fault(after=2, dies=True, when=begun)
        replicas[1].pieces = [Piece(text="Howdy", prompt_rows=3, rows=4)]
        replicas[1].batches = [[1, 2], [9, 9]]
        assert_unavailable(await hear(gateway, begun=begun))
        assert count_replays(gateway, stage, "diverged") == 1


@pytest.mark.parametrize("words", [failure("internal"), failure("overloaded"), failure("invalid_request")])
async def test_failure_of_the_turn_is_not_taken_elsewhere(triton: FakeTriton, words: str) -> None:
    """The replica is well; it is the turn that cannot go on."""
    begun = asyncio.Event()
    async with (
        serve_replicas(2) as replicas,
        serve_gateway(spread(Stage.TALKER, replicas, triton)) as gateway,
    ):
        replicas[0].faults[Stage.TALKER] = Fault(after=2, text=words, when=begun)
        reply = await hear(gateway, begun=begun)
    assert reply.error is not None
    assert replicas[1].calls == []


async def test_client_that_leaves_while_a_turn_waits(triton: FakeTriton) -> None:
    """Nobody waits for the replica any longer."""
    begun = asyncio.Event()
    async with serve_replicas(1) as replicas:
        patient = Timeouts(connect_s=1, heartbeat_s=30, return_s=60)
        settings = spread(Stage.CODE2WAV, replicas, triton)
        async with serve_gateway(Settings(deployments=settings.deployments, timeouts=patient)) as gateway:
            replicas[0].faults[Stage.CODE2WAV] = Fault(after=2, dies=True, when=begun)
            async with gateway.http.stream("POST", "/v1/chat/completions", json=SPOKEN) as response:
                lines = aiter(response.aiter_lines())
                while '"data"' not in await anext(lines):
                    pass
                begun.set()
                await eventually(lambda: replicas[0].death is not None)
                assert replicas[0].death is not None
                await replicas[0].death
                assert gateway.count("in_flight_requests") == 1
            await eventually(lambda: gateway.count("in_flight_requests") == 0)
            assert gateway.count("replay_bytes") == 0
