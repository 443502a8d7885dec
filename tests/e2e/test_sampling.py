"""What a request says about tokens is what the reply is made by."""

import asyncio
import math

import numpy as np
import pytest
from openai import AsyncOpenAI

from tests.e2e.replies import ENDLESS, SPOKEN, Reply, ask_about, hear

SEEDED = {**ask_about(text="Tell me a story."), **SPOKEN, "seed": 11, "temperature": 1.0, "max_tokens": 24}


def differ_by(one: Reply, other: Reply) -> int:
    """At most, in steps of 16-bit samples."""
    left, right = (np.frombuffer(reply.pcm, np.int16).astype(int) for reply in (one, other))
    assert left.size == right.size
    return int(np.abs(left - right).max())


async def test_a_seed_means_one_reply_alone_and_among_many(sdk: AsyncOpenAI) -> None:
    """Text, codes and sound, while seven others share its steps; samples may round apart by one."""
    alone = await hear(sdk, SEEDED)
    others = [SEEDED | {"seed": seed, "max_tokens": 12 + 4 * seed} for seed in range(7)]
    crowd = await asyncio.gather(*(hear(sdk, body) for body in [*others[:4], SEEDED, *others[4:]]))
    assert alone.text
    assert crowd[4].text == alone.text
    assert crowd[4].codes == alone.codes
    assert differ_by(crowd[4], alone) <= 1
    assert len({reply.text for reply in crowd}) > 1


async def test_log_probabilities_belong_to_their_tokens(sdk: AsyncOpenAI) -> None:
    """Each token's own, and at least as probable alternatives in order.

    Without the checkpoint's penalty, which may prefer what the model itself finds less probable.
    """
    body = ask_about() | {"logprobs": True, "top_logprobs": 3, "temperature": 0}
    completion = await sdk.chat.completions.create(**body, extra_body={"repetition_penalty": 1.0})
    choice = completion.choices[0]
    assert choice.logprobs is not None
    tokens = choice.logprobs.content
    assert tokens is not None
    assert completion.usage is not None
    assert len(tokens) == completion.usage.completion_tokens
    assert b"".join(bytes(token.bytes or []) for token in tokens).decode() == choice.message.content
    for token in tokens:
        assert token.logprob <= 0
        ranked = [other.logprob for other in token.top_logprobs]
        assert len(ranked) == 3
        assert ranked == sorted(ranked, reverse=True)
        assert math.isclose(ranked[0], token.logprob, abs_tol=1e-5)


async def test_a_stop_string_ends_the_reply_before_it(sdk: AsyncOpenAI) -> None:
    """It is not part of the text, whole or streamed."""
    body = ask_about() | {"max_tokens": 40, **ENDLESS}
    text = (await sdk.chat.completions.create(**body)).choices[0].message.content
    assert text is not None
    stop = text[9:11]
    expected = text[: text.index(stop)]
    whole = (await sdk.chat.completions.create(**body, stop=[stop])).choices[0]
    streamed = await hear(sdk, body | {"stop": stop})
    assert (whole.message.content, whole.finish_reason) == (expected, "stop")
    assert (streamed.text, streamed.finish_reason) == (expected, "stop")


@pytest.mark.parametrize("name", ["max_tokens", "max_completion_tokens"])
async def test_a_reply_is_no_longer_than_asked(sdk: AsyncOpenAI, name: str) -> None:
    """Under the old name and the new."""
    body = {field: value for field, value in ask_about().items() if field != "max_tokens"} | {name: 5}
    completion = await sdk.chat.completions.create(**body, **ENDLESS)
    assert completion.usage is not None
    assert completion.usage.completion_tokens == 5
    assert completion.choices[0].finish_reason == "length"


async def test_a_bias_decides(sdk: AsyncOpenAI) -> None:
    """The demo's tokens are bytes: with a strong one, nothing else is said."""
    completion = await sdk.chat.completions.create(**ask_about(), logit_bias={str(ord("z")): 100})
    assert completion.choices[0].message.content == "z" * 12


async def test_greedy_is_the_same_each_time(sdk: AsyncOpenAI) -> None:
    """At temperature 0 no seed is needed."""
    body = {field: value for field, value in ask_about().items() if field != "seed"} | {"temperature": 0}
    texts = [(await sdk.chat.completions.create(**body)).choices[0].message.content for _ in range(3)]
    assert len(set(texts)) == 1
