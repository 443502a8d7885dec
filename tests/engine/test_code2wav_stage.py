"""The code2wav stage as its hosts see it: a StageEngine with sinks, on the tiny demo."""

import gc
import queue
import threading
import time
import weakref
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from tercet_engine.checkpoint import open_checkpoint
from tercet_engine.code2wav import stage
from tercet_engine.code2wav.admission import StepCost
from tercet_engine.code2wav.dit import BlockDit, Decoded, Segment
from tercet_engine.code2wav.model import SpeechModel, load_model
from tercet_engine.code2wav.rehearsal import rehearse
from tercet_engine.code2wav.stage import Code2Wav, load_code2wav
from tercet_engine.demo import build_demo
from tercet_engine.stage import Code2WavInput, Code2WavOutput
from tercet_wire.messages import Speech, StageFailure, Turn
from tercet_wire.names import SAMPLES_PER_CODE, Stage
from tercet_wire.settings import Solver, StageSettings, WindowSettings
from transformers.models.qwen2_5_omni.modeling_qwen2_5_omni import Qwen2_5OmniToken2WavModel

WAIT_S = 60
FAST = WindowSettings(solver="euler", points=3)
WHOLE = WindowSettings(mode="whole")
POISON = 666


class Listener:
    """A sink that keeps what it hears."""

    def __init__(self) -> None:
        self.outputs: queue.Queue[Code2WavOutput] = queue.Queue()
        self.closed = threading.Event()
        self.closings: list[StageFailure | None] = []
        self.has_gone = threading.Event()

    def send(self, output: Code2WavOutput) -> None:
        assert not self.closings
        self.outputs.put(output)

    def close(self, failure: StageFailure | None = None) -> None:
        self.closings.append(failure)
        self.closed.set()

    def is_cancelled(self) -> bool:
        return self.has_gone.is_set()

    def next(self) -> Code2WavOutput:
        return self.outputs.get(timeout=WAIT_S)

    def end(self) -> StageFailure | None:
        """Waits for the turn's end; None if it ended well."""
        assert self.closed.wait(WAIT_S)
        (failure,) = self.closings
        return failure

    def all(self) -> list[Code2WavOutput]:
        assert self.end() is None
        return list(self.outputs.queue)

    def pcm(self) -> NDArray[np.int16]:
        return np.concatenate([output.pcm for output in self.all()])


