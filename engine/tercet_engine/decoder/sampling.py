"""Choosing the next token of every turn in a step.

The step loop hands over the logits of all turns that need a token, with one `Picker` each. Scores are
processed in the order of transformers' generate: repetition penalty, presence and frequency penalties,
bias and suppressed tokens, then temperature, top-k, top-p. A turn that asks for none of it costs its
share of an argmax. Every turn draws from its own random numbers, so that a seeded turn says the same
alone and in a crowd.
"""

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Final, NamedTuple

import torch
from tercet_wire.messages import Sampling, StageFailure

from tercet_engine.decoder.team import has_runtime
from tercet_engine.decoder.uploads import upload
from tercet_engine.stage import StageError

_SHORT_LIST: Final = 1024
"""Candidates looked at first where only top-p bounds them; a full sort follows if their mass is too small."""

_NOT_A_TOKEN: Final = -1
_KNOWN: Final = 4096
_UNBOUNDED: Final = 2**31
"""More than any vocabulary has."""

_COLDEST: Final = 1e-5
"""Temperatures down to here are greedy: scores divided by less would leave the range of numbers."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """How one turn's tokens are chosen, with no default left open. A temperature of 0 is greedy."""

    temperature: float = 1.0
    top_k: int = 0
    """0: all."""
    top_p: float = 1.0
    repetition_penalty: float = 1.0
    presence_penalty: float = 0.0
    frequency_penalty: float = 0.0
    bias: Mapping[int, float] = field(default_factory=dict)
    """Added to the scores; minus infinity suppresses a token."""
    seed: int | None = None
    top_logprobs: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Defaults:
    """What stands for the fields that a request leaves out."""

    temperature: float = 1.0
    top_k: int = 0
    top_p: float = 1.0
    repetition_penalty: float = 1.0


def resolve_choice(
    sampling: Sampling, defaults: Defaults, *, vocabulary: int, suppressed: Sequence[int] = ()
) -> Choice:
    """Raises StageError if the request names a token that is not there."""
    if any(not 0 <= token < vocabulary for token in sampling.logit_bias):
        message = f"token ids go from 0 to {vocabulary - 1}"
        raise StageError(StageFailure(type="invalid_request", message=message, param="logit_bias"))

    def given(value: float | None, default: float) -> float:
        return default if value is None else value

    return Choice(
        temperature=given(sampling.temperature, defaults.temperature),
        top_k=max(0, int(given(sampling.top_k, defaults.top_k))),
        top_p=given(sampling.top_p, defaults.top_p),
        repetition_penalty=given(sampling.repetition_penalty, defaults.repetition_penalty),
        presence_penalty=sampling.presence_penalty,
        frequency_penalty=sampling.frequency_penalty,
        bias=sampling.logit_bias | dict.fromkeys(suppressed, float("-inf")),
        seed=sampling.seed,
        top_logprobs=sampling.top_logprobs,
    )


class Picked(NamedTuple):
    """A chosen token; log-probabilities are those of the model itself, before any processing."""

    token: int
    logprob: float | None = None
    top: tuple[tuple[int, float], ...] = ()


class Picker:
    """One turn's choice, its random numbers and what it has said so far."""

    def __init__(
        self, choice: Choice, prompt: Sequence[int] = (), device: torch.device | None = None
    ) -> None:
        """`prompt`: the ids that count as said already for the repetition penalty."""
        self.choice = choice
        self._random = random.Random(choice.seed)  # noqa: S311 - speech, not secrets
        self._said = _IdSet(prompt if choice.repetition_penalty != 1 else (), device)
        self._counts: dict[int, int] = {}
        self.shifts: dict[int, float] = dict(choice.bias)
        """What is added to the scores of single tokens."""

    @property
    def is_forgetful(self) -> bool:
        """No penalty asks for what it has said."""
        choice = self.choice
        return choice.repetition_penalty == 1 and not (choice.presence_penalty or choice.frequency_penalty)

    def note(self, token: int) -> None:
        """Remember a chosen token, as far as a penalty will ask for it."""
        choice = self.choice
        if choice.repetition_penalty != 1:
            self._said.add(token)
        if choice.presence_penalty or choice.frequency_penalty:
            count = self._counts[token] = self._counts.get(token, 0) + 1
            penalty = choice.presence_penalty + choice.frequency_penalty * count
            self.shifts[token] = choice.bias.get(token, 0.0) - penalty

    def draw(self) -> float:
        """The next random number in [0, 1)."""
        return self._random.random()

    def said(self) -> torch.Tensor:
        """Ids that the repetition penalty falls on; empty where there is none."""
        return self._said.ids()


