"""The thinker stage: a conversation in, text and the talker's states out.

Opened by its host through `load_thinker`. Prompts are prepared on a few threads of their own and media are
encoded on another, so that running turns go on; the decoder runs on the step loop's. A state is
`proj(embedding + last hidden state)` with the talker's `thinker_to_talker_proj`, bias included; at audio,
image and video tokens the embedding counts as zero.
"""

from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any, Final

import torch
from tercet_wire.messages import StageFailure
from tercet_wire.settings import StageSettings
from torch.nn import functional

from tercet_engine.checkpoint import Checkpoint, open_checkpoint
from tercet_engine.decoder.blocks import BlockPool
from tercet_engine.decoder.linear import Linear
from tercet_engine.decoder.model import Decoder
from tercet_engine.decoder.product import build_product
from tercet_engine.decoder.reply import Outlet, Portion
from tercet_engine.decoder.sampling import Defaults, resolve_choice
from tercet_engine.decoder.shape import read_shape
from tercet_engine.decoder.uploads import upload
from tercet_engine.decoder_engine import build_engine, read_dtype
from tercet_engine.encoders import Encoders
from tercet_engine.prefix import StateStore, list_keys
from tercet_engine.prompts import Prepared, Prompter
from tercet_engine.reply_text import TokenBytes
from tercet_engine.stage import StageEngine, StageError, ThinkerInput, ThinkerOutput
from tercet_engine.thinker_reply import ThinkerFacts, ThinkerReply
from tercet_engine.threads import use_threads

_MOST_TOKENS: Final = 1024
"""Of a reply, where neither the request nor the checkpoint says."""
_PROMPT_THREADS: Final = 2


def load_thinker(settings: StageSettings) -> StageEngine[ThinkerInput, ThinkerOutput]:
    checkpoint = open_checkpoint(settings.checkpoint)
    shape = read_shape(checkpoint.config.thinker_config.text_config)
    prompter = Prompter(checkpoint)

    def build_stage(device: torch.device, pool: BlockPool) -> ThinkerStage:
        return _build_stage(checkpoint, prompter, settings, device, pool)

    return build_engine(settings, shape, build_stage)


class ThinkerStage:
    """A `DecoderStage`: makes the rows of a step out of prompts and tokens, and states out of its results."""

    def __init__(
        self,
        decoder: Decoder,
        embeddings: torch.Tensor,
        prompter: Prompter,
        facts: ThinkerFacts,
        *,
        generation: Mapping[str, Any],
        projection: Linear | None,
        media_tokens: Sequence[int],
        shares_prefixes: bool,
    ) -> None:
        """`projection` is None for a checkpoint that cannot speak; `media_tokens` are as for `list_keys`."""
        self.decoder = decoder
        self._embeddings = embeddings
        self._prompter = prompter
        self._facts = facts
        self._defaults = read_defaults(generation)
        self._most_tokens = generation.get("max_new_tokens") or _MOST_TOKENS
        self._projection = projection
        self._media_tokens = media_tokens
        self._shares_prefixes = shares_prefixes
        self._threads = ThreadPoolExecutor(
            _PROMPT_THREADS,
            thread_name_prefix="thinker-prompts",
            initializer=use_threads,
            initargs=(1,),  # workers of their own would cost the step loop's theirs (see `build_engine`)
        )

    def open(self, first: ThinkerInput, outlet: Outlet[ThinkerOutput]) -> ThinkerReply:
        turn = first.turn
        if turn.speech is not None and self._projection is None:
            message = "this model has no voice; ask for text only"
            raise StageError(StageFailure(type="invalid_request", message=message, param="modalities"))
        reply = ThinkerReply(
            self._facts,
            turn,
            outlet,
            choice=resolve_choice(turn.sampling, self._defaults, vocabulary=len(self._embeddings)),
            most_tokens=turn.sampling.max_tokens or self._most_tokens,
        )
        reply.await_prompt(self._threads.submit(self._prepare, first))
        return reply

    def _prepare(self, given: ThinkerInput) -> Prepared:
        prepared = self._prompter.prepare(given.turn, given.pixels, given.samples)
        if not self._shares_prefixes:
            return prepared
        return replace(prepared, keys=list_keys(prepared, self._media_tokens, self._facts.block_tokens))

    def gather(self, portions: Sequence[Portion[ThinkerReply]]) -> tuple[torch.Tensor, torch.Tensor]:
        speaking = [portion.reply for portion in portions if portion.reply.is_speaking]
        rows, places = self._feed_back(speaking)
        if len(speaking) == len(portions):
            return rows, places
        fed_back = zip(torch.split(rows, 1), torch.split(places, 1, 1), strict=True)
        inputs = [
            next(fed_back) if portion.reply.is_speaking else portion.reply.prompt_inputs(portion.rows)
            for portion in portions
        ]
        return torch.cat([rows for rows, _ in inputs]), torch.cat([places for _, places in inputs], 1)

    def _feed_back(self, replies: Sequence[ThinkerReply]) -> tuple[torch.Tensor, torch.Tensor]:
        """The last token of each reply, looked up all at once: (replies, hidden) and (3, replies)."""
        device = self._embeddings.device
        tokens = upload([reply.last_token for reply in replies], torch.long, device)
        places = upload([reply.next_position for reply in replies], torch.int32, device)
        return functional.embedding(tokens, self._embeddings), places.expand(3, -1)

    def hand_on(
        self, portions: Sequence[Portion[ThinkerReply]], rows: torch.Tensor, hidden: torch.Tensor
    ) -> torch.Tensor | None:
        if self._projection is None or not any(portion.reply.has_speech for portion in portions):
            return None
        if all(portion.reply.is_speaking for portion in portions):
            return self._projection(rows + hidden)
        counts = [portion.rows for portion in portions]
        texts = [
            part if portion.reply.is_speaking else portion.reply.prompt_texts(portion.rows)
            for portion, part in zip(portions, torch.split(rows, counts), strict=True)
        ]
        return self._projection(torch.cat(texts) + hidden)

    def find_lateness_s(self, replies: Iterable[ThinkerReply], now_s: float) -> float:
        """Only sound can be late, and there is none here."""
        return 0.0

    def close(self) -> None:
        for threads in (self._threads, self._facts.media_thread):
            threads.shutdown(wait=False, cancel_futures=True)


