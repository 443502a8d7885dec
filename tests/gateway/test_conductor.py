"""A turn as lists: events in, wishes out."""

import struct

import pytest
from tercet_gateway.conductor import (
    Abandoned,
    CancelStage,
    ClientLeft,
    Conductor,
    Event,
    Failed,
    FeedStage,
    Finished,
    OpenStage,
    Outgoing,
    PcmDelta,
    ShutDown,
    StageEnded,
    StageFailed,
    State,
    TextDelta,
    TimedOut,
)
from tercet_gateway.errors import ServiceError, internal_error
from tercet_gateway.stages.blobs import Blob
from tercet_gateway.stages.messages import Code2WavMessage, TalkerMessage, ThinkerMessage
from tercet_wire.messages import ChatMessage, Speech, StageEvent, TextPart, Turn, Usage
from tercet_wire.names import Stage, Tensor

THINKER, TALKER, CODE2WAV = Stage
NO_STATES = Blob(datatype="UINT8", shape=(0, 0), data=b"")
NO_POSITIONS = Blob(datatype="INT32", shape=(3, 0), data=b"")
QUESTION = ChatMessage(role="user", content=(TextPart(text="Hi"),))
LAST, MORE = b"\x01", b"\x00"


def states(data: bytes) -> Blob:
    return Blob(datatype="UINT8", shape=(1, len(data)), data=data)


def positions(columns: int) -> Blob:
    return Blob(datatype="INT32", shape=(3, columns), data=bytes(12 * columns))


def thought(
    text: str = "", made: Blob = NO_STATES, at: Blob = NO_POSITIONS, *, last: bool = False, end: bool = False
) -> ThinkerMessage:
    event = StageEvent(finish_reason="stop", usage=Usage(prompt_tokens=3)) if end else StageEvent()
    return ThinkerMessage(text=text, states=made, positions=at, last=last, event=event)


def coded(*codes: int, last: bool = False) -> TalkerMessage:
    data = struct.pack(f"<{len(codes)}i", *codes)
    event = StageEvent(usage=Usage(codes=2)) if last else StageEvent()
    return TalkerMessage(codes=Blob(datatype="INT32", shape=(len(codes),), data=data), last=last, event=event)


def sounded(pcm: bytes = b"", *, last: bool = False) -> Code2WavMessage:
    return Code2WavMessage(pcm=pcm, last=last, event=StageEvent())


def open_turn(*, spoken: bool) -> Conductor:
    """A conductor whose first wish, the open thinker, has been taken."""
    speech = Speech(voice="Ethan") if spoken else None
    conductor = Conductor("s1", Turn(messages=(QUESTION,), speech=speech), pixels=b"rgb", samples=bytes(8))
    conductor.outgoing()
    return conductor


def play(conductor: Conductor, *events: Event) -> list[Outgoing]:
    for event in events:
        conductor.receive(event)
    return conductor.outgoing()


def shape(wishes: list[Outgoing]) -> list[object]:
    """Wishes without their bulk: what is done to which stage with which tensors."""
    short: list[object] = []
    for wish in wishes:
        match wish:
            case OpenStage() | FeedStage():
                names = " ".join(name for name in wish.tensors if name != Tensor.SESSION)
                short.append(f"{'open' if isinstance(wish, OpenStage) else 'feed'} {wish.stage}: {names}")
            case CancelStage():
                short.append(f"cancel {wish.stage}")
            case _:
                short.append(wish)
    return short


def test_thinker_is_asked_at_once_with_everything() -> None:
    """The whole turn and the media go to the thinker, and only there."""
    conductor = Conductor("s1", Turn(messages=(QUESTION,)), pixels=b"rgb", samples=bytes(8))
    (wish,) = conductor.outgoing()
    assert isinstance(wish, OpenStage)
    assert wish.stage is THINKER
    assert wish.tensors[Tensor.SESSION].data == b"\x02\x00\x00\x00s1"
    assert (wish.tensors[Tensor.PIXELS].shape, wish.tensors[Tensor.PIXELS].data) == ((3,), b"rgb")
    assert (wish.tensors[Tensor.SAMPLES].shape, wish.tensors[Tensor.SAMPLES].datatype) == ((2,), "FP32")
    assert conductor.outgoing() == []


