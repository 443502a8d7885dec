"""One turn in the talker: which rows it feeds, which codes it sends when.

Made by `talker.TalkerStage`, driven by the step loop. Row i of the decoder's input is `state i` plus the
embedding of `code i`, two sequences kept apart here: states are the prompt's, the voice, the reply's, the
text's end, then padding for ever; codes are none for the prompt, pad, start, then those that were chosen.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import count
from typing import Final, Literal

import torch
from tercet_wire.messages import Sampling, StageEvent, StageFailure, Turn, Usage
from tercet_wire.names import CODES_PER_S
from tercet_wire.settings import WindowSettings

from tercet_engine.code2wav.windows import message_boundaries
from tercet_engine.decoder.blocks import Prefix, Size
from tercet_engine.decoder.reply import Outlet
from tercet_engine.decoder.sampling import Defaults, Picked, Picker, resolve_choice
from tercet_engine.stage import StageError, TalkerInput, TalkerOutput

_MOST_CODES: Final = 4096
_CODES_PER_TOKEN: Final = 40
"""No word takes longer to say: a short reply waits for no memory for a long speech."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CodecIds:
    """The codes that are not sound. `none`, one past the vocabulary, stands for no code at all."""

    start: int
    end: int
    pad: int
    mask: int
    none: int


@dataclass(frozen=True, slots=True, kw_only=True)
class TalkerTables:
    """All that the talker adds of its own, in its own width.

    `codes` (vocabulary + 1, hidden) are projected without bias, the last row, for none, is zero. The others
    are whole states (1, hidden), with the bias.
    """

    ids: CodecIds
    codes: torch.Tensor
    voices: Mapping[str, torch.Tensor]
    text_end: torch.Tensor
    text_pad: torch.Tensor