class FussyDit(BlockDit):
    """Fails whenever a certain code is in the batch, and tells when it begins."""

    def __init__(self, dit: BlockDit) -> None:
        self.__dict__.update(dit.__dict__)
        self.begins: Callable[[], object] = lambda: None

    def decode(self, segments: Sequence[Segment], solver: Solver, points: int) -> list[Decoded]:
        self.begins()
        if any(POISON in segment.codes for segment in segments):
            raise RuntimeError("poisoned")
        return super().decode(segments, solver, points)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A demo checkpoint."""
    path = tmp_path_factory.mktemp("demo") / "tiny"
    build_demo("tiny", path)
    return path


def settings_for(folder: Path, **changes: object) -> StageSettings:
    """Turns are taken however slow the machine is, but where a test is about that."""
    given = {"stage": Stage.CODE2WAV, "checkpoint": str(folder), "window": FAST, "max_load": 1e9, **changes}
    return StageSettings.model_validate(given)


@pytest.fixture(scope="module")
def loaded(folder: Path, device: str) -> SpeechModel:
    """Its networks."""
    return load_model(open_checkpoint(folder), settings_for(folder), torch.device(device))


@pytest.fixture
def dit(loaded: SpeechModel) -> FussyDit:
    """A fussy one of the same weights."""
    return FussyDit(loaded.dit)


@pytest.fixture
def model(loaded: SpeechModel, dit: FussyDit) -> SpeechModel:
    """The networks with the fussy DiT."""
    return replace(loaded, dit=dit)


@pytest.fixture
def engine(model: SpeechModel, folder: Path) -> Iterator[Code2Wav]:
    """A running stage."""
    engine = Code2Wav(model, settings_for(folder))
    yield engine
    engine.shutdown()


def draw_codes(count: int, seed: int = 1) -> tuple[int, ...]:
    codes = torch.randint(1000, 8193, (count,), generator=torch.Generator().manual_seed(seed))
    return tuple(codes.tolist())


def first(
    codes: Sequence[int],
    *,
    last: bool = True,
    voice: str = "Chelsie",
    window: WindowSettings | None = None,
    seed: int = 0,
) -> Code2WavInput:
    speech = Speech(voice=voice, noise_seed=seed, window=window)
    return Code2WavInput(codes=tuple(codes), last=last, turn=Turn(speech=speech))


def more(codes: Sequence[int], *, last: bool = False) -> Code2WavInput:
    return Code2WavInput(codes=tuple(codes), last=last)


def speak(engine: Code2Wav, given: Code2WavInput, session: str = "alone") -> Listener:
    listener = Listener()
    engine.open(session, given, listener)
    return listener


def test_whole_speech_is_what_transformers_makes(engine: Code2Wav, folder: Path) -> None:
    """The same codes, voice and seed give the same waveform, to the resolution of the PCM."""
    checkpoint = open_checkpoint(folder)
    reference = Qwen2_5OmniToken2WavModel._from_config(
        checkpoint.config.token2wav_config, attn_implementation="sdpa"
    ).eval()
    reference.load_state_dict(checkpoint.load("token2wav."))
    codes, speaker = draw_codes(61), checkpoint.speakers["Chelsie"]
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(17)
        want = reference(torch.tensor([codes]), speaker.cond, speaker.ref_mel).numpy()
    got = speak(engine, first(codes, window=WHOLE, seed=17)).pcm() / 32767
    assert np.abs(want).max() > 0.05
    np.testing.assert_allclose(got, want, atol=1e-4)


@pytest.mark.parametrize("cuts", [(61,), (8, 12, 24, 36, 61), (1, 2, 3, 60, 61)])
def test_sound_comes_in_order_and_ends_with_the_last_flag(engine: Code2Wav, cuts: tuple[int, ...]) -> None:
    """However the codes come, every one of them is heard once."""
    codes = draw_codes(61)
    listener = speak(engine, first([], last=False))
    for start, stop in zip((0, *cuts), cuts, strict=False):
        engine.feed("alone", more(codes[start:stop], last=stop == 61))
    outputs = listener.all()
    assert [output.last for output in outputs] == [False] * (len(outputs) - 1) + [True]
    assert sum(len(output.pcm) for output in outputs) == 61 * SAMPLES_PER_CODE
    assert [output.event.finish_reason for output in outputs] == [None] * (len(outputs) - 1) + ["stop"]
    usage = outputs[-1].event.usage
    assert usage is not None
    assert usage.codes == 61


def test_the_first_sound_needs_only_the_first_codes(engine: Code2Wav) -> None:
    """Eight codes give eighty milliseconds at once, and as much again when its block is whole."""
    codes = draw_codes(12)
    listener = speak(engine, first(codes[:8], last=False))
    assert len(listener.next().pcm) == 4 * SAMPLES_PER_CODE
    engine.feed("alone", more(codes[8:]))
    assert len(listener.next().pcm) == 4 * SAMPLES_PER_CODE


@pytest.mark.parametrize("window", [FAST, WHOLE])
def test_a_turn_without_codes_ends_with_an_empty_sound(engine: Code2Wav, window: WindowSettings) -> None:
    """The host still learns that it is over."""
    (output,) = speak(engine, first([], window=window)).all()
    assert (len(output.pcm), output.last) == (0, True)


def test_streamed_speech_is_close_to_whole_speech(engine: Code2Wav) -> None:
    """With look-ahead and context the windows are inaudible; the same noise is drawn for each frame."""
    codes = draw_codes(100)
    careful = WindowSettings(first_codes=36, look_ahead_blocks=2, overlap_frames=16)
    whole = speak(engine, first(codes, window=WHOLE, seed=3)).pcm().astype(float)
    streamed = speak(engine, first(codes, window=careful, seed=3)).pcm().astype(float)
    assert 10 * np.log10(np.mean(whole**2) / np.mean((streamed - whole) ** 2)) > 50
    other = speak(engine, first(codes, window=WHOLE, seed=4)).pcm().astype(float)
    assert 10 * np.log10(np.mean(whole**2) / np.mean((other - whole) ** 2)) < 10


def extra_jumps(engine: Code2Wav, window: WindowSettings) -> NDArray[np.float64]:
    """What each seam adds to the step from one sample to the next, in typical steps of the sound."""
    codes = draw_codes(100)
    whole = speak(engine, first(codes, window=WHOLE)).pcm().astype(float)
    listener = speak(engine, first(codes[: window.first_codes], last=False, window=window))
    outputs = [listener.next()]  # a part of a block: it is decoded again with the next codes
    engine.feed("alone", more(codes[window.first_codes :], last=True))
    outputs += listener.all()
    streamed = np.concatenate([output.pcm for output in outputs]).astype(float)
    seams = np.cumsum([len(output.pcm) for output in outputs[:-1]])
    typical = float(np.sqrt(np.mean(np.diff(whole) ** 2)))
    extra: NDArray[np.float64] = np.abs(np.diff(streamed - whole))[seams - 1] / typical
    return extra


@pytest.mark.parametrize("first_codes", [5, 8, 12])
def test_no_click_at_any_seam(engine: Code2Wav, first_codes: int) -> None:
    """A seam is ten times smaller than the sound's own movement; cut without context it would be heard."""
    assert extra_jumps(engine, WindowSettings(first_codes=first_codes)).max() < 0.1
    cut = WindowSettings(first_codes=first_codes, overlap_frames=0, first_overlap_frames=0)
    assert extra_jumps(engine, cut).max() > 0.5


