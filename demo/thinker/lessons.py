"""Conversations as padded batches for the thinker, prepared by the engine's own prompter in worker
processes.
"""

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, fields
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Final

import torch
from tercet_engine.checkpoint import Checkpoint
from tercet_engine.demo.vocabulary import TOKENS
from tercet_engine.prompts import Prepared, Prompter
from torch import Tensor
from torch.utils.data import DataLoader, IterableDataset, get_worker_info

from demo.conversations.conversing import SPEECH_PROMPT, Kind, draw_conversations
from demo.conversations.scenes import Conversation
from demo.media.rendering import render
from demo.media.sounds import SpokenPool
from demo.thinker.concepts import COUNT, list_seen

Draw = Callable[[int], Iterator[Conversation]]

_SORTED: Final = {"text": 256, "picture": 128, "sound": 128, "video": 48}
"""Batches are cut out of this many conversations, sorted by length."""
_MOST_WORKERS: Final = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Lesson:
    conversation: Conversation
    prepared: Prepared
    reply: list[int]
    """With the end token."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """Right-padded. `targets` are -1 but where a token of a reply is to be said next."""

    ids: Tensor  # (batch, rows)
    positions: Tensor  # (3, batch, rows)
    targets: Tensor  # (batch, rows)
    mels: Tensor  # (mel bins, frames of all sounds)
    mel_frames: Tensor  # (sounds,)
    images: Tensor  # (patches, values)
    image_grids: Tensor  # (images, 3)
    videos: Tensor
    video_grids: Tensor
    concepts: Tensor  # (sounds, images and videos, concepts), see `demo.thinker.concepts`

    def to(self, device: torch.device) -> "Batch":
        return Batch(
            **{each.name: getattr(self, each.name).to(device, non_blocking=True) for each in fields(self)}
        )


class Classroom:
    """Makes lessons out of conversations. `checkpoint` is of any demo: only its processor is used."""

    def __init__(self, checkpoint: Checkpoint, pool: SpokenPool) -> None:
        self._prompter = Prompter(checkpoint)
        self._pool = pool

    def prepare(self, conversation: Conversation) -> Lesson:
        rendered = render(conversation, self._pool)
        prepared = self._prompter.prepare(rendered.turn, rendered.pixels, rendered.samples)
        reply = [*conversation.reply.encode(), TOKENS["<|im_end|>"]]
        return Lesson(conversation=conversation, prepared=prepared, reply=reply)


def collate(lessons: Sequence[Lesson]) -> Batch:
    width = max(len(lesson.prepared.ids) + len(lesson.reply) - 1 for lesson in lessons)
    ids = torch.full((len(lessons), width), TOKENS["<|endoftext|>"])
    targets = torch.full((len(lessons), width), -1)
    positions = torch.zeros(3, len(lessons), width, dtype=torch.long)
    for row, lesson in enumerate(lessons):
        prepared, reply = lesson.prepared, torch.tensor(lesson.reply)
        prompt, end = len(prepared.ids), len(prepared.ids) + len(reply) - 1
        ids[row, :prompt], ids[row, prompt:end] = prepared.ids, reply[:-1]
        for first, last in _find_replies(ids[row, :end]):
            targets[row, first - 1 : last] = ids[row, first : last + 1]
        targets[row, end - 1] = reply[-1]
        positions[:, row, :prompt] = prepared.positions
        positions[:, row, prompt:] = prepared.next_position + torch.arange(width - prompt)
    sounds = [sound for lesson in lessons for sound in lesson.prepared.sounds]
    images = [image for lesson in lessons for image in lesson.prepared.images]
    videos = [video for lesson in lessons for video in lesson.prepared.videos]
    seen = [list_seen(lesson.conversation) for lesson in lessons]
    concepts = [marks for kind in range(3) for each in seen for marks in each[kind]]
    return Batch(
        ids=ids,
        positions=positions,
        targets=targets,
        mels=torch.cat([torch.empty(128, 0), *(sound.mel for sound in sounds)], 1),
        mel_frames=torch.tensor([sound.mel.shape[1] for sound in sounds], dtype=torch.long),
        images=torch.cat([torch.empty(0, 1176), *(image.values for image in images)]).bfloat16(),
        image_grids=torch.cat([torch.empty(0, 3, dtype=torch.long), *(image.grid_thw for image in images)]),
        videos=torch.cat([torch.empty(0, 1176), *(video.values for video in videos)]).bfloat16(),
        video_grids=torch.cat([torch.empty(0, 3, dtype=torch.long), *(video.grid_thw for video in videos)]),
        concepts=torch.stack([torch.zeros(COUNT), *concepts])[1:],
    )


def _find_replies(ids: Tensor) -> Iterator[tuple[int, int]]:
    """Where each of the assistant's messages begins and ends, its end token, or the last row, counted in."""
    called = torch.tensor([TOKENS["<|im_start|>"], *b"assistant\n"])
    starts = (ids.unfold(0, len(called), 1) == called).all(1).nonzero().flatten() + len(called)
    ends = (ids == TOKENS["<|im_end|>"]).nonzero().flatten().tolist()
    for start in starts.tolist():
        yield start, next((end for end in ends if end >= start), len(ids) - 1)


def _cut(lessons: Sequence[Lesson], most: int) -> Iterator[list[Lesson]]:
    """Batches of lessons of like length, each of at most so many rows that are not shared by all."""
    some: list[Lesson] = []
    for lesson in sorted(lessons, key=_count_rows):
        if some and (len(some) + 1) * _count_rows(lesson) > most:
            yield some
            some = []
        some.append(lesson)
    yield some


def _count_rows(lesson: Lesson) -> int:
    return len(lesson.prepared.ids) + len(lesson.reply) - len(SPEECH_PROMPT)


class _Stream(IterableDataset[Batch]):
    """Batches without end; each worker draws conversations of its own."""

    def __init__(
        self, checkpoint: Checkpoint, folder: Path, *, draw: Draw, kind: Kind, rows: int, seed: int
    ) -> None:
        self._checkpoint, self._folder, self._draw, self._kind = checkpoint, folder, draw, kind
        self._rows, self._seed = rows, seed

    def __iter__(self) -> Iterator[Batch]:
        torch.set_num_threads(1)
        worker = get_worker_info()
        classroom = Classroom(self._checkpoint, SpokenPool(self._folder))
        conversations = self._draw(1000 * self._seed + (worker.id if worker else 0))
        while True:
            many = [classroom.prepare(each) for each in islice(conversations, _SORTED[self._kind])]
            batches = [collate(some) for some in _cut(many, self._rows)]
            yield from (batches[i] for i in torch.randperm(len(batches)).tolist())


def stream_batches(
    checkpoint: Checkpoint, folder: Path, kind: Kind, *, draw: Draw | None = None, rows: int, seed: int
) -> Iterator[Batch]:
    """Of at most `rows` rows beside the system prompt, without end. All of one kind, so that rows are of like
    length; `draw` gives conversations of that kind by a seed, otherwise they are of all its topics.
    """
    drawn = draw or partial(draw_conversations, kind=kind)
    stream = _Stream(checkpoint, folder, draw=drawn, kind=kind, rows=rows, seed=seed)
    workers = max(1, min(_MOST_WORKERS, (os.cpu_count() or 1) // 4))
    return iter(DataLoader(stream, batch_size=None, num_workers=workers, prefetch_factor=3))
