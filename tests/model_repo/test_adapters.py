"""The adapters over a fake stage: what Triton is told, and how often."""

import threading
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from tercet_engine.stage import Code2WavOutput, StageError, TalkerOutput, ThinkerOutput
from tercet_host.watchdog import Watchdog
from tercet_wire.messages import ChatMessage, Speech, StageEvent, StageFailure, TextPart, Turn
from tercet_wire.names import Stage

HELLO = ChatMessage(role="user", content=(TextPart(text="hello"),))
SPOKEN = Turn(messages=(HELLO,), speech=Speech(voice="Chelsie"))
SILENT = Turn(messages=(HELLO,))

Loader = Callable[..., Any]


def thinker_output(text: str = "hi", dtype: torch.dtype = torch.float32) -> ThinkerOutput:
    return ThinkerOutput(
        text=text,
        tokens=(7, 8),
        states=torch.arange(12, dtype=dtype).reshape(3, 4),
        positions=torch.zeros(3, 2, dtype=torch.int64),
        last=False,
        event=StageEvent(),
    )


EMPTY = ThinkerOutput(
    text="", tokens=(), states=torch.empty(0), positions=torch.empty(3, 0), last=True, event=StageEvent()
)
OUTPUTS: dict[Stage, Any] = {
    Stage.THINKER: thinker_output(),
    Stage.TALKER: TalkerOutput(codes=(1, 2), last=False, event=StageEvent()),
    Stage.CODE2WAV: Code2WavOutput(pcm=np.arange(4, dtype=np.int16), last=False, event=StageEvent()),
}
TENSORS = {
    Stage.THINKER: {"SESSION", "TURN", "TEXT", "TOKENS", "STATES", "POSITIONS", "LAST", "EVENT"},
    Stage.TALKER: {"SESSION", "TURN", "TEXT", "CODES", "LAST", "EVENT"},
    Stage.CODE2WAV: {"TEXT", "PCM", "LAST", "EVENT"},
}


def failure_of(response: Any) -> StageFailure:
    return StageFailure.model_validate_json(response.error.text)


@pytest.mark.parametrize("stage", Stage)
def test_a_turn_is_answered_through_its_first_request(load: Loader, stage: Stage) -> None:
    """Every response has every output tensor, and the final flag comes once, after them."""
    loaded = load(stage)
    sender = loaded.ask(SESSION="a", TURN=SPOKEN.model_dump_json())
    sink = loaded.engine.sinks["a"]
    sink.send(OUTPUTS[stage])
    sink.send(OUTPUTS[stage])
    sink.close()
    sink.close(StageFailure(type="internal", message="too late"))
    responses = sender.wait()
    loaded.model.finalize()
    assert [{tensor.name for tensor in response.output_tensors} for response in responses] == [
        TENSORS[stage]
    ] * 2
    assert sender.finals == 1


@pytest.mark.parametrize("stage", Stage)
def test_a_failed_turn_says_why_and_ends_once(load: Loader, stage: Stage) -> None:
    """The error's text is the StageFailure, so that its type survives the wire."""
    loaded = load(stage)
    sender = loaded.ask(SESSION="a", TURN=SPOKEN.model_dump_json())
    failure = StageFailure(type="overloaded", message="full")
    loaded.engine.sinks["a"].close(failure)
    (response,) = sender.wait()
    loaded.model.finalize()
    assert failure_of(response) == failure
    assert sender.finals == 1


@pytest.mark.parametrize("stage", Stage)
def test_a_cancel_request_cancels_the_session_and_ends_itself(load: Loader, stage: Stage) -> None:
    """The turn's own sender is closed by the stage, not by the request that cancels."""
    loaded = load(stage)
    turn = loaded.ask(SESSION="a", TURN=SPOKEN.model_dump_json())
    cancel = loaded.ask(SESSION="a", CANCEL=True)
    assert cancel.wait() == []
    assert loaded.engine.cancelled == ["a"]
    assert turn.finals == 0


def test_a_client_that_left_is_seen_by_the_stage(load: Loader) -> None:
    """The sink passes on what Triton says of the request."""
    loaded = load(Stage.THINKER)
    sender = loaded.ask(SESSION="a", TURN=SPOKEN.model_dump_json())
    sender.cancelled = True
    assert loaded.engine.sinks["a"].is_cancelled()