TURNS: dict[str, tuple[bool, list[Event], list[object]]] = {
    "text only": (
        False,
        [thought("Hel"), thought("lo", end=True), StageEnded(THINKER)],
        [TextDelta("Hel"), TextDelta("lo"), Finished("stop", Usage(prompt_tokens=3))],
    ),
    "speech, stage after stage": (
        True,
        [
            thought("Hel", states(b"p"), positions(1)),
            coded(1),
            sounded(b"aa"),
            thought("lo", states(b"r")),
            thought(last=True, end=True),
            StageEnded(THINKER),
            coded(2, last=True),
            StageEnded(TALKER),
            sounded(b"bb", last=True),
            StageEnded(CODE2WAV),
        ],
        [
            TextDelta("Hel"),
            "open talker: TURN STATES POSITIONS LAST",
            "open code2wav: TURN",
            "feed code2wav: CODES LAST",
            PcmDelta(b"aa"),
            TextDelta("lo"),
            "feed talker: STATES LAST",
            "feed talker: LAST",
            "feed code2wav: CODES LAST",
            PcmDelta(b"bb"),
            Finished("stop", Usage(prompt_tokens=3, codes=2)),
        ],
    ),
    "speech without a code": (
        True,
        [
            thought("Hi", states(b"p"), positions(1), last=True, end=True),
            StageEnded(THINKER),
            coded(last=True),
            StageEnded(TALKER),
            sounded(last=True),
            StageEnded(CODE2WAV),
        ],
        [
            TextDelta("Hi"),
            "open talker: TURN STATES POSITIONS LAST",
            "open code2wav: TURN",
            "feed code2wav: LAST",
            Finished("stop", Usage(prompt_tokens=3, codes=2)),
        ],
    ),
    "speech without states": (
        True,
        [thought("Hi", last=True, end=True), StageEnded(THINKER)],
        [TextDelta("Hi"), Finished("stop", Usage(prompt_tokens=3))],
    ),
    "talker that ends before the thinker is fed no more": (
        True,
        [
            thought("H", states(b"p"), positions(1)),
            coded(last=True),
            StageEnded(TALKER),
            thought("i", states(b"r")),
        ],
        [
            TextDelta("H"),
            "open talker: TURN STATES POSITIONS LAST",
            "open code2wav: TURN",
            "feed code2wav: LAST",
            TextDelta("i"),
        ],
    ),
}


@pytest.mark.parametrize("case", TURNS)
def test_turn(case: str) -> None:
    """These events make these wishes, in this order."""
    spoken, events, wishes = TURNS[case]
    assert shape(play(open_turn(spoken=spoken), *events)) == wishes


def test_states_are_the_same_bytes() -> None:
    """The talker is given the thinker's very blobs, and the flag that came with them."""
    made, at = states(b"raw"), positions(2)
    wishes = play(open_turn(spoken=True), thought("Hi", made, at, last=True))
    opened = wishes[1]
    assert isinstance(opened, OpenStage)
    assert opened.tensors[Tensor.STATES] is made
    assert opened.tensors[Tensor.POSITIONS] is at
    assert opened.tensors[Tensor.LAST].data == LAST
    turn = Turn.model_validate_json(opened.tensors[Tensor.TURN].data[4:])
    assert turn == Turn(speech=Speech(voice="Ethan"))


BUSY = ServiceError("busy", status=503)
BEGUN = [thought("H", states(b"p"), positions(1))]

ENDS: dict[str, tuple[list[Event], State, list[str], type[Failed | Abandoned], int]] = {
    "a stage fails": ([*BEGUN, StageFailed(TALKER, BUSY)], State.FAILED, list(Stage), Failed, 503),
    "a stage fails before anything": ([StageFailed(THINKER, BUSY)], State.FAILED, [THINKER], Failed, 503),
    "nothing is heard": ([TimedOut("first_message")], State.FAILED, [THINKER], Failed, 504),
    "the client goes": ([*BEGUN, ClientLeft("gone")], State.ABANDONED, list(Stage), Abandoned, 0),
    "the client is slow": ([*BEGUN, ClientLeft("slow")], State.ABANDONED, list(Stage), Abandoned, 0),
    "the gateway stops": ([*BEGUN, ShutDown()], State.FAILED, list(Stage), Failed, 503),
    "the thinker stops short": ([*BEGUN, StageEnded(THINKER)], State.FAILED, [TALKER, CODE2WAV], Failed, 500),
    "the talker stops short": ([*BEGUN, StageEnded(TALKER)], State.FAILED, [THINKER, CODE2WAV], Failed, 500),
    "code2wav stops short": ([*BEGUN, StageEnded(CODE2WAV)], State.FAILED, [THINKER, TALKER], Failed, 500),
    "no reason is given": ([thought("H", last=True), StageEnded(THINKER)], State.FAILED, [], Failed, 500),
}


@pytest.mark.parametrize("case", ENDS)
def test_early_end(case: str) -> None:
    """Every stage that runs is cancelled, the outcome comes last, and nothing follows."""
    events, state, cancelled, outcome, status = ENDS[case]
    conductor = open_turn(spoken=True)
    wishes = play(conductor, *events)
    assert [wish.stage for wish in wishes if isinstance(wish, CancelStage)] == cancelled
    assert isinstance(wishes[-1], outcome)
    if isinstance(wishes[-1], Failed):
        assert wishes[-1].error.status == status
    assert conductor.state is state
    late: list[Event] = [
        thought("late"),
        sounded(b"late"),
        StageFailed(THINKER, internal_error()),
        ClientLeft("gone"),
    ]
    assert play(conductor, *late) == []


def test_states_of_a_turn_follow_its_course() -> None:
    """Waiting, writing, speaking, finished."""
    conductor = open_turn(spoken=True)
    seen = [conductor.state]
    course: list[list[Event]] = [
        [thought("H", states(b"p"), positions(1))],
        [thought(last=True, end=True), StageEnded(THINKER)],
        [coded(last=True), StageEnded(TALKER), sounded(last=True), StageEnded(CODE2WAV)],
    ]
    for events in course:
        play(conductor, *events)
        seen.append(conductor.state)
    assert seen == [State.WAITING, State.WRITING, State.SPEAKING, State.FINISHED]
    assert conductor.is_over
