"""The oracle: transformers' own model and processor on the demo checkpoint, and conversations to try it on.

A `Case` is written once and read twice: as the Turn and flat arrays that the gateway sends, and as the chat
that transformers' processor takes. What the oracle answers comes from its public `generate`; the two things
it does not return (codes, and the embeddings it starts from) are listened to with hooks.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from tercet_wire.messages import AudioPart, ChatMessage, ImagePart, Part, Sampling, TextPart, Turn, VideoPart
from torch import Tensor
from transformers import Qwen2_5OmniForConditionalGeneration, Qwen2_5OmniProcessor

Pixels = NDArray[np.uint8]
Samples = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Sound:
    samples: Samples


@dataclass(frozen=True, slots=True)
class Picture:
    pixels: Pixels  # (height, width, 3)


@dataclass(frozen=True, slots=True)
class Video:
    pixels: Pixels  # (frames, height, width, 3)
    fps: float = 2.0
    samples: Samples | None = None


Content = str | Sound | Picture | Video
Message = tuple[str, *tuple[Content, ...]]
"""A role, then what was said and shown."""


@dataclass(frozen=True, slots=True)
class Case:
    name: str
    messages: tuple[Message, ...]

    def contents(self) -> Iterator[Content]:
        return (content for message in self.messages for content in message[1:])

    def turn(self, sampling: Sampling | None = None) -> Turn:
        messages = tuple(
            ChatMessage.model_validate({"role": role, "content": tuple(map(_part, contents))})
            for role, *contents in self.messages
        )
        return Turn(messages=messages, sampling=sampling or Sampling(temperature=0.0))

    def pixels(self) -> Pixels:
        shown = [item.pixels.ravel() for item in self.contents() if isinstance(item, Picture | Video)]
        return np.concatenate([np.empty(0, np.uint8), *shown])

    def samples(self) -> Samples:
        return np.concatenate([np.empty(0, np.float32), *(samples for samples, _ in self.sounds())])

    def sounds(self) -> Iterator[tuple[Samples, int | None]]:
        """All sounds in order, each with the index of the video it belongs to."""
        videos = 0
        for item in self.contents():
            if isinstance(item, Sound):
                yield item.samples, None
            if isinstance(item, Video):
                if item.samples is not None:
                    yield item.samples, videos
                videos += 1


@dataclass(frozen=True, slots=True)
class ReferencePrompt:
    ids: Tensor  # (n,)
    positions: Tensor  # (3, n)
    next_position: int
    embeds: Tensor  # (n, hidden)


@dataclass(frozen=True, slots=True)
class ReferenceReply:
    """Greedy. `tokens` end with the end token unless the limit was reached; `codes` never hold theirs."""

    tokens: tuple[int, ...]
    codes: tuple[int, ...]


@dataclass(slots=True)
class Reference:
    """Loaded once for all tests. Not thread-safe: transformers keeps rope deltas on the model."""

    folder: Path
    model: Any
    processor: Any
    _replies: dict[tuple[str, int, str], ReferenceReply] = field(default_factory=dict)

    @classmethod
    def load(cls, folder: Path) -> "Reference":
        return cls(
            folder,
            Qwen2_5OmniForConditionalGeneration.from_pretrained(folder).eval(),
            Qwen2_5OmniProcessor.from_pretrained(folder),
        )

    def inputs(self, case: Case) -> dict[str, Any]:
        """What transformers' processor makes of the conversation."""
        chat = [
            {"role": role, "content": [_chat_content(item) for item in contents]}
            for role, *contents in case.messages
        ]
        text = self.processor.apply_chat_template(chat, add_generation_prompt=True, tokenize=False)
        videos = [item for item in case.contents() if isinstance(item, Video)]
        owners = [owner for _, owner in case.sounds()]
        woven = any(owner is not None for owner in owners)
        fps = {item.fps for item in videos} or {2.0}
        assert len(fps) == 1, "transformers takes one frame rate for all videos of a call"
        inputs = self.processor(
            text=text,
            images=[item.pixels for item in case.contents() if isinstance(item, Picture)] or None,
            videos=[item.pixels for item in videos] or None,
            audio=[samples for samples, _ in case.sounds()] or None,
            load_audio_from_video=woven,
            audio_from_video_indices=owners if woven else None,
            videos_kwargs={"fps": fps.pop()},
            return_tensors="pt",
        )
        return {**inputs, "use_audio_in_video": woven}

    def prompt(self, case: Case) -> ReferencePrompt:
        inputs = self.inputs(case)
        heard: list[Tensor] = []
        hook = self.model.thinker.model.language_model.register_forward_pre_hook(
            lambda _module, _args, kwargs: heard.append(kwargs["inputs_embeds"]), with_kwargs=True
        )
        with torch.no_grad(), hook:
            self.model.thinker(**inputs)
        mask = inputs.get("feature_attention_mask")
        positions, delta = self.model.thinker.get_rope_index(
            inputs["input_ids"],
            inputs.get("image_grid_thw"),
            inputs.get("video_grid_thw"),
            inputs["attention_mask"],
            inputs["use_audio_in_video"],
            None if mask is None else mask.sum(-1),
            inputs.get("video_second_per_grid"),
        )
        ids = inputs["input_ids"][0]
        return ReferencePrompt(ids, positions[:, 0], len(ids) + int(delta), heard[0][0])

    def arguments(self, case: Case) -> dict[str, Any]:
        """The same for `generate`, which passes on to the talker what is not named as the thinker's."""
        return {
            f"thinker_{key}" if key.startswith("pixel") else key: value
            for key, value in self.inputs(case).items()
        }

    def reply(self, case: Case, *, tokens: int = 40, speaker: str = "Chelsie") -> ReferenceReply:
        """At most `tokens` tokens, and the codes for them, without decoding the sound."""
        key = (case.name, tokens, speaker)
        if key not in self._replies:
            self._replies[key] = self._generate(_left_padded(self.arguments(case)), tokens, speaker)
        return self._replies[key]

    def _generate(self, arguments: dict[str, Any], tokens: int, speaker: str) -> ReferenceReply:
        codes: list[Tensor] = []
        token2wav = self.model.token2wav
        decode = token2wav.forward

        def listen(code: Tensor, **_: object) -> Tensor:
            codes.append(code[0])
            return torch.zeros(1)

        token2wav.forward = listen
        try:
            sequences, _ = self.model.generate(
                **arguments,
                speaker=speaker,
                thinker_do_sample=False,
                thinker_max_new_tokens=tokens,
                talker_do_sample=False,
                talker_top_k=None,
                talker_top_p=None,
                talker_temperature=None,
                talker_max_new_tokens=8 * tokens,
            )
        finally:
            token2wav.forward = decode
        reply = sequences[0, arguments["input_ids"].shape[1] :]
        return ReferenceReply(tuple(reply.tolist()), tuple(codes[0].tolist()))