def test_an_answer_that_cannot_be_sent_fails_its_turn(load: Loader) -> None:
    """The stage sees the turn as cancelled, and the client is told once."""
    loaded = load(Stage.THINKER)
    sender = loaded.ask(SESSION="a", TURN=SPOKEN.model_dump_json())
    sender.broken = True
    sink = loaded.engine.sinks["a"]
    sink.send(thinker_output())
    sink.close(StageFailure(type="cancelled", message="gone"))
    assert failure_of(sender.wait()[0]).type == "internal"
    assert sink.is_cancelled()


def test_a_failure_that_cannot_be_sent_still_ends_the_request(load: Loader) -> None:
    """The flag alone needs no memory that is shared with the server."""
    loaded = load(Stage.THINKER)
    sender = loaded.ask(SESSION="a", TURN=SPOKEN.model_dump_json())
    sender.full = True
    loaded.engine.sinks["a"].close(StageFailure(type="internal", message="why"))
    assert sender.wait() == []
    assert sender.finals == 1


@pytest.mark.parametrize(
    ("tensors", "kind"),
    [
        ({"SESSION": "", "TURN": SPOKEN.model_dump_json()}, "invalid_request"),
        ({"SESSION": "a", "TURN": "{"}, "invalid_request"),
        ({"SESSION": "a", "TURN": '{"unknown": 1}'}, "invalid_request"),
    ],
)
def test_a_request_that_cannot_be_read_is_refused(load: Loader, tensors: dict[str, str], kind: str) -> None:
    """Nothing leaves `execute`, and nothing reaches the stage."""
    loaded = load(Stage.THINKER)
    sender = loaded.ask(**tensors)
    assert failure_of(sender.wait()[0]).type == kind
    assert sender.finals == 1
    assert loaded.engine.opened == {}


@pytest.mark.parametrize(
    ("fault", "kind"),
    [
        (StageError(StageFailure(type="context_length_exceeded", message="long")), "context_length_exceeded"),
        (RuntimeError("a bug"), "internal"),
    ],
)
def test_a_stage_that_raises_on_opening_fails_that_turn_only(
    load: Loader, fault: Exception, kind: str
) -> None:
    """The next turn is opened as if nothing had been."""
    loaded = load(Stage.THINKER)
    loaded.engine.fault = fault
    sender = loaded.ask(SESSION="a", TURN=SPOKEN.model_dump_json())
    assert failure_of(sender.wait()[0]).type == kind
    loaded.engine.fault = None
    loaded.ask(SESSION="b", TURN=SPOKEN.model_dump_json())
    assert list(loaded.engine.opened) == ["b"]


def test_the_thinker_gets_the_turn_with_its_media(load: Loader) -> None:
    """Pictures and sound arrive flat, as copies of the request's memory."""
    loaded = load(Stage.THINKER)
    pixels, samples = np.arange(12, dtype=np.uint8), np.ones(3, np.float32)
    loaded.ask(SESSION="a", TURN=SPOKEN.model_dump_json(), PIXELS=pixels, SAMPLES=samples)
    pixels[:] = 0
    first = loaded.engine.opened["a"]
    assert first.turn == SPOKEN
    assert first.pixels.tolist() == list(range(12))
    assert first.samples.tolist() == [1, 1, 1]


def test_the_turn_goes_on_once_and_without_its_messages(load: Loader) -> None:
    """A second response with a TURN would open the next stage's turn twice."""
    loaded = load(Stage.THINKER)
    sender = loaded.ask(SESSION="a", TURN=SPOKEN.model_dump_json())
    sink = loaded.engine.sinks["a"]
    sink.send(thinker_output())
    sink.send(EMPTY)
    sink.close()
    first, second = sender.wait()
    assert Turn.model_validate_json(first["TURN"][0]) == SPOKEN.model_copy(update={"messages": ()})
    assert second["TURN"][0] == b""
    assert [first["SESSION"][0], second["SESSION"][0]] == [b"a", b"a"]
    assert second["STATES"].size == 0


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
def test_states_reach_the_talker_bit_for_bit(load: Loader, dtype: str) -> None:
    """What the thinker renders, the talker reads as the same rows."""
    sent = thinker_output(dtype=getattr(torch, dtype))
    thinker = load(Stage.THINKER, dtype)
    sender = thinker.ask(SESSION="a", TURN=SPOKEN.model_dump_json())
    thinker.engine.sinks["a"].send(sent)
    thinker.engine.sinks["a"].close()
    (response,) = sender.wait()

    talker = load(Stage.TALKER, dtype)
    carried = {name: response[name] for name in ("STATES", "POSITIONS", "LAST")}
    talker.ask(SESSION="a", TURN=SPOKEN.model_dump_json(), **carried)
    received = talker.engine.opened["a"]
    assert received.states.dtype is getattr(torch, dtype)
    assert torch.equal(received.states, sent.states)
    assert torch.equal(received.positions, sent.positions.to(torch.int32))
    assert received.last is False