def read_defaults(generation: Mapping[str, Any]) -> Defaults:
    """What a checkpoint's generation config says of sampling; OpenAI's defaults where it is silent."""
    return Defaults(
        temperature=0.0 if generation.get("do_sample") is False else generation.get("temperature") or 1.0,
        top_k=generation.get("top_k") or 0,
        top_p=generation.get("top_p") or 1.0,
        repetition_penalty=generation.get("repetition_penalty") or 1.0,
    )


def _build_stage(
    checkpoint: Checkpoint,
    prompter: Prompter,
    settings: StageSettings,
    device: torch.device,
    pool: BlockPool,
) -> ThinkerStage:
    config, dtype = checkpoint.config.thinker_config, read_dtype(settings)

    def load(prefix: str) -> dict[str, torch.Tensor]:
        return {name: tensor.to(device, dtype) for name, tensor in checkpoint.load(prefix).items()}

    weights = load("thinker.model.")
    embeddings = weights["embed_tokens.weight"]
    head = load("thinker.lm_head.").get("weight", embeddings)  # absent where it is tied
    projection = load("talker.thinker_to_talker_proj.")
    encoders = Encoders(checkpoint, device, dtype)

    def embed_tokens(ids: torch.Tensor) -> torch.Tensor:
        return functional.embedding(ids.to(device), embeddings)

    facts = ThinkerFacts(
        context=min(read_shape(config.text_config).context, pool.capacity_tokens),
        flush_s=settings.flush_s,
        window=settings.window,
        end_tokens=checkpoint.end_tokens,
        tokens=TokenBytes(prompter.tokenizer),
        embed=lambda prepared, start: encoders.embed(prepared, embed_tokens, start),
        media_thread=ThreadPoolExecutor(1, thread_name_prefix="thinker-media"),
        device=device,
        no_states=torch.empty(0, len(projection["weight"]) if projection else 0, dtype=dtype),
        block_tokens=settings.block_tokens,
        states=StateStore(most=pool.blocks),
    )
    return ThinkerStage(
        Decoder(config.text_config, weights, head, settings.quantization),
        embeddings,
        prompter,
        facts,
        generation=checkpoint.generation,
        projection=build_product(projection["weight"], projection["bias"]) if projection else None,
        media_tokens=(config.audio_token_id, config.image_token_id, config.video_token_id),
        shares_prefixes=settings.prefix_cache,
    )
