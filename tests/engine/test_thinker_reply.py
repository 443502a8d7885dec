"""One turn of the thinker on its own: what it does on the loop's thread and what elsewhere."""

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from queue import Queue

import pytest
import torch
from tercet_engine.checkpoint import Checkpoint
from tercet_engine.decoder.reply import Outlet
from tercet_engine.decoder.sampling import Choice
from tercet_engine.encoders import Encoders, Prompt
from tercet_engine.prefix import StateStore
from tercet_engine.prompts import Prepared, Prompter
from tercet_engine.reply_text import TokenBytes
from tercet_engine.stage import ThinkerOutput
from tercet_engine.thinker_reply import ThinkerFacts, ThinkerReply
from tercet_wire.messages import Load
from tercet_wire.settings import WindowSettings

from tests.engine.listeners import WAIT_S, Listener
from tests.engine.reference import CASES, Case

CASE = {case.name: case for case in CASES}
CPU = torch.device("cpu")

Actions = Queue[Callable[[], None]]
Embed = Callable[[Prepared, int], Prompt]


@pytest.fixture
def media_thread() -> Iterator[Executor]:
    with ThreadPoolExecutor(1) as thread:
        yield thread


def reply_to(
    case: Case, checkpoint: Checkpoint, embed: Embed, thread: Executor, actions: Actions
) -> ThinkerReply:
    """Its prompt is prepared; what it wants done on the loop's thread comes into `actions`."""
    prompter = Prompter(checkpoint)
    facts = ThinkerFacts(
        context=1000,
        flush_s=0.0,
        window=WindowSettings(),
        end_tokens=checkpoint.end_tokens,
        tokens=TokenBytes(prompter.tokenizer),
        embed=embed,
        media_thread=thread,
        device=CPU,
        no_states=torch.empty(0, 0),
        block_tokens=16,
        states=StateStore(most=8),
    )
    sink: Listener[ThinkerOutput] = Listener()
    outlet = Outlet(sink=sink, arrived_s=0.0, clock=lambda: 0.0, load=Load, later=actions.put)
    reply = ThinkerReply(facts, case.turn(), outlet, choice=Choice(), most_tokens=10)
    job: Future[Prepared] = Future()
    job.set_result(prompter.prepare(case.turn(), case.pixels(), case.samples()))
    reply.await_prompt(job)
    actions.get_nowait()()
    return reply


def embedder(checkpoint: Checkpoint) -> Embed:
    encoders = Encoders(checkpoint, CPU, torch.float32)
    table = checkpoint.load("thinker.model.embed_tokens.")["weight"]
    return lambda prepared, start: encoders.embed(prepared, lambda ids: table[ids], start)


def test_media_are_encoded_while_the_loop_goes_on(checkpoint: Checkpoint, media_thread: Executor) -> None:
    """The turn has its place and no rows yet; they are there when the encoders are done."""
    gate, actions, embed = threading.Event(), Actions(), embedder(checkpoint)

    def embed_late(prepared: Prepared, start: int) -> Prompt:
        assert gate.wait(WAIT_S)
        return embed(prepared, start)

    reply = reply_to(CASE["a picture"], checkpoint, embed_late, media_thread, actions)
    reply.begin(0)
    assert reply.ready() == 0
    gate.set()
    actions.get(timeout=WAIT_S)()
    assert len(reply.prompt_inputs(reply.ready())[0]) == reply.ready() > 1


def test_a_turn_that_ends_while_its_media_are_encoded_takes_nothing(
    checkpoint: Checkpoint, media_thread: Executor
) -> None:
    """What comes too late is dropped, and with it its memory."""
    gate, actions = threading.Event(), Actions()

    def fail_late(_: Prepared, __: int) -> Prompt:
        assert gate.wait(WAIT_S)
        raise RuntimeError("nobody hears this")

    reply = reply_to(CASE["a sound"], checkpoint, fail_late, media_thread, actions)
    reply.begin(0)
    reply.close()
    gate.set()
    actions.get(timeout=WAIT_S)()
    assert reply.ready() == 0


def test_a_prompt_of_text_waits_for_no_thread(checkpoint: Checkpoint, media_thread: Executor) -> None:
    """Its first rows are there at once."""
    actions = Actions()
    reply = reply_to(CASE["a question"], checkpoint, embedder(checkpoint), media_thread, actions)
    reply.begin(0)
    assert reply.ready() > 1
    assert actions.empty()