def test_later_requests_feed_the_turn_and_end_at_once(load: Loader) -> None:
    """Their senders carry nothing; the turn's own stays open."""
    loaded = load(Stage.CODE2WAV)
    turn = loaded.ask(SESSION="a", TURN=SPOKEN.model_dump_json())
    more = loaded.ask(SESSION="a", CODES=np.array([4, 5], np.int32), LAST=True)
    assert more.wait() == []
    ((session, fed),) = loaded.engine.fed
    assert (session, fed.codes, fed.last, fed.turn) == ("a", (4, 5), True, None)
    assert turn.finals == 0


@pytest.mark.parametrize("stage", [Stage.TALKER, Stage.CODE2WAV])
def test_text_passes_at_once_through_its_own_request(load: Loader, stage: Stage) -> None:
    """An ensemble's text does not wait for the sound, and the first of it opens the next stage."""
    loaded = load(stage)
    opening = loaded.ask(SESSION="a", TURN=SPOKEN.model_dump_json(), TEXT="Hel")
    more = loaded.ask(SESSION="a", TEXT="lo")
    (passed,) = more.wait()
    assert passed["TEXT"][0] == b"lo"
    assert opening.responses[0]["TEXT"][0] == b"Hel"
    if stage is Stage.TALKER:
        assert (bool(opening.responses[0]["TURN"][0]), bool(passed["TURN"][0])) == (True, False)


@pytest.mark.parametrize("stage", [Stage.TALKER, Stage.CODE2WAV])
def test_a_turn_without_speech_only_passes(load: Loader, stage: Stage) -> None:
    """Nothing is opened after the thinker, and the request ends at once."""
    loaded = load(stage)
    sender = loaded.ask(SESSION="a", TURN=SILENT.model_dump_json(), TEXT="Hello")
    (passed,) = sender.wait()
    assert passed["TEXT"][0] == b"Hello"
    assert loaded.engine.opened == {}


@pytest.mark.parametrize("stage", Stage)
def test_a_turn_is_counted_until_its_last_answer_is_out(load: Loader, stage: Stage) -> None:
    """Also one that the stage refuses; requests that open none are not counted."""
    loaded = load(stage)
    loaded.ask(SESSION="a", TURN=SPOKEN.model_dump_json())
    loaded.ask(SESSION="a", CANCEL=True)
    loaded.engine.fault = StageError(StageFailure(type="overloaded", message="full"))
    loaded.ask(SESSION="b", TURN=SPOKEN.model_dump_json())
    loaded.engine.sinks["a"].close()
    loaded.engine.sinks["a"].close(StageFailure(type="internal", message="too late"))
    loaded.model.finalize()
    assert loaded.gauge.labels == {"stage": stage.value}
    assert loaded.gauge.shown == [1, 2, 1, 0]


def test_a_turn_that_only_passes_is_not_counted(load: Loader) -> None:
    """Nothing of it is in the talker."""
    loaded = load(Stage.TALKER)
    loaded.ask(SESSION="a", TURN=SILENT.model_dump_json(), TEXT="Hello")
    loaded.model.finalize()
    assert loaded.gauge.shown == []


def test_unloading_stops_the_stage(load: Loader) -> None:
    """Triton calls `finalize`; the stage's threads must not outlive it."""
    loaded = load(Stage.THINKER)
    loaded.model.finalize()
    assert loaded.engine.stopped


@pytest.mark.parametrize("stage", Stage)
def test_the_watchdog_hears_that_the_stage_is_loaded_and_that_it_goes(
    load: Loader, monkeypatch: pytest.MonkeyPatch, stage: Stage
) -> None:
    """One that hears nothing takes an idle stage for one that is stuck."""
    heard: list[str] = []

    class Recorder:
        def tell_loaded(self) -> None:
            heard.append("loaded")

        def dismiss(self) -> None:
            heard.append("farewell")

    monkeypatch.setattr(Watchdog, "start", Recorder)
    monkeypatch.setattr(threading, "excepthook", threading.excepthook)  # which the host sets
    loaded = load(stage)
    assert heard == ["loaded"]
    loaded.model.finalize()
    assert heard == ["loaded", "farewell"]
