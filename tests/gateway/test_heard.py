"""What a stage says again is passed over, wherever its messages end the second time."""

import struct
from collections.abc import Callable, Iterator
from itertools import combinations, pairwise

import pytest
from tercet_gateway.heard import Diverged, Heard
from tercet_gateway.stages.blobs import Blob
from tercet_gateway.stages.messages import Code2WavMessage, StageMessage, TalkerMessage, ThinkerMessage
from tercet_wire.messages import StageEvent, TokenLogprob, Usage
from tercet_wire.names import Stage

TOKENS = ("H", "é", "好", "👋")
ROW_BYTES = 2
PROMPT_ROWS = 2
CODES = (7, 8, 9, 10)
PCM = bytes(range(6))
ENDING = StageEvent(finish_reason="stop", usage=Usage(prompt_tokens=2, completion_tokens=4))


def think(start: int, end: int, *, text: str | None = None) -> ThinkerMessage:
    """Tokens [start, end) of the reply, each with its row, character and log-probability."""
    first, last = start == 0, end == len(TOKENS)
    rows = b"pp" * PROMPT_ROWS * first + b"".join(b"%d%d" % (i, i) for i in range(start, end))
    columns = PROMPT_ROWS * first
    logprobs = tuple(TokenLogprob(token=t, bytes=(), logprob=-1.0) for t in TOKENS[start:end])
    return ThinkerMessage(
        text="".join(TOKENS[start:end]) if text is None else text,
        states=Blob(datatype="UINT8", shape=(len(rows) // ROW_BYTES, ROW_BYTES), data=rows),
        positions=Blob(
            datatype="INT32", shape=(3, columns), data=struct.pack("<6i", *range(6))[: 12 * columns]
        ),
        last=last,
        event=(ENDING if last else StageEvent()).model_copy(update={"logprobs": logprobs}),
    )


def code(start: int, end: int, *, codes: tuple[int, ...] = CODES) -> TalkerMessage:
    said = codes[start:end]
    return TalkerMessage(
        codes=Blob(datatype="INT32", shape=(len(said),), data=struct.pack(f"<{len(said)}i", *said)),
        last=end == len(CODES),
        event=StageEvent(usage=Usage(codes=4)) if end == len(CODES) else StageEvent(),
    )


def sound(start: int, end: int) -> Code2WavMessage:
    return Code2WavMessage(pcm=PCM[start:end], last=end == len(PCM), event=StageEvent())


REPLIES: dict[Stage, tuple[Callable[[int, int], StageMessage], int]] = {
    Stage.THINKER: (think, len(TOKENS)),
    Stage.TALKER: (code, len(CODES)),
    Stage.CODE2WAV: (sound, len(PCM)),
}


def splits(length: int) -> Iterator[list[tuple[int, int]]]:
    """Every way to cut a reply into messages."""
    for count in range(length):
        for cuts in combinations(range(1, length), count):
            yield list(pairwise((0, *cuts, length)))


def join(messages: list[StageMessage]) -> list[object]:
    """All that was said, whatever the messages; what does not match its own shape shows."""
    whole: list[object] = [b"", b"", b"", (), 0, []]
    for message in messages:
        match message:
            case ThinkerMessage(states=states, positions=positions, event=event):
                parts: list[object] = [message.text.encode(), states.data, positions.data, event.logprobs]
                assert len(states.data) == states.shape[0] * states.shape[1]
                assert len(positions.data) == positions.shape[0] * positions.shape[1] * 4
            case TalkerMessage(codes=codes):
                parts = [b"", codes.data, b"", ()]
                assert len(codes.data) == 4 * codes.shape[0]
            case Code2WavMessage():
                parts = [b"", message.pcm, b"", ()]
        ends = [message.event.model_copy(update={"logprobs": ()})] if message.last else []
        whole = [a + b for a, b in zip(whole, [*parts, int(message.last), ends], strict=True)]  # type: ignore[operator]
    return whole


@pytest.mark.parametrize("stage", list(Stage))
def test_reply_is_whole_however_it_is_cut(stage: Stage) -> None:
    """Each way to cut the first telling, broken off after each message, and each way to cut the second."""
    say, length = REPLIES[stage]
    expected = join([say(0, length)])
    for first in splits(length):
        for told in range(len(first)):
            for second in splits(length):
                heard = Heard(stage)
                passed = [heard.take(say(*span)) for span in first[:told]]
                assert not heard.is_complete
                heard.rewind()
                assert heard.is_behind == (told > 0)
                passed += [heard.take(say(*span)) for span in second]
                assert join(passed) == expected
                assert heard.is_complete
                assert not heard.is_behind


@pytest.mark.parametrize("stage", list(Stage))
def test_second_loss_before_all_came_again(stage: Stage) -> None:
    """What had been heard stays heard: the third telling goes on from there."""
    say, length = REPLIES[stage]
    heard = Heard(stage)
    passed = [heard.take(say(0, 3))]
    heard.rewind()
    passed.append(heard.take(say(0, 1)))
    heard.rewind()
    passed += [heard.take(say(0, 2)), heard.take(say(2, length))]
    assert join(passed) == join([say(0, length)])


def test_message_that_was_never_heard_passes_untouched() -> None:
    """As the very object's content, with no copy of its bulk."""
    message = think(0, 2)
    taken = Heard(Stage.THINKER).take(message)
    assert taken == message
    assert isinstance(taken, ThinkerMessage)
    assert taken.states.data is message.states.data


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (think(0, 2), think(0, 2, text="Hx")),
        (think(0, 3), think(0, 1, text="Ha")),
        (code(0, 3), code(0, 2, codes=(7, 1, 9, 10))),
        (code(0, 3), code(0, 4, codes=(7, 8, 1, 10))),
    ],
)
def test_another_reply_is_noticed(before: StageMessage, after: StageMessage) -> None:
    """The listener must not hear the end of another one."""
    heard = Heard(Stage.THINKER if isinstance(before, ThinkerMessage) else Stage.TALKER)
    heard.take(before)
    heard.rewind()
    with pytest.raises(Diverged):
        heard.take(after)


def test_reply_that_ends_sooner_is_another() -> None:
    """All of it fits what was heard, and yet something is missing."""
    heard = Heard(Stage.CODE2WAV)
    heard.take(sound(0, 4))
    heard.rewind()
    with pytest.raises(Diverged):
        heard.take(Code2WavMessage(pcm=PCM[:2], last=True, event=StageEvent()))


def test_thinker_is_complete_with_its_finish_reason() -> None:
    """The states may be complete before."""
    heard = Heard(Stage.THINKER)
    heard.take(
        ThinkerMessage(
            text="", states=think(0, 1).states, positions=think(0, 1).positions, last=True, event=StageEvent()
        )
    )
    assert not heard.is_complete
