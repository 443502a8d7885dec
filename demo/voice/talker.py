"""Trains the talker: from the thinker's states, which are little more than its embeddings, to the codes of
a dictation.

The rows are those of the reference: the prompt's states, the speaker's token with codec pad, the first
state of the reply with codec start, then a state and the code before it for each step, the text's end once
and padding from there on. Some of the codes that it is fed are wrong, since its own will be.
"""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import torch
from tercet_engine.demo.vocabulary import SPEAKERS, TOKENS
from torch import Tensor, nn
from torch.nn import functional
from transformers.models.qwen2_5_omni.modeling_qwen2_5_omni import Qwen2_5OmniTalkerForConditionalGeneration

from demo.attention import choose_attention
from demo.thinker.model import HIDDEN_SHARE
from demo.training import Recipe, in_16_bits, train
from demo.voice.codec import read_centroids
from demo.voice.dictation import Dictation, read_dictation
from demo.voice.prompts import Prompts, read_prompts
from demo.voice.synthesis import CHELSIES_SHARE, VOICES

_WRONG: Final = 0.1
_SHORT_PROMPT: Final = 16
_LONG_PROMPT: Final = 640
_LONG_EVERY: Final = 4
"""Each fourth batch, a smaller one, has whole prompts; the others only their last rows, which cost less."""
_LONG_SHARE: Final = 4
_SLACK: Final = 8
"""Batches are cut out of this many batches' worth of utterances, sorted by length."""
_MOST_CODES: Final = 400
_FURTHER_SHARE: Final = 0.4
"""Of the rates, for one that is trained already: at a tenth 500 steps changed nothing."""
_EVENNESS: Final = 1e-3
"""Keeps the logits' log-sum near zero, where the repetition penalty on codes does no harm."""


def train_talker(
    config: Any,
    embeddings: Tensor,
    folder: Path,
    *,
    device: torch.device,
    seconds: float,
    batch: int,
    begin: dict[str, Tensor] | None = None,
) -> dict[str, Tensor]:
    """`embeddings` are the thinker's (vocabulary, hidden), zero for pictures, sounds and videos.

    `begin` is what an earlier training made, to go on from there at a lower rate.
    """
    net = Qwen2_5OmniTalkerForConditionalGeneration._from_config(
        config, attn_implementation=choose_attention(device)
    )
    if begin is not None:
        net.load_state_dict(begin)
    net = net.to(device).train()
    prompts, said = read_prompts(folder).to(device), read_dictation(folder).to(device)
    lines = Lines(net.config, embeddings.to(device), prompts, said)
    near = _find_neighbours(read_centroids(folder)).to(device)
    lesson = _Lesson(net, lines, near, batch)
    share = 1.0 if begin is None else _FURTHER_SHARE
    recipe = Recipe(seconds=seconds, rate=share * 8e-4, matrix_rate=share * 2.4e-3, decay=0.05)
    weights = train("talker", net, folder, recipe, lesson.measure)
    lesson.sayable.share_row(weights["codec_head.weight"])
    return weights


@dataclass(frozen=True, slots=True, kw_only=True)
class Rows:
    """A padded batch: `states` (batch, rows, hidden), `codes` and `targets` (batch, rows), -1 for none."""

    states: Tensor
    codes: Tensor
    targets: Tensor
    positions: Tensor  # (3, batch, rows)