def test_a_crowd_sounds_as_each_alone(engine: Code2Wav) -> None:
    """Eight turns at once, with different codes, voices and seeds, in shared steps."""
    turns = [
        first(draw_codes(30 + 7 * number, number), voice=("Chelsie", "Ethan")[number % 2], seed=number)
        for number in range(8)
    ]
    crowd = [speak(engine, given, f"turn {number}") for number, given in enumerate(turns)]
    together = [listener.pcm() for listener in crowd]
    for given, heard in zip(turns, together, strict=True):
        alone = speak(engine, given).pcm()
        assert len(alone) == len(heard)
        # The windows may be cut differently, as they follow the listener's buffer.
        assert np.corrcoef(alone, heard)[0, 1] > 0.99


def test_a_failing_turn_ends_alone(engine: Code2Wav, dit: FussyDit) -> None:
    """The other in its batch loses nothing."""
    may_go = threading.Event()
    dit.begins = lambda: may_go.wait(WAIT_S)  # so that the next two are there when the next step begins
    alone = speak(engine, first(draw_codes(12)), "alone")
    good = speak(engine, first(draw_codes(12)), "good")
    bad = speak(engine, first([POISON, *draw_codes(11)]), "bad")
    may_go.set()
    failure = bad.end()
    assert failure is not None
    assert failure.type == "internal"
    np.testing.assert_array_equal(good.pcm(), alone.pcm())


def test_a_failing_host_ends_its_turn_alone(engine: Code2Wav) -> None:
    """The stage outlives a sink that raises."""

    class Deaf(Listener):
        def send(self, output: Code2WavOutput) -> None:
            raise OSError("gone")

    deaf = Deaf()
    engine.open("deaf", first(draw_codes(8)), deaf)
    failure = deaf.end()
    assert failure is not None
    assert failure.type == "internal"
    assert speak(engine, first(draw_codes(8))).end() is None


def test_a_cancelled_turn_ends_at_once(engine: Code2Wav) -> None:
    """Its codes are not waited for, and its name is free again."""
    listener = speak(engine, first(draw_codes(8), last=False))
    listener.next()
    engine.cancel("alone")
    engine.cancel("never heard of")
    failure = listener.end()
    assert failure is not None
    assert failure.type == "cancelled"
    assert speak(engine, first([])).end() is None


def test_a_listener_who_has_gone_ends_the_turn(engine: Code2Wav) -> None:
    """The host need not say so."""
    listener = speak(engine, first(draw_codes(8), last=False))
    listener.next()
    listener.has_gone.set()
    failure = listener.end()
    assert failure is not None
    assert failure.type == "cancelled"


