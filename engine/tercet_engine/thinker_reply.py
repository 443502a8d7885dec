"""One turn in the thinker: its prompt, the tokens it says, and the messages they go out in.

Made by `thinker.ThinkerStage`, driven by the step loop. The first token's message leaves at once, with
the states of the prompt; so do those with the states that the first window of speech waits for, as each
would delay the first sound. After that tokens are gathered for `flush_s`.
"""

from collections import deque
from collections.abc import Callable
from concurrent.futures import Executor, Future
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, Final, Literal, TypeVar

import torch
from tercet_wire.messages import Speech, StageFailure, TokenLogprob, TopLogprob, Turn, Usage
from tercet_wire.settings import WindowSettings

from tercet_engine.decoder.blocks import Prefix, Size
from tercet_engine.decoder.reply import Outlet
from tercet_engine.decoder.sampling import Choice, Picked, Picker
from tercet_engine.encoders import Prompt
from tercet_engine.prefix import StateStore
from tercet_engine.prompts import Prepared
from tercet_engine.reply_text import ReplyText, TokenBytes
from tercet_engine.stage import StageError, ThinkerOutput

_MESSAGES_AT_ONCE: Final = 2
_NO_POSITIONS: Final = torch.empty(3, 0, dtype=torch.int32)

Made = TypeVar("Made")


@dataclass(frozen=True, slots=True, kw_only=True)
class ThinkerFacts:
    """What all replies of a thinker share."""

    context: int
    """Most tokens of a turn, prompt and reply."""
    flush_s: float
    window: WindowSettings
    end_tokens: frozenset[int]
    tokens: TokenBytes
    embed: Callable[[Prepared, int], Prompt]
    """A prompt's rows from the one given on."""
    media_thread: Executor
    """Prompts with media are embedded there: encoders may take seconds."""
    device: torch.device
    no_states: torch.Tensor  # (0, talker hidden), on the CPU
    block_tokens: int
    states: StateStore