class _Lesson:
    def __init__(self, net: Any, lines: "Lines", near: Tensor, batch: int) -> None:
        """`near`: the centroids that sound most like each."""
        self._net, self._batch, self._near = net, batch, near
        self.lines = lines
        self.sayable = Sayable(net.codec_head, len(near), net.config.tts_codec_end_token_id)
        self._steps = 0
        self._queue: list[Tensor] = []

    def measure(self, progress: float) -> dict[str, Tensor]:
        del progress
        self._steps += 1
        is_long = self._steps % _LONG_EVERY == 0
        chosen = self._next_batch()
        if is_long:
            chosen = chosen[: max(1, len(chosen) // _LONG_SHARE)]
        rows = self.lines.lay_out(chosen, _LONG_PROMPT if is_long else _SHORT_PROMPT)
        logits, targets = self._speak(rows)
        sums = logits.logsumexp(-1)
        loss = functional.cross_entropy(logits, targets)
        with torch.no_grad():
            right = (logits.argmax(-1) == targets).float().mean()
        return {"loss": loss + _EVENNESS * sums.square().mean(), "codes": loss, "right": right}

    def _next_batch(self) -> Tensor:
        if not self._queue:
            device = self._near.device
            count = _SLACK * self._batch
            talks = torch.randint(self.lines.count // len(VOICES), (count,), device=device)
            voices = (torch.rand(count, device=device) >= CHELSIES_SHARE).long()
            many = talks * len(VOICES) + voices
            ordered = many[self.lines.lengths(many).argsort()]
            parts = list(torch.split(ordered, self._batch))
            self._queue = [parts[i] for i in torch.randperm(len(parts)).tolist()]
        return self._queue.pop()

    def _speak(self, rows: Rows) -> tuple[Tensor, Tensor]:
        net = self._net
        with in_16_bits(rows.states.device):
            spoken = net.model.embed_tokens(self._blur(rows.codes).clamp(min=0))
            spoken = spoken * (rows.codes >= 0)[..., None]
            blurred = rows.states + HIDDEN_SHARE * rows.states.std() * torch.randn_like(rows.states)
            inputs = net.thinker_to_talker_proj(blurred + spoken)
            hidden = net.model(inputs_embeds=inputs, position_ids=rows.positions, use_cache=False)[0]
            wanted = rows.targets >= 0
            logits = self.sayable.score(hidden[wanted])
        return logits, self.sayable.find(rows.targets[wanted])

    def _blur(self, codes: Tensor) -> Tensor:
        """Exchange some codes for others, half of them for ones that sound alike."""
        fate = torch.rand(codes.shape, device=codes.device)
        is_sound = (codes > 0) & (codes <= len(self._near))
        at = (codes - 1).clamp(0, len(self._near) - 1)
        alike = self._near[at, torch.randint(self._near.shape[1], codes.shape, device=codes.device)] + 1
        random = torch.randint(1, len(self._near) + 1, codes.shape, device=codes.device)
        codes = torch.where(is_sound & (fate < _WRONG), alike, codes)
        return torch.where(is_sound & (fate < _WRONG / 2), random, codes)


class Sayable:
    """The codes that are ever said: the sounds and the end. All others, most of the head, share one row of
    it, which is scored once.
    """

    def __init__(self, head: nn.Linear, sounds: int, end: int) -> None:
        said = torch.arange(1, sounds + 1)
        self._sounds = sounds
        self._others = torch.tensor(sorted(set(range(head.out_features)) - {*said.tolist(), end}))
        self._rows = torch.cat([said, torch.tensor([end]), self._others[:1]]).to(head.weight.device)
        self._head = head

    def score(self, hidden: Tensor) -> Tensor:
        """(n, hidden) -> (n, sounds + 2): the sounds, the end, and all others together."""
        logits = functional.linear(hidden, self._head.weight[self._rows]).float()
        return torch.cat([logits[:, :-1], logits[:, -1:] + math.log(len(self._others))], 1)

    def find(self, codes: Tensor) -> Tensor:
        """The columns of `score` that these codes, sounds or ends, stand in."""
        return torch.where(codes <= self._sounds, codes - 1, self._sounds)

    def share_row(self, weight: Tensor) -> None:
        weight[self._others] = weight[self._others[0]].clone()


class Lines:
    """What is dictated, as the talker's rows; line i is conversation i // voices in voice i % voices."""

    def __init__(self, config: Any, embeddings: Tensor, prompts: Prompts, dictation: Dictation) -> None:
        self._config, self._embeddings, self._prompts = config, embeddings, prompts
        self._codes, self._starts = dictation.codes, dictation.starts
        self._voices = torch.tensor([SPEAKERS[voice.name] for voice in VOICES], device=self._codes.device)
        self.count = len(prompts.texts_of) * len(VOICES)

    def lengths(self, lines: Tensor) -> Tensor:
        utterances = self._utterance(lines)
        return self._starts[utterances + 1] - self._starts[utterances]

    def lay_out(self, lines: Tensor, most_prompt: int) -> Rows:
        held, config = self._prompts, self._config
        talks, voices, utterances = lines // len(VOICES), lines % len(VOICES), self._utterance(lines)
        prompt_ends = held.prompt_starts[talks + 1]
        prompts = (prompt_ends - held.prompt_starts[talks]).clamp(max=most_prompt)
        replies = held.reply_starts[talks + 1] - held.reply_starts[talks]
        spoken = self.lengths(lines).clamp(max=_MOST_CODES)
        width = int((prompts + 2 + spoken).max())
        at = torch.arange(width, device=lines.device) - prompts[:, None]  # 0 at the speaker's token
        before, step = at < 0, at - 1

        row = (prompt_ends[:, None] + at).clamp(0, len(held.ids) - 1)
        said = (held.reply_starts[talks][:, None] + step).clamp(0, len(held.replies) - 1)
        ids = torch.where(step < replies[:, None], held.replies[said], TOKENS["<|tts_text_pad|>"])
        ids = torch.where(step == replies[:, None], TOKENS["<|tts_text_eos|>"], ids)
        ids = torch.where(at == 0, self._voices[voices][:, None], ids)
        ids = torch.where(before, held.ids[row], ids)

        def code_at(place: Tensor) -> Tensor:
            return self._codes[(self._starts[utterances][:, None] + place).clamp(0, len(self._codes) - 1)]

        count = spoken[:, None]
        codes = torch.where(step - 1 < count, code_at(step - 1), config.tts_codec_pad_token_id)
        codes = torch.where(step == 0, config.tts_codec_start_token_id, codes)
        codes = torch.where(at == 0, config.tts_codec_pad_token_id, codes).masked_fill(before, -1)
        targets = torch.where(step < count, code_at(step), -1)
        targets = torch.where(step == count, config.tts_codec_end_token_id, targets).masked_fill(at < 1, -1)

        going_on = (held.next_positions[talks][:, None] + at)[None].expand(3, -1, -1)
        positions = torch.where(before, held.positions[:, row].long(), going_on)
        return Rows(states=self._embeddings[ids], codes=codes, targets=targets, positions=positions)

    def _utterance(self, lines: Tensor) -> Tensor:
        return self._prompts.texts_of[lines // len(VOICES)] * len(VOICES) + lines % len(VOICES)


def _find_neighbours(centroids: Tensor, count: int = 6) -> Tensor:
    """(centroids, count): the nearest others of each."""
    return torch.cdist(centroids, centroids).topk(count + 1, largest=False).indices[:, 1:]