class _IdSet:
    """Distinct ids as a tensor that grows in place, so that a step does not rebuild it."""

    def __init__(self, ids: Sequence[int], device: torch.device | None) -> None:
        distinct = list(dict.fromkeys(ids))
        self._known = set(distinct)
        self._ids = torch.tensor(distinct, dtype=torch.long, device=device)

    def add(self, token: int) -> None:
        if token in self._known:
            return
        count = len(self._known)
        if count == len(self._ids):
            self._ids = torch.cat([self._ids, self._ids.new_empty(max(64, count))])
        self._ids[count] = token
        self._known.add(token)

    def ids(self) -> torch.Tensor:
        return self._ids[: len(self._known)]


class Crowd:
    """The pickers of a step by what they ask for: looked through once, until a turn comes or goes."""

    def __init__(self, pickers: Sequence[Picker], device: torch.device) -> None:
        rows = list(enumerate(pickers))
        self.reporting = [row for row in rows if row[1].choice.top_logprobs is not None]
        self.penalised = [row for row in rows if row[1].choice.repetition_penalty != 1]
        self.shifted = [row for row in rows if row[1].shifts or not row[1].is_forgetful]
        self.noting = [row for row in rows if not row[1].is_forgetful]
        sampled = [row for row in rows if row[1].choice.temperature > _COLDEST]
        self.lottery = _Lottery(sampled, device) if sampled else None


class _Lottery:
    """Those of a crowd that draw their tokens."""

    def __init__(self, sampled: Sequence[tuple[int, Picker]], device: torch.device) -> None:
        self.pickers = [picker for _, picker in sampled]
        choices = [picker.choice for picker in self.pickers]
        self.rows = upload([row for row, _ in sampled], torch.long, device)
        self.temperatures = upload([[choice.temperature] for choice in choices], torch.float32, device)
        self.top_p = upload([[choice.top_p] for choice in choices], torch.float64, device)
        top_k = [min(choice.top_k or _UNBOUNDED, _UNBOUNDED) for choice in choices]
        self.top_k = upload([[most] for most in top_k], torch.long, device)
        self.most = max(top_k)
        self.is_open = all(choice.top_k == 0 and choice.top_p >= 1 for choice in choices)
        """All tokens take part."""


def prepare_picking(device: torch.device) -> None:
    """Compile what the first step would wait for."""
    if _is_compiled(device):
        import tercet_engine.decoder.compiled_peaks  # noqa: PLC0415, F401 - compiles


def pick(logits: torch.Tensor, crowd: Crowd) -> list[Picked | None]:
    """One token for each row of (turns, vocabulary); None where the scores are not numbers.

    Overwrites `logits`; the tokens are noted in their pickers.
    """
    logprobs = [(row, picker.choice, logits[row].log_softmax(-1)) for row, picker in crowd.reporting]
    _penalise(logits, crowd.penalised)
    _shift(logits, crowd.shifted)
    best = _find_best(logits)
    if (lottery := crowd.lottery) is not None:
        best[lottery.rows] = _sample(logits, lottery).masked_fill(best[lottery.rows] < 0, _NOT_A_TOKEN)
    tokens = best.tolist()  # one transfer, so that a GPU is waited for once
    picked = [_name(token) if token >= 0 else None for token in tokens]
    for row, choice, chances in logprobs:
        if tokens[row] >= 0:
            picked[row] = _describe(tokens[row], chances, choice)
    for row, picker in crowd.noting:
        if tokens[row] >= 0:
            picker.note(tokens[row])
    return picked


_name = lru_cache(_KNOWN)(Picked)
"""A token without probabilities: the same ones come again and again."""


