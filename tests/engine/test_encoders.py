"""The prompt that the decoder starts from is the one transformers starts from."""

import pytest
import torch
from tercet_engine.checkpoint import Checkpoint
from tercet_engine.encoders import Encoders, Prompt
from tercet_engine.prompts import Prompter
from torch import Tensor

from tests.engine.reference import CASES, Case, Reference


@pytest.fixture(scope="module")
def encoders(checkpoint: Checkpoint) -> Encoders:
    return Encoders(checkpoint, torch.device("cpu"), torch.float32)


@pytest.fixture(scope="module")
def prompter(checkpoint: Checkpoint) -> Prompter:
    return Prompter(checkpoint)


@pytest.fixture(scope="module")
def embedding(checkpoint: Checkpoint) -> Tensor:
    return checkpoint.load("thinker.model.embed_tokens.")["weight"]


def embed(case: Case, prompter: Prompter, encoders: Encoders, embedding: Tensor) -> Prompt:
    prepared = prompter.prepare(case.turn(), case.pixels(), case.samples())
    return encoders.embed(prepared, lambda ids: embedding[ids])


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_prompt_equals_transformers(
    case: Case, reference: Reference, prompter: Prompter, encoders: Encoders, embedding: Tensor
) -> None:
    """Ids, positions and where decoding goes on are equal; embeddings agree to rounding."""
    expected = reference.prompt(case)
    prompt = embed(case, prompter, encoders, embedding)
    assert prompt.ids.tolist() == expected.ids.tolist()
    assert prompt.positions.tolist() == expected.positions.tolist()
    assert prompt.next_position == expected.next_position
    torch.testing.assert_close(prompt.embeds, expected.embeds, rtol=1e-4, atol=1e-5)
