"""The prompt that the decoder starts from is the one transformers starts from."""

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from tercet_engine.checkpoint import Checkpoint
from tercet_engine.encoders import Encoders, Prompt
from tercet_engine.prompts import Prompter
from tercet_engine.stage import StageError
from torch import Tensor
from transformers import Qwen2_5OmniForConditionalGeneration

from tests.engine.reference import CASES, Case, Reference

Embed = Callable[[Case, Encoders], Prompt]


@pytest.fixture(scope="module")
def encoders(checkpoint: Checkpoint) -> Encoders:
    return Encoders(checkpoint, torch.device("cpu"), torch.float32)


@pytest.fixture(scope="module")
def embedding(checkpoint: Checkpoint) -> Tensor:
    return checkpoint.load("thinker.model.embed_tokens.")["weight"]


@pytest.fixture(scope="module")
def embed(checkpoint: Checkpoint, embedding: Tensor) -> Embed:
    prompter = Prompter(checkpoint)

    def embed_case(case: Case, encoders: Encoders) -> Prompt:
        prepared = prompter.prepare(case.turn(), case.pixels(), case.samples())
        return encoders.embed(prepared, lambda ids: embedding[ids])

    return embed_case


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_prompt_equals_transformers(
    case: Case, reference: Reference, embed: Embed, encoders: Encoders
) -> None:
    """Ids, positions and where decoding goes on are equal; embeddings agree to rounding."""
    expected = reference.prompt(case)
    prompt = embed(case, encoders)
    assert prompt.ids.tolist() == expected.ids.tolist()
    assert prompt.positions.tolist() == expected.positions.tolist()
    assert prompt.next_position == expected.next_position
    torch.testing.assert_close(prompt.embeds, expected.embeds, rtol=1e-4, atol=1e-5)


def test_half_precision_sees_what_transformers_sees(
    checkpoint: Checkpoint, reference: Reference, embed: Embed
) -> None:
    """To the last bit: weights are rounded, and the angles of far patches are not."""
    model = Qwen2_5OmniForConditionalGeneration.from_pretrained(
        checkpoint.folder, dtype=torch.bfloat16
    ).eval()
    picture = next(case for case in CASES if case.name == "a picture")
    expected = replace(reference, model=model).prompt(picture).embeds
    encoders = Encoders(checkpoint, torch.device("cpu"), torch.bfloat16)
    assert torch.equal(embed(picture, encoders).embeds.bfloat16(), expected)


def test_text_embeds_are_empty_at_media(
    embed: Embed, encoders: Encoders, embedding: Tensor, checkpoint: Checkpoint
) -> None:
    """The talker gets the embeddings of text and zeros for what was seen and heard; each kind is counted."""
    case = next(case for case in CASES if case.name == "everything at once")
    prompt = embed(case, encoders)
    config = checkpoint.config.thinker_config
    places = {
        kind: prompt.ids == token
        for kind, token in (
            ("audio", config.audio_token_id),
            ("image", config.image_token_id),
            ("video", config.video_token_id),
        )
    }
    assert prompt.audio_tokens == int(places["audio"].sum()) > 0
    assert prompt.image_tokens == int(places["image"].sum()) > 0
    assert prompt.video_tokens == int(places["video"].sum()) > 0
    media = places["audio"] | places["image"] | places["video"]
    assert not prompt.text_embeds[media].any()
    assert torch.equal(prompt.text_embeds[~media], embedding[prompt.ids[~media]])


@pytest.mark.parametrize(
    ("lost", "name", "words"),
    [
        ("thinker.audio_tower.", "a sound", "takes no sound"),
        ("thinker.visual.", "a picture", "takes no pictures"),
        ("thinker.visual.", "a silent video", "takes no pictures or videos"),
    ],
)
def test_media_without_an_encoder_are_refused(
    lost: str, name: str, words: str, embed: Embed, checkpoint: Checkpoint
) -> None:
    """A checkpoint that was stripped of an encoder still serves the rest."""
    files = {tensor: file for tensor, file in checkpoint.files.items() if not tensor.startswith(lost)}
    encoders = Encoders(replace(checkpoint, files=files), torch.device("cpu"), torch.float32)
    text, media = (next(case for case in CASES if case.name == wanted) for wanted in ("a word", name))
    assert len(embed(text, encoders).embeds)
    with pytest.raises(StageError, match=words):
        embed(media, encoders)
