"""`python -m bench.sizing`: what memory each stage of the published models needs, as docs/sizing.md shows it.

Computed, not measured: weights are counted (`architecture`), keys and values follow from the decoder's shape
and from what a turn holds at most, and what nobody can count beforehand stands here as an assumption. A test
compares the page with what this prints.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from tercet_engine.code2wav.schedule import build_schedule
from tercet_engine.code2wav.windows import BLOCK_FRAMES
from tercet_engine.decoder.shape import DecoderShape, read_shape
from tercet_wire.names import Stage

from bench.architecture import Values, build_3b, build_7b, count_values

GIB: Final = 2**30
MIB: Final = 2**20
KIB: Final = 2**10
HALF: Final = 2
"""Bytes of a value in bfloat16 or float16."""
FULL: Final = 4
INT4: Final = 0.5 + (2 + 0.5) / 128
"""The same in four bits, with a 16-bit scale and a 4-bit zero for each group of 128."""

REPLY_TOKENS: Final = 1024
"""Of a reply in the thinker, where neither the request nor the checkpoint says less."""
CODES: Final = 4096
"""Of speech in the talker, where the request does not say: 82 seconds."""
SPEAKER_ROWS: Final = 2
"""Between prompt and codes."""
PROMPTS: Final = (512, 2048, 8192, 24_576)

RUNTIME: Final = GIB // 2
"""Assumed, for each process on a GPU: CUDA's context, kernels, cuBLAS."""
WORKSPACE: Final = {Stage.THINKER: 3 * GIB, Stage.TALKER: GIB, Stage.CODE2WAV: GIB}
"""Assumed, for what a step computes with; media of a hundred megapixels need more of the thinker."""
TURNS: Final = 32
TYPICAL_PROMPT: Final = PROMPTS[0]


@dataclass(frozen=True, slots=True, kw_only=True)
class Model:
    name: str
    config: Any  # transformers' classes set their fields dynamically
    values: Values

    def shape(self, stage: Stage) -> DecoderShape:
        configs = {
            Stage.THINKER: self.config.thinker_config.text_config,
            Stage.TALKER: self.config.talker_config,
        }
        return read_shape(configs[stage])

    def weight_bytes(self, stage: Stage) -> int:
        """In the number format that is served: code2wav has full precision whatever `dtype` says."""
        return self.values.on_device[stage] * (FULL if stage is Stage.CODE2WAV else HALF)

    def token_bytes(self, stage: Stage) -> int:
        return self.shape(stage).kv_values * HALF

    def turn_bytes(self, stage: Stage, prompt: int) -> int:
        """What one spoken turn holds at most."""
        if stage is Stage.CODE2WAV:
            return past_bytes(self.config.token2wav_config.dit_config)
        tokens = prompt + (REPLY_TOKENS if stage is Stage.THINKER else SPEAKER_ROWS + CODES - 1)
        return tokens * self.token_bytes(stage)

    def state_bytes(self, stage: Stage, turns: int) -> int:
        """A step of code2wav reads its turns' state as one batch, and writes the next beside it."""
        copies = 3 if stage is Stage.CODE2WAV else 1
        return copies * turns * self.turn_bytes(stage, TYPICAL_PROMPT)


def past_bytes(dit: Any) -> int:
    """Look-back keys and values of one block, for every evaluation of the default solver, both passes."""
    evaluations = build_schedule("rk4", 10).evaluations
    looking_back = len(dit.look_backward_layers)
    return int(evaluations * looking_back * 2 * BLOCK_FRAMES * 2 * dit.hidden_size * FULL)


def render_tables(models: Sequence[Model]) -> str:
    return "\n\n".join(
        (
            _render("Weights", _list_weights(models)),
            _render("Keys and values", _list_tokens(models)),
            _render("One turn", _list_turns(models)),
            _render(f"A GPU of its own, {TURNS} turns", _list_totals(models)),
            _render("Files and host", _list_files(models)),
        )
    )


