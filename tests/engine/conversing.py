"""Hosts thinker and talker in one process: what the gateway does, without the wire."""

from collections.abc import Iterable

from tercet_engine.stage import StageEngine, TalkerInput, TalkerOutput, ThinkerInput, ThinkerOutput
from tercet_wire.messages import Sampling, Speech, Turn

from tests.engine.listeners import Listener
from tests.engine.reference import Case

GREEDY = Sampling(temperature=0.0, repetition_penalty=1.0, max_tokens=40)
"""As the oracle: at most 40 tokens, and no penalty in the thinker."""
GREEDY_SPEECH = Sampling(temperature=0.0, max_tokens=320)

Thinker = StageEngine[ThinkerInput, ThinkerOutput]
Talker = StageEngine[TalkerInput, TalkerOutput]


def turn_of(case: Case, *, sampling: Sampling = GREEDY, speech: Sampling | None = GREEDY_SPEECH) -> Turn:
    wanted = None if speech is None else Speech(voice="Chelsie", sampling=speech)
    return case.turn(sampling).model_copy(update={"speech": wanted})


def input_of(case: Case, turn: Turn) -> ThinkerInput:
    return ThinkerInput(turn=turn, pixels=case.pixels(), samples=case.samples())


class Thought(Listener[ThinkerOutput]):
    """A thinker's sink, with the parts of its messages put together."""

    @property
    def tokens(self) -> tuple[int, ...]:
        return tuple(token for output in self.outputs for token in output.tokens)

    @property
    def text(self) -> str:
        return "".join(output.text for output in self.outputs)

    @property
    def state_rows(self) -> list[int]:
        return [len(output.states) for output in self.outputs]


class Voice(Listener[TalkerOutput]):
    """A talker's sink, with the codes of its messages put together."""

    @property
    def codes(self) -> tuple[int, ...]:
        return tuple(code for output in self.outputs for code in output.codes)


class SpokenThought(Thought):
    """Hands every message on to the talker at once."""

    def __init__(self, session: str, turn: Turn, talker: Talker) -> None:
        super().__init__()
        self.voice = Voice()
        self._session = session
        self._turn = turn
        self._talker = talker

    def send(self, output: ThinkerOutput) -> None:
        super().send(output)
        is_first = len(self.outputs) == 1
        states = TalkerInput(
            states=output.states,
            positions=output.positions,
            last=output.last,
            turn=self._turn if is_first else None,
        )
        if is_first:
            self._talker.open(self._session, states, self.voice)
        else:
            self._talker.feed(self._session, states)


def converse(thinker: Thinker, talker: Talker, cases: Iterable[Case]) -> dict[str, SpokenThought]:
    """All at once; waits until every turn has ended well in both stages."""
    thoughts = {}
    for case in cases:
        turn = turn_of(case)
        thoughts[case.name] = SpokenThought(case.name, turn, talker)
        thinker.open(case.name, input_of(case, turn), thoughts[case.name])
    for name, thought in thoughts.items():
        assert (name, thought.end(), thought.voice.end()) == (name, None, None)
    return thoughts


def think(thinker: Thinker, case: Case, turn: Turn | None = None, session: str = "a turn") -> Thought:
    """Opens a turn and does not wait for its end."""
    thought = Thought()
    thinker.open(session, input_of(case, turn or turn_of(case)), thought)
    return thought