def _find_best(logits: torch.Tensor) -> torch.Tensor:
    """(turns,): the token with the highest score; `_NOT_A_TOKEN` where the scores are not numbers."""
    if _is_compiled(logits.device):
        from tercet_engine.decoder.compiled_peaks import find_best  # noqa: PLC0415 - compiles

        return find_best(logits)
    peaks, best = logits.max(-1)
    return best.masked_fill(~peaks.isfinite(), _NOT_A_TOKEN)


def _is_compiled(device: torch.device) -> bool:
    return device.type == "cpu" and has_runtime()


def _describe(token: int, logprobs: torch.Tensor, choice: Choice) -> Picked:
    values, ids = logprobs.topk(min(choice.top_logprobs or 0, len(logprobs)))
    return Picked(
        token=token,
        logprob=float(logprobs[token]),
        top=tuple(zip(ids.tolist(), values.tolist(), strict=True)),
    )


def _penalise(logits: torch.Tensor, penalised: Sequence[tuple[int, Picker]]) -> None:
    """Repetition penalty: positive scores are divided by it, negative ones multiplied."""
    said = [(row, picker.said(), picker.choice.repetition_penalty) for row, picker in penalised]
    said = [(row, ids, penalty) for row, ids, penalty in said if len(ids)]
    if not said:
        return
    at = torch.cat([ids + row * logits.shape[1] for row, ids, _ in said])
    lengths = [len(ids) for _, ids, _ in said]
    counts = upload(lengths, torch.long, logits.device)
    penalties = upload([penalty for _, _, penalty in said], torch.float32, logits.device)
    penalty = penalties.repeat_interleave(counts, output_size=sum(lengths))
    flat = logits.view(-1)
    scores = flat[at]
    flat[at] = torch.where(scores < 0, scores * penalty, scores / penalty)


def _shift(logits: torch.Tensor, shifted: Sequence[tuple[int, Picker]]) -> None:
    """Presence and frequency penalties, bias, suppressed tokens: all are added."""
    at: list[int] = []
    shifts: list[float] = []
    for row, picker in shifted:
        for token, shift in picker.shifts.items():
            at.append(row * logits.shape[1] + token)
            shifts.append(shift)
    if at:
        device = logits.device
        logits.view(-1).index_add_(0, upload(at, torch.long, device), upload(shifts, torch.float32, device))


def _sample(logits: torch.Tensor, lottery: _Lottery) -> torch.Tensor:
    """Draw a token for each of its rows."""
    device = logits.device
    draws = upload([[picker.draw()] for picker in lottery.pickers], torch.float64, device)
    scores = logits[lottery.rows] / lottery.temperatures
    if lottery.is_open:
        return _index_at(scores.double().softmax(-1), draws)
    top_k, top_p = lottery.top_k, lottery.top_p
    values, ids = _candidates(scores, top_k, top_p, most=lottery.most)
    ranks = torch.arange(values.shape[1], device=device)
    chances = values.double().masked_fill(ranks >= top_k, float("-inf")).softmax(-1)
    before = chances.cumsum(-1) - chances
    chances = chances.masked_fill((before >= top_p) & (ranks > 0), 0.0)
    return ids.gather(1, _index_at(chances, draws)[:, None])[:, 0]


def _candidates(
    scores: torch.Tensor, top_k: torch.Tensor, top_p: torch.Tensor, *, most: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """Scores and ids, highest first, of at least all tokens that top-k and top-p let through."""
    most = min(most, scores.shape[1])
    if most <= _SHORT_LIST:
        return scores.topk(most)
    values, ids = scores.topk(min(_SHORT_LIST, scores.shape[1]))
    mass = (values.logsumexp(-1) - scores.logsumexp(-1)).exp()[:, None]
    if bool(((mass >= top_p) | (top_k <= _SHORT_LIST)).all()):
        return values, ids
    return scores.sort(-1, descending=True)


def _index_at(chances: torch.Tensor, draws: torch.Tensor) -> torch.Tensor:
    """(turns, n) weights and (turns, 1) numbers in [0, 1) -> (turns,) the index where each number falls."""
    edges = chances.cumsum(-1)
    found = torch.searchsorted(edges, draws * edges[:, -1:], right=True)[:, 0]
    return found.clamp(max=chances.shape[1] - 1)