def _left_padded(arguments: dict[str, Any]) -> dict[str, Any]:
    """One masked token in front of the prompt.

    Where nothing is padded, transformers 5.23 drops the attention mask before the talker's first step, and
    the talker adds the codec pad and start and sets TMRoPE positions only where it has one.
    """
    ids, mask = arguments["input_ids"], arguments["attention_mask"]
    padded = {
        "input_ids": torch.cat([ids[:, :1], ids], dim=1),
        "attention_mask": torch.cat([torch.zeros_like(mask[:, :1]), mask], dim=1),
    }
    return arguments | padded


def _part(content: Content) -> Part:
    match content:
        case str():
            return TextPart(text=content)
        case Sound():
            return AudioPart(samples=len(content.samples))
        case Picture():
            height, width, _ = content.pixels.shape
            return ImagePart(height=height, width=width)
        case Video():
            frames, height, width, _ = content.pixels.shape
            samples = 0 if content.samples is None else len(content.samples)
            return VideoPart(frames=frames, height=height, width=width, fps=content.fps, samples=samples)


def _chat_content(content: Content) -> dict[str, Any]:
    match content:
        case str():
            return {"type": "text", "text": content}
        case Sound():
            return {"type": "audio", "audio": content.samples}
        case Picture():
            return {"type": "image", "image": content.pixels}
        case Video():
            return {"type": "video", "video": content.pixels}


# --- the conversations ---------------------------------------------------------------------------


def sound(seconds: float, seed: int = 0) -> Samples:
    """A wavering tone in noise."""
    time = np.arange(int(seconds * 16_000)) / 16_000
    tone = np.sin(2 * np.pi * (220 + 40 * seed + 30 * np.sin(3 * time)) * time)
    noise = np.random.default_rng(seed).normal(size=time.shape)
    samples: Samples = (0.2 * tone + 0.02 * noise).astype(np.float32)
    return samples