class TalkerReply:
    def __init__(
        self,
        tables: TalkerTables,
        turn: Turn,
        outlet: Outlet[TalkerOutput],
        *,
        defaults: Defaults,
        window: WindowSettings,
        context: int,
    ) -> None:
        if turn.speech is None:
            raise _refusal("this turn asks for no speech; the talker has no part in it", "audio")
        speech = turn.speech
        self.due_s = turn.due_s
        self.fed = 0
        self.ended = False
        self.prefix = Prefix()
        self._tables = tables
        self._outlet = outlet
        self._context = context
        self._choice = resolve_choice(
            speech.sampling, defaults, vocabulary=tables.ids.none, suppressed=(tables.ids.start,)
        )
        self._wanted = _most_codes(turn.sampling, speech.sampling)
        self._voice = _find_voice(tables.voices, speech.voice)
        self._prompt: torch.Tensor | None = None  # (n, hidden)
        self._positions = torch.empty(3, 0, dtype=torch.int32)  # (3, n)
        self._next_position = 0  # of the first row after the prompt, in all three
        self._reply: list[torch.Tensor] = []  # (1, hidden) each
        self._is_complete = False
        self._codes: list[int] = []  # one for each row, up to the next to be fed
        self._speech_from = 0  # index of the first code that is sound
        self._sent = 0
        self._boundaries = group_boundaries(speech.window or window)
        self._boundary = next(self._boundaries)
        self._first_sent_s: float | None = None

    # --- what comes in -----------------------------------------------------------------------

    def feed(self, more: TalkerInput) -> None:
        states = more.states.to(self._voice)
        prompt_rows = more.positions.shape[1]
        if len(states) and states.shape[1] != self._voice.shape[1]:
            raise _refusal(f"states of {states.shape[1]} values do not fit; is it the thinker's checkpoint?")
        if prompt_rows:
            self._begin_prompt(states[:prompt_rows], more.positions)
        self._reply += states[prompt_rows:, None].unbind()
        self._is_complete = self._is_complete or more.last
        if self._is_complete and not self._reply:
            self._finish("stop")

    def _begin_prompt(self, states: torch.Tensor, positions: torch.Tensor) -> None:
        if self._prompt is not None:
            raise _refusal("all states of the prompt must come in one message")
        if len(states) != positions.shape[1]:
            raise _refusal(f"{positions.shape[1]} positions came with {len(states)} states")
        ids = self._tables.ids
        self._prompt, self._positions = states, positions
        self._next_position = int(positions.max()) + 1
        self._codes = [ids.none] * len(states) + [ids.pad, ids.start]
        self._speech_from = len(self._codes)
        room = self._context - self._speech_from + 1  # the last code is never fed
        if room < 1:
            message = f"the prompt's {len(states)} tokens leave no room for speech in {self._context}"
            raise StageError(StageFailure(type="context_length_exceeded", message=message, param="messages"))
        self._wanted = min(self._wanted, room)

    # --- what the loop asks ------------------------------------------------------------------

    def size(self) -> Size | None:
        if self._prompt is None:
            return None
        return Size(prompt=self._speech_from, most=self._speech_from + self._wanted - 1)

    def begin(self, known_blocks: int) -> Picker:
        del known_blocks  # states tell nobody what they stand for
        ids = self._tables.ids
        return Picker(self._choice, (ids.mask, ids.pad, ids.start), self._voice.device)

    def ready(self) -> int:
        states = self._prompt_rows + 1 + len(self._reply)
        known = len(self._codes) if self._is_complete else min(states, len(self._codes))
        return known - self.fed

    def completes_with(self, rows: int) -> bool:
        return self.fed + rows >= self._speech_from

    def next_codes(self, rows: int) -> Sequence[int]:
        return self._codes[self.fed : self.fed + rows]

    def next_states(self, rows: int) -> torch.Tensor:
        """As (rows, hidden)."""
        after = [self._state_after_prompt(i) for i in self._after_prompt(rows)]
        prompt = [] if self._prompt is None else [self._prompt[self.fed : self.fed + rows]]
        return torch.cat([*prompt, *after])

    def next_positions(self, rows: int) -> torch.Tensor:
        """As (3, rows)."""
        after = self._after_prompt(rows)
        following = torch.arange(after.start, after.stop, dtype=torch.int32) + self._next_position
        return torch.cat([self._positions[:, self.fed : self.fed + rows], following.expand(3, -1)], 1)

    def _after_prompt(self, rows: int) -> range:
        """Those of the next rows that stand after the prompt, counted from its end."""
        start = self.fed - self._prompt_rows
        return range(max(start, 0), max(start + rows, 0))

    def _state_after_prompt(self, index: int) -> torch.Tensor:
        if index == 0:
            return self._voice
        if index <= len(self._reply):
            return self._reply[index - 1]
        return self._tables.text_end if index == len(self._reply) + 1 else self._tables.text_pad

    @property
    def _prompt_rows(self) -> int:
        return self._positions.shape[1]

    # --- what goes out -----------------------------------------------------------------------

    def receive(self, rows: int, states: torch.Tensor | None, picked: Picked | None) -> None:
        self.fed += rows
        if self._prompt is not None and self.fed >= self._prompt_rows:
            self._prompt = self._prompt[:0].clone()  # it lives on in the KV cache only
        if picked is None:
            return
        if picked.token in (self._tables.ids.end, self._tables.ids.pad):
            self._finish("stop")
            return
        self._codes.append(picked.token)
        made = len(self._codes) - self._speech_from
        if made == self._wanted:
            self._finish("length")
        elif made >= self._boundary:
            self._boundary = next(self._boundaries)
            self._send(self._outlet.event(), last=False)

    def _finish(self, reason: Literal["stop", "length"]) -> None:
        self.ended = True
        usage = Usage(codes=len(self._codes) - self._speech_from)
        self._send(self._outlet.event(finish_reason=reason, usage=usage), last=True)

    def _send(self, event: StageEvent, *, last: bool) -> None:
        speech = self._codes[self._speech_from :]
        self._outlet.sink.send(TalkerOutput(codes=tuple(speech[self._sent :]), last=last, event=event))
        self._sent = len(speech)
        if self._first_sent_s is None:
            self._first_sent_s = self._outlet.clock()

    def find_lateness_s(self, now_s: float) -> float:
        """A turn that waits for the thinker is not late here."""
        if not self.ready():
            return 0.0
        if self._first_sent_s is None:
            return max(0.0, now_s - self._outlet.arrived_s - self.due_s)
        return max(0.0, now_s - self._first_sent_s - self._sent / CODES_PER_S)

    def close(self) -> None:
        """Nothing of it goes on elsewhere."""


def group_boundaries(window: WindowSettings) -> Iterator[int]:
    """Without end: the counts of codes at which a message goes out, so that a window can fire."""
    return count(CODES_PER_S, CODES_PER_S) if window.mode == "whole" else message_boundaries(window)


def _most_codes(text: Sampling, speech: Sampling) -> int:
    if speech.max_tokens is not None:
        return speech.max_tokens
    return _MOST_CODES if text.max_tokens is None else min(_MOST_CODES, _CODES_PER_TOKEN * text.max_tokens)


def _find_voice(voices: Mapping[str, torch.Tensor], name: str) -> torch.Tensor:
    if name not in voices:
        raise _refusal(f"there is no voice {name!r}; there are {', '.join(sorted(voices))}", "audio.voice")
    return voices[name]


def _refusal(message: str, param: str | None = None) -> StageError:
    return StageError(StageFailure(type="invalid_request", message=message, param=param))
