"""transformers on the same weights, as its users run it: `generate` with SDPA, in the same number format.

Replies have exactly the length that the stages' have. A call that takes longer than `peer_s` in one of its
networks is cut there, and its figures are then bounds.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from tercet_wire.names import CODES_PER_S, SAMPLE_RATE_HZ
from transformers import AutoProcessor, Qwen2_5OmniForConditionalGeneration

from bench.engine.decoding import step_time
from bench.engine.engines import Engines
from bench.engine.models import build_model, read_config
from bench.engine.plans import Plan
from bench.engine.records import Recorder
from bench.engine.roof import wait_for
from bench.engine.speaking import REPLY_ROWS
from bench.engine.turns import VOICE, build_turn


def measure(engines: Engines, record: Recorder) -> None:
    engines.close()
    plan = engines.plan
    peer = Peer(plan)
    amounts = plan.amounts
    for turns in amounts.thinker_turns:
        peer.think(turns, amounts.warm_tokens)
        step_s = step_time(amounts, partial(peer.think, turns), amounts.long_rounds)
        record.add("transformers, thinker", turns / step_s, "tok/s", turns=turns)
    peer.speak(1, tokens=4, codes=12)
    for turns in amounts.peer_turns:
        _record(record, turns, *peer.speak(turns, tokens=_tokens(plan), codes=amounts.reply_codes))


def _tokens(plan: Plan) -> int:
    return max(plan.amounts.reply_tokens, REPLY_ROWS + 2)


def _record(record: Recorder, turns: int, parts: dict[str, float], audio_s: float, wanted_s: float) -> None:
    facts = {"turns": turns, "cut": audio_s < 0.99 * wanted_s}
    wall_s = sum(parts.values())
    record.add("transformers, time to audio", 1000 * wall_s, "ms", **facts)
    record.add("transformers, RTF", wall_s * turns / audio_s, "", **facts)
    record.add("transformers, turns", turns / wall_s, "/s", **facts)
    for name, seconds in parts.items():
        record.add(f"transformers, {name}", 1000 * seconds, "ms", **facts)
    record.add("transformers, talker", audio_s * CODES_PER_S / parts["talker"], "codes/s", **facts)


class Peer:
    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._device = torch.device(plan.device)
        self._model = _load(plan, self._device)
        self._processor: Any = AutoProcessor.from_pretrained(plan.weights)

    def think(self, turns: int, tokens: int) -> float:
        """Seconds of the thinker alone."""
        inputs = self._inputs(turns)
        wait_for(self._device)
        started = time.perf_counter()
        self._model.thinker.generate(
            **inputs,
            max_new_tokens=tokens,
            min_new_tokens=tokens,
            do_sample=False,
            max_time=self._plan.peer_s,
        )
        wait_for(self._device)
        return time.perf_counter() - started

    def speak(self, turns: int, *, tokens: int, codes: int) -> tuple[dict[str, float], float, float]:
        """From text in to sound out: seconds of each network, seconds of sound made, and of sound wanted."""
        parts: dict[str, float] = {}
        started = time.perf_counter()
        with (
            self._timed(self._model.thinker, "generate", "thinker", parts),
            self._timed(self._model.talker, "generate", "talker", parts),
        ):
            _, sound = self._model.generate(
                **self._inputs(turns),
                speaker=VOICE,
                thinker_max_new_tokens=tokens,
                thinker_min_new_tokens=tokens,
                thinker_do_sample=False,
                thinker_max_time=self._plan.peer_s,
                talker_max_new_tokens=codes,
                talker_min_new_tokens=codes,
                talker_max_time=self._plan.peer_s,
            )
        waves = [sound] if turns == 1 else sound
        samples = sum(wave.cpu().numel() for wave in waves)
        parts["code2wav and the rest"] = time.perf_counter() - started - sum(parts.values())
        return parts, samples / SAMPLE_RATE_HZ, turns * codes / CODES_PER_S

    def _inputs(self, turns: int) -> dict[str, torch.Tensor]:
        turn = build_turn(self._plan.amounts.prompt_letters, tokens=1)
        chat = [
            {"role": message.role, "content": [part.model_dump() for part in message.content]}
            for message in turn.messages
        ]
        text = self._processor.apply_chat_template(chat, add_generation_prompt=True, tokenize=False)
        inputs = self._processor(text=[text] * turns, return_tensors="pt", padding=True)
        return {name: values.to(self._device) for name, values in inputs.items()}

    @contextmanager
    def _timed(self, owner: Any, name: str, label: str, parts: dict[str, float]) -> Iterator[None]:
        """Have the method's time noted while this lasts."""
        method: Callable[..., Any] = getattr(owner, name)

        def timed(*args: Any, **kwargs: Any) -> Any:
            started = time.perf_counter()
            result = method(*args, **kwargs)
            wait_for(self._device)
            parts[label] = time.perf_counter() - started
            return result

        setattr(owner, name, timed)
        try:
            yield
        finally:
            delattr(owner, name)


# Any: transformers' classes set their fields dynamically.
def _load(plan: Plan, device: torch.device) -> Any:
    if plan.checkpoint is None:  # the same draw as in the files
        model = build_model(read_config(plan.model), device, plan.torch_dtype)
        model.load_speakers(plan.folder / "spk_dict.pt")
        return model
    model = Qwen2_5OmniForConditionalGeneration.from_pretrained(
        plan.checkpoint, dtype=plan.torch_dtype, attn_implementation="sdpa"
    )
    return model.to(device).eval()
