"""The talker stage: projected states of the thinker in, codec tokens out.

Opened by its host through `load_talker`. The thinker has applied `thinker_to_talker_proj` to the states,
bias included; so the codec embeddings, which the reference adds before that layer, are projected here
without it, all at once at load. Of the thinker's weights only a few embedding rows are read.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import fields, replace
from typing import Any, Final

import torch
from tercet_wire.messages import StageFailure
from tercet_wire.settings import StageSettings, WindowSettings
from torch.nn import functional

from tercet_engine.checkpoint import Checkpoint, open_checkpoint
from tercet_engine.decoder.blocks import BlockPool
from tercet_engine.decoder.model import Decoder
from tercet_engine.decoder.reply import Outlet, Portion
from tercet_engine.decoder.sampling import Defaults
from tercet_engine.decoder.shape import read_shape
from tercet_engine.decoder.uploads import upload
from tercet_engine.decoder_engine import build_engine, read_dtype
from tercet_engine.stage import StageEngine, StageError, TalkerInput, TalkerOutput
from tercet_engine.talker_reply import CodecIds, TalkerReply, TalkerTables

_DEFAULTS: Final = Defaults(temperature=0.9, top_k=40, top_p=0.8, repetition_penalty=1.05)


def load_talker(settings: StageSettings) -> StageEngine[TalkerInput, TalkerOutput]:
    checkpoint = open_checkpoint(settings.checkpoint)
    shape = read_shape(checkpoint.config.talker_config)

    def build_stage(device: torch.device, pool: BlockPool) -> TalkerStage:
        return _build_stage(checkpoint, settings, device, min(shape.context, pool.capacity_tokens))

    return build_engine(settings, shape, build_stage)


class TalkerStage:
    """A `DecoderStage`: makes the rows of a step out of states and codes."""

    def __init__(
        self,
        decoder: Decoder,
        tables: TalkerTables,
        *,
        defaults: Defaults,
        context: int,
        window: WindowSettings,
    ) -> None:
        self.decoder = decoder
        self._tables = tables
        self._defaults = defaults
        self._context = context
        self._window = window

    def open(self, first: TalkerInput, outlet: Outlet[TalkerOutput]) -> TalkerReply:
        if first.turn is None:
            raise StageError(StageFailure(type="invalid_request", message="the first request has no turn"))
        reply = TalkerReply(
            self._tables,
            first.turn,
            outlet,
            defaults=self._defaults,
            window=self._window,
            context=self._context,
        )
        reply.feed(first)
        return reply

    def gather(self, portions: Sequence[Portion[TalkerReply]]) -> tuple[torch.Tensor, torch.Tensor]:
        states = torch.cat([portion.reply.next_states(portion.rows) for portion in portions])
        codes = [code for portion in portions for code in portion.reply.next_codes(portion.rows)]
        positions = torch.cat([portion.reply.next_positions(portion.rows) for portion in portions], 1)
        spoken = functional.embedding(upload(codes, torch.long, states.device), self._tables.codes)
        return states + spoken, positions.to(states.device)

    def hand_on(
        self, portions: Sequence[Portion[TalkerReply]], rows: torch.Tensor, hidden: torch.Tensor
    ) -> None:
        """Codes are all that leaves the talker."""

    def find_lateness_s(self, replies: Iterable[TalkerReply], now_s: float) -> float:
        return max((reply.find_lateness_s(now_s) for reply in replies), default=0.0)

    def close(self) -> None:
        """The talker keeps nothing outside the loop's thread."""


def read_defaults(generation: Mapping[str, Any]) -> Defaults:
    """Those of transformers' `generate`, or what the checkpoint's generation config has by the same names."""
    named = {field.name: generation.get(f"talker_{field.name}") for field in fields(_DEFAULTS)}
    return replace(_DEFAULTS, **{name: value for name, value in named.items() if value is not None})


def _build_stage(
    checkpoint: Checkpoint, settings: StageSettings, device: torch.device, context: int
) -> TalkerStage:
    def load(prefix: str) -> dict[str, torch.Tensor]:
        tensors = checkpoint.load(prefix).items()
        return {name: tensor.to(device, read_dtype(settings)) for name, tensor in tensors}

    weights = load("talker.model.")
    head = load("talker.codec_head.")["weight"]
    tables = _build_tables(checkpoint, load("talker.thinker_to_talker_proj."), weights["embed_tokens.weight"])
    decoder = Decoder(checkpoint.config.talker_config, weights, head, settings.quantization)
    defaults = read_defaults(checkpoint.generation)
    return TalkerStage(decoder, tables, defaults=defaults, context=context, window=settings.window)


def _build_tables(
    checkpoint: Checkpoint, projection: dict[str, torch.Tensor], codes: torch.Tensor
) -> TalkerTables:
    config = checkpoint.config.talker_config
    speakers = checkpoint.speakers
    bos = [speaker.bos_token for speaker in speakers.values()]
    ids = [*bos, config.tts_text_end_token_id, config.tts_text_pad_token_id]
    texts = checkpoint.rows("thinker.model.embed_tokens.weight", ids).to(codes)
    states = functional.linear(texts, projection["weight"], projection["bias"])
    *voices, text_end, text_pad = torch.split(states, 1)
    projected = functional.linear(codes, projection["weight"])
    return TalkerTables(
        ids=CodecIds(
            start=config.tts_codec_start_token_id,
            end=config.tts_codec_end_token_id,
            pad=config.tts_codec_pad_token_id,
            mask=config.tts_codec_mask_token_id,
            none=len(codes),
        ),
        codes=torch.cat([projected, projected.new_zeros(1, projected.shape[1])]),
        voices=dict(zip(speakers, voices, strict=True)),
        text_end=text_end,
        text_pad=text_pad,
    )