def test_an_unknown_voice_is_refused_with_the_known_ones(engine: Code2Wav) -> None:
    """The client can correct it."""
    failure = speak(engine, first([], voice="Bob")).end()
    assert failure is not None
    assert (failure.type, failure.param) == ("invalid_request", "audio.voice")
    assert "Chelsie" in failure.message
    assert "Ethan" in failure.message


def test_a_turn_without_speech_is_refused(engine: Code2Wav) -> None:
    """There is no voice to speak with."""
    failure = speak(engine, Code2WavInput(codes=(), last=True, turn=Turn())).end()
    assert failure is not None
    assert failure.type == "invalid_request"


def test_an_open_session_is_refused_through_the_new_sink(engine: Code2Wav) -> None:
    """The turn that runs is not disturbed."""
    listener = speak(engine, first(draw_codes(8), last=False))
    failure = speak(engine, first([])).end()
    assert failure is not None
    assert failure.type == "invalid_request"
    engine.feed("alone", more([], last=True))
    assert listener.end() is None


def test_turns_beyond_the_places_wait_and_beyond_the_queue_are_refused(
    model: SpeechModel, folder: Path
) -> None:
    """One turn speaks, one waits for its place, the third is told to come later."""
    engine = Code2Wav(model, settings_for(folder, max_turns=1, queue_turns=1))
    running = speak(engine, first(draw_codes(8), last=False), "running")
    running.next()
    waiting = speak(engine, first(draw_codes(8)), "waiting")
    refused = speak(engine, first(draw_codes(8)), "refused").end()
    assert refused is not None
    assert refused.type == "overloaded"
    assert waiting.outputs.empty()
    assert (engine.load().turns, engine.load().waiting) == (1, 1)
    engine.feed("running", more([], last=True))
    assert running.end() is None
    assert len(waiting.pcm()) == 8 * SAMPLES_PER_CODE
    engine.shutdown()


def test_a_turn_does_not_wait_for_ever(model: SpeechModel, folder: Path) -> None:
    """After queue_s without a place it is refused."""
    now = [0.0]
    engine = Code2Wav(model, settings_for(folder, max_turns=1, queue_s=5.0), clock=lambda: now[0])
    running = speak(engine, first(draw_codes(8), last=False), "running")
    running.next()
    waiting = speak(engine, first(draw_codes(8)), "waiting")
    now[0] = 6.0
    failure = waiting.end()
    assert failure is not None
    assert failure.type == "overloaded"
    engine.shutdown()


def test_a_turn_that_would_make_others_wait_waits_itself_and_is_refused_in_the_end(
    model: SpeechModel, dit: FussyDit, folder: Path
) -> None:
    """A server that needs 0.2 s for a block of 0.24 s plays one turn at a time."""
    now = [0.0]
    engine = Code2Wav(model, settings_for(folder, max_load=0.9, queue_s=5.0), clock=lambda: now[0])
    dit.begins = lambda: now.__setitem__(0, now[0] + 0.2)
    running = speak(engine, first(draw_codes(8), last=False), "running")
    running.next()
    waiting = speak(engine, first(draw_codes(8)), "waiting")
    impatient = speak(engine, first(draw_codes(8), last=False), "impatient")
    engine.feed("running", more(draw_codes(4), last=True))
    assert running.end() is None
    assert len(waiting.pcm()) == 8 * SAMPLES_PER_CODE
    impatient.next()
    refused = speak(engine, first(draw_codes(8)), "refused")
    now[0] += 6.0
    failure = refused.end()
    assert failure is not None
    assert failure.type == "overloaded"
    engine.shutdown()


def test_of_many_listeners_the_one_who_left_is_found(engine: Code2Wav) -> None:
    """However few are asked at a time."""
    listeners = [speak(engine, first([], last=False), f"{number}") for number in range(12)]
    listeners[-1].has_gone.set()
    failure = listeners[-1].end()
    assert failure is not None
    assert failure.type == "cancelled"
    assert not any(listener.closings for listener in listeners[:-1])