class ThinkerReply:
    def __init__(
        self,
        facts: ThinkerFacts,
        turn: Turn,
        outlet: Outlet[ThinkerOutput],
        *,
        choice: Choice,
        most_tokens: int,
    ) -> None:
        self.due_s = turn.due_s
        self.has_speech = turn.speech is not None
        self.fed = 0
        self.ended = False
        self.prefix = Prefix()
        self._facts = facts
        self._outlet = outlet
        self._choice = choice
        self._wanted = most_tokens
        self._job: Future[Any] | None = None  # what is being made of the prompt on another thread
        self._prepared: Prepared | None = None
        self._prompt_rows = 0
        self._said = 0
        self.is_speaking = False
        """The prompt has been fed; its own last token is next."""
        self.last_token = -1
        """Said, and not fed back yet."""
        self.next_position = 0
        """Of the last token."""
        self._text = ReplyText(facts.tokens, turn.sampling.stop)
        self._draft = _Draft()
        self._messages = 0
        self._sent_s = 0.0
        self._urgent = _count_urgent_states(turn.speech, facts.window)
        self._known_states: list[torch.Tensor] = []  # of blocks that others have computed
        self._known_rows = 0
        self._prompt_states: list[torch.Tensor] = []
        self._reply_states: deque[torch.Tensor] = deque()  # of tokens fed back, not yet sent
        self._handed = 0  # reply states that were sent
        self._is_embedded = False
        self._prompt: Prompt
        """There once it is embedded; no row is asked for before."""

    # --- the prompt --------------------------------------------------------------------------

    def await_prompt(self, job: Future[Prepared]) -> None:
        """The prompt is being prepared on another thread."""
        self._await(job, self._take_prepared)

    def _await(self, job: Future[Made], take: Callable[[Made], None]) -> None:
        self._job = job
        job.add_done_callback(lambda job: self._outlet.later(partial(self._take, job, take)))

    def _take(self, job: Future[Made], take: Callable[[Made], None]) -> None:
        if job is not self._job:
            return  # the turn has ended, and another may have its name
        self._job = None
        take(job.result())

    def _take_prepared(self, prepared: Prepared) -> None:
        self._prepared = prepared
        self._prompt_rows = len(prepared.ids)
        room = self._facts.context - self._prompt_rows
        if room < 1:
            message = (
                f"the prompt is {self._prompt_rows} tokens long; prompt and reply together may have "
                f"{self._facts.context}"
            )
            raise StageError(StageFailure(type="context_length_exceeded", message=message, param="messages"))
        self._wanted = min(self._wanted, room)
        if self.has_speech:
            self._known_states = self._facts.states.find(prepared.keys)
            self.prefix = Prefix(prepared.keys, len(self._known_states))
        else:
            self.prefix = Prefix(prepared.keys, len(prepared.keys))

    def feed(self, more: object) -> None:
        """A thinker's turn is whole from the start."""

    def size(self) -> Size | None:
        rows = self._prompt_rows
        return Size(prompt=rows, most=rows + self._wanted) if rows else None

    def begin(self, known_blocks: int) -> Picker:
        assert self._prepared is not None  # noqa: S101 - the loop begins only what has told its size
        facts, prepared, self._prepared = self._facts, self._prepared, None
        self.fed = self._known_rows = known_blocks * facts.block_tokens
        self._prompt_states, self._known_states = self._known_states[:known_blocks], []
        if prepared.has_media:
            self._await(facts.media_thread.submit(facts.embed, prepared, self.fed), self._take_prompt)
        else:
            self._take_prompt(facts.embed(prepared, self.fed))
        return Picker(self._choice, prepared.ids.tolist(), facts.device)

    def _take_prompt(self, prompt: Prompt) -> None:
        self._prompt = prompt
        self._is_embedded = True

    # --- rows --------------------------------------------------------------------------------

    def ready(self) -> int:
        return max(self._prompt_rows - self.fed, 1) if self._is_embedded else 0

    def completes_with(self, rows: int) -> bool:
        return self.fed + rows >= self._prompt_rows

    def prompt_inputs(self, rows: int) -> tuple[torch.Tensor, torch.Tensor]:
        """The prompt's next rows (rows, hidden) and their positions (3, rows)."""
        prompt = self._prompt
        return prompt.embeds[self._embedded(rows)], prompt.positions[:, self.fed : self.fed + rows]

    def prompt_texts(self, rows: int) -> torch.Tensor:
        """The same rows, zero where they are not text."""
        return self._prompt.text_embeds[self._embedded(rows)]

    def _embedded(self, rows: int) -> slice:
        """The next rows among those that have embeddings."""
        first = self.fed - self._prompt.start
        return slice(first, first + rows)

    # --- what goes out -----------------------------------------------------------------------

    def receive(self, rows: int, states: torch.Tensor | None, picked: Picked | None) -> None:
        if states is not None and self.has_speech:
            kept = self._reply_states if self.is_speaking else self._prompt_states
            kept.append(states)
        self.fed += rows
        if picked is not None:
            self._say(picked)

    def _begin_speaking(self) -> None:
        self.is_speaking = True
        self.next_position = self._prompt.next_position
        self._forget_prompt()
        self._share_states()

    def _forget_prompt(self) -> None:
        """Its rows live on in the KV cache only."""
        nothing = self._prompt.embeds[:0].clone()
        self._prompt = replace(self._prompt, embeds=nothing, text_embeds=nothing)

    def _share_states(self) -> None:
        if self._prompt_states and self.prefix.keys:
            whole = torch.cat(self._prompt_states)
            self._facts.states.keep(self.prefix.keys, whole, self._facts.block_tokens)
            self._prompt_states = [whole]

    def _say(self, picked: Picked) -> None:
        if self.is_speaking:
            self.next_position += 1
        else:
            self._begin_speaking()
        self._said += 1
        token = self.last_token = picked.token
        draft = self._draft
        draft.tokens.append(token)
        if token in self._facts.end_tokens:
            self._finish("stop")
            return
        self._text.push(token)
        if picked.logprob is not None:
            draft.logprobs.append(self._describe(token, picked.logprob, picked.top))
        if self._text.has_stopped:
            self._finish("stop")
        elif self._said == self._wanted:
            self._finish("length")
        elif self._is_due():
            self._send(self._text.take(), last=False)

    def _is_due(self) -> bool:
        if self._messages < _MESSAGES_AT_ONCE or self._handed < self._urgent:
            return True
        return self._outlet.clock() - self._sent_s >= self._facts.flush_s

    def _finish(self, reason: Literal["stop", "length"]) -> None:
        self.ended = True
        prompt = self._prompt
        usage = Usage(
            prompt_tokens=self._prompt_rows,
            prompt_cached_tokens=self._known_rows,
            prompt_audio_tokens=prompt.audio_tokens,
            prompt_image_tokens=prompt.image_tokens,
            prompt_video_tokens=prompt.video_tokens,
            completion_tokens=self._said,
        )
        self._send(self._text.finish(), last=True, finish_reason=reason, usage=usage)

    def _send(
        self,
        text: str,
        *,
        last: bool,
        finish_reason: Literal["stop", "length"] | None = None,
        usage: Usage | None = None,
    ) -> None:
        draft, self._draft = self._draft, _Draft()
        is_first = self._messages == 0
        positions = self._prompt.positions.cpu() if is_first and self.has_speech else _NO_POSITIONS
        output = ThinkerOutput(
            text=text,
            tokens=tuple(draft.tokens),
            states=self._take_states(),
            positions=positions,
            last=last,
            event=self._outlet.event(
                finish_reason=finish_reason, usage=usage, logprobs=tuple(draft.logprobs)
            ),
        )
        self._messages += 1
        self._sent_s = self._outlet.clock()
        self._outlet.sink.send(output)

    def _take_states(self) -> torch.Tensor:
        """The prompt's, and those of reply tokens whose text has been released.

        Words that a stop string swallows are not spoken either.
        """
        rows, self._prompt_states = self._prompt_states, []
        while self._reply_states and self._handed < self._text.settled:
            rows.append(self._reply_states.popleft())
            self._handed += 1
        return torch.cat(rows) if rows else self._facts.no_states

    def _describe(self, token: int, logprob: float, top: tuple[tuple[int, float], ...]) -> TokenLogprob:
        return TokenLogprob(
            **self._name(token, logprob), top=tuple(TopLogprob(**self._name(*other)) for other in top)
        )

    def _name(self, token: int, logprob: float) -> dict[str, Any]:
        name = self._facts.tokens.name(token)
        return {"token": name.decode(errors="replace"), "bytes": tuple(name), "logprob": logprob}

    def close(self) -> None:
        if self._job is not None:
            self._job.cancel()
            self._job = None


def _count_urgent_states(speech: Speech | None, window: WindowSettings) -> int:
    """Reply states that the first window waits for; one makes one code."""
    if speech is None:
        return 0
    window = speech.window or window
    return window.first_codes if window.mode == "stream" else 0


@dataclass(slots=True)
class _Draft:
    """What has been said since the last message."""

    tokens: list[int] = field(default_factory=list)
    logprobs: list[TokenLogprob] = field(default_factory=list)