def pixels(*shape: int, seed: int = 0) -> Pixels:
    return np.random.default_rng(seed).integers(0, 256, (*shape, 3), dtype=np.uint8)


def silent(frames: int, height: int = 40, width: int = 64, *, fps: float = 2.0, seed: int = 0) -> Video:
    return Video(pixels(frames, height, width, seed=seed), fps)


def woven(frames: int, seconds: float, *, fps: float = 2.0, seed: int = 0) -> Video:
    return Video(pixels(frames, 48, 40, seed=seed), fps, sound(seconds, seed))


def _case(name: str, *messages: Message) -> Case:
    return Case(name, messages)


def _user(name: str, *contents: Content) -> Case:
    return Case(name, (("user", *contents),))


_SPEECH_PROMPT = (
    "You are Qwen, a virtual human developed by the Qwen Team, Alibaba Group, capable of perceiving auditory "
    "and visual inputs, as well as generating text and speech."
)

CASES: tuple[Case, ...] = (
    _user("a word", "Hi"),
    _user("a question", "What is the weather like today?"),
    _user("a long text", "Tell me about the sea, the ships and the men on them. " * 8),
    _user("other scripts", "Grüße, 你好, مرحبا 🎉"),
    _user("blank lines and spaces", "\n\n  one\n\ttwo  \n"),
    _user("text in two parts", "Listen", " to me."),
    _case("a system prompt", ("system", _SPEECH_PROMPT), ("user", "Who are you?")),
    _case("an earlier reply", ("user", "Hello"), ("assistant", "Good day!"), ("user", "And now?")),
    _user("a sound", Sound(sound(1.7)), "What do you hear?"),
    _user("a very short sound", Sound(sound(0.05))),
    _user("a sound of whole blocks", Sound(sound(4.0))),
    _user("a long sound after text", "Listen: ", Sound(sound(7.31))),
    _user("two sounds", Sound(sound(0.9)), "or", Sound(sound(2.3, seed=1)), "?"),
    _user("a picture", Picture(pixels(60, 84)), "What is this?"),
    _user("a wide picture", Picture(pixels(30, 300))),
    _user("a large picture", Picture(pixels(700, 500)), "And this?"),
    _user("two pictures", Picture(pixels(56, 56)), "and", Picture(pixels(90, 40, seed=1)), "differ?"),
    _user("a picture and a sound", Picture(pixels(50, 50)), Sound(sound(1.0)), "Do they match?"),
    _user("a silent video", silent(4), "What happens?"),
    _user("a video of odd length", silent(5, 30, 30)),
    _user("a slow video", silent(6, fps=1.0)),
    _user("a video at a broken rate", silent(8, fps=1.7)),
    _user("two silent videos", silent(2), "then", silent(4, 64, 40, seed=1)),
    _user("a silent video and a sound", silent(2), Sound(sound(1.2)), "?"),
    _user("a video with sound", woven(4, 2.0), "What was said?"),
    _user("a video with sound over three chunks", woven(10, 5.0)),
    _user("a video whose sound goes on", woven(4, 5.3), "Why?"),
    _user("a video whose sound stops early", woven(10, 0.7), "Why?"),
    _user("a click beside a large frame", woven(2, 0.1), "What was it?"),
    _user("a slow video with sound", woven(4, 8.0, fps=0.5)),
    _user("two videos with sound", woven(4, 2.0), "then", woven(6, 3.1, seed=1)),
    _user(
        "everything at once",
        Picture(pixels(40, 40)),
        Sound(sound(0.8)),
        woven(4, 2.2),
        Sound(sound(0.5)),
        "?",
    ),
    _case(
        "four turns with media",
        ("user", Sound(sound(1.1)), "Who speaks?"),
        ("assistant", "A bird."),
        ("user", Picture(pixels(64, 64)), "This one?"),
        ("assistant", "No, another."),
        ("user", woven(4, 2.0), "Then this?"),
        ("assistant", "Yes."),
        ("user", "Thank you!"),
    ),
    _case(
        "four turns of text",
        ("system", _SPEECH_PROMPT),
        ("user", "One?"),
        ("assistant", "Two."),
        ("user", "Three?"),
        ("assistant", "Four."),
        ("user", "Five?"),
        ("assistant", "Six."),
        ("user", "Seven?"),
    ),
)