def test_of_those_who_come_first_and_at_once_only_as_many_are_played_as_can_be(
    model: SpeechModel, dit: FussyDit, folder: Path
) -> None:
    """What steps cost is known before the first."""
    now = [0.0]
    dit.begins = lambda: now.__setitem__(0, now[0] + 0.2)
    cost = rehearse(model, FAST, 2, clock=lambda: now[0])
    assert [cost.estimate(blocks) for blocks in (1, 2)] == pytest.approx([0.2, 0.2])
    engine = Code2Wav(model, settings_for(folder, max_load=0.9), cost, lambda: now[0])
    turns = [speak(engine, first(draw_codes(8), last=False), str(number)) for number in range(3)]
    turns[0].next()
    turns[1].next()
    deadline = time.monotonic() + WAIT_S
    while (engine.load().turns, engine.load().waiting) != (2, 1) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert (engine.load().turns, engine.load().waiting) == (2, 1)
    assert turns[2].outputs.empty()
    engine.shutdown()


def test_a_turn_that_waited_for_its_place_is_not_late(
    model: SpeechModel, dit: FussyDit, folder: Path
) -> None:
    """Its first sound is owed from when it got the place, so that it does not pass by the others."""
    now = [0.0]
    engine = Code2Wav(model, settings_for(folder, max_turns=1), clock=lambda: now[0])
    running = speak(engine, first(draw_codes(8), last=False), "running")
    running.next()
    waiting = speak(engine, first(draw_codes(8)), "waiting")
    now[0] = 10.0
    dit.begins = lambda: now.__setitem__(0, now[0] + 0.05)
    engine.cancel("running")
    assert waiting.next().event.load.lateness_s == 0.0
    engine.shutdown()


def test_load_tells_how_late_the_stage_is(model: SpeechModel, dit: FussyDit, folder: Path) -> None:
    """A first sound that was promised after 0.15 s and took a second is 0.85 s late."""
    now = [0.0]
    engine = Code2Wav(model, settings_for(folder), clock=lambda: now[0])
    dit.begins = lambda: now.__setitem__(0, 1.0)
    listener = speak(engine, first(draw_codes(8), last=False))
    assert listener.next().event.load.lateness_s == pytest.approx(0.85)
    engine.shutdown()


def test_a_turn_leaves_nothing_behind(engine: Code2Wav) -> None:
    """Its state goes with its end, whether it spoke to the end or was cancelled."""
    traces = []
    for session in ("finished", "cancelled"):
        listener = speak(engine, first(draw_codes(30), last=session == "finished"), session)
        listener.next()
        engine.cancel(session)
        listener.closed.wait(WAIT_S)
        traces.append(weakref.ref(listener))
    del listener
    assert speak(engine, first(draw_codes(8)), "another").end() is None
    gc.collect()
    assert [trace() for trace in traces] == [None, None]
    assert engine.load().turns <= 1


def test_shutdown_ends_every_turn(model: SpeechModel, folder: Path) -> None:
    """Those that come later are turned away at once."""
    engine = Code2Wav(model, settings_for(folder))
    listener = speak(engine, first(draw_codes(8), last=False))
    engine.shutdown()
    late = speak(engine, first([]), "late")
    for failure in (listener.end(), late.end()):
        assert failure is not None
        assert failure.type == "cancelled"


def test_a_checkpoint_is_served_on_several_devices(
    folder: Path, device: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each device has its own loop, which knows what steps cost; the turns are spread over them."""
    known: list[StepCost] = []

    class Watched(Code2Wav):
        def __init__(self, model: SpeechModel, settings: StageSettings, cost: StepCost) -> None:
            known.append(cost)
            super().__init__(model, settings, cost)

    monkeypatch.setattr(stage, "Code2Wav", Watched)
    engine = load_code2wav(settings_for(folder, devices=(device, device)))
    assert [cost.estimate(1) > 0 for cost in known] == [True, True]
    listeners = [Listener(), Listener(), Listener()]
    for number, listener in enumerate(listeners):
        engine.open(f"turn {number}", first(draw_codes(30)), listener)
    heard = [listener.pcm() for listener in listeners]
    assert {len(pcm) for pcm in heard} == {30 * SAMPLES_PER_CODE}
    engine.shutdown()