Rows = Iterator[Sequence[str]]


def _list_weights(models: Sequence[Model]) -> Rows:
    yield ("model", "stage", "parameters on the device", "bfloat16", "float32", "int4 (not offered)")
    for model in models:
        for stage in Stage:
            count = model.values.on_device[stage]
            served = "-" if stage is Stage.CODE2WAV else format_gib(count * HALF)
            smaller = "-" if stage is Stage.CODE2WAV else format_gib(_quantised_bytes(model.values, stage))
            yield (model.name, stage, f"{count / 1e6:,.0f} M", served, format_gib(count * FULL), smaller)


def _quantised_bytes(values: Values, stage: Stage) -> float:
    """Only the decoder layers' matrices; embeddings, head, encoders and norms stay at 16 bits."""
    matrices = values.in_matrices[stage]
    return matrices * INT4 + (values.on_device[stage] - matrices) * HALF


def _list_tokens(models: Sequence[Model]) -> Rows:
    yield ("model", "stage", "layers x 2 x heads x width", "bytes a token", "tokens in 1 GiB")
    for model in models:
        for stage in (Stage.THINKER, Stage.TALKER):
            shape, size = model.shape(stage), model.token_bytes(stage)
            product = f"{shape.layers} x 2 x {shape.kv_heads} x {shape.head_dim}"
            yield (model.name, stage, product, f"{size / KIB:.0f} KiB", f"{GIB // size:,}")


def _list_turns(models: Sequence[Model]) -> Rows:
    yield ("prompt", *(f"{model.name} {stage}" for model in models for stage in Stage))
    for prompt in PROMPTS:
        sizes = (model.turn_bytes(stage, prompt) for model in models for stage in Stage)
        yield (f"{prompt:,} tokens", *(f"{size / MIB:,.0f} MiB" for size in sizes))


def _list_totals(models: Sequence[Model]) -> Rows:
    yield ("model", "stage", "weights", f"state of {TURNS} turns", "workspace, assumed", "together")
    for model in models:
        for stage in Stage:
            weights, state = model.weight_bytes(stage), model.state_bytes(stage, TURNS)
            work = RUNTIME + WORKSPACE[stage]
            yield (
                model.name,
                stage,
                format_gib(weights),
                format_gib(state),
                format_gib(work),
                format_gib(weights + state + work),
            )


def _list_files(models: Sequence[Model]) -> Rows:
    yield (
        "model",
        "weights on disk",
        "joined at load, thinker",
        "joined at load, talker",
        "code2wav, on the host",
    )
    for model in models:
        values = model.values
        joined = (format_gib(values.fused[stage] * HALF) for stage in (Stage.THINKER, Stage.TALKER))
        host = format_gib(values.on_host[Stage.CODE2WAV] * FULL)
        yield (model.name, f"{_file_bytes(values.in_files) / 1e9:.1f} GB", *joined, host)


def _file_bytes(counts: Mapping[Stage, int]) -> int:
    """As they are published: code2wav in float32, the rest in bfloat16."""
    return sum(count * (FULL if stage is Stage.CODE2WAV else HALF) for stage, count in counts.items())


def format_gib(size: float) -> str:
    return f"{size / GIB:.1f} GiB"


def _render(title: str, rows: Rows) -> str:
    return f"**{title}**\n\n{render_table(rows)}"


def render_table(rows: Rows) -> str:
    """In Markdown; the first row is the head."""
    head, *body = rows
    return "\n".join(f"| {' | '.join(row)} |" for row in (head, ["---"] * len(head), *body))


def read_models() -> tuple[Model, ...]:
    configs = {"7B": build_7b(), "3B": build_3b()}
    return tuple(
        Model(name=name, config=config, values=count_values(config)) for name, config in configs.items()
    )


if __name__ == "__main__":
    print(render_tables(read_models()))
