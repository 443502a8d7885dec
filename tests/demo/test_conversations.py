"""The grammar: numbers, times, what is held out, and the messages as the gateway lays them out."""

from itertools import islice
from typing import get_args

import pytest
from tercet_gateway.conversation import PERSONA_REPLY, SPEECH_PROMPT

from demo.conversations import conversing
from demo.conversations.conversing import (
    Kind,
    draw_alike,
    draw_conversations,
    draw_sentences,
    draw_talks,
    is_held_out,
)
from demo.conversations.numbers import spell_number, spell_time
from demo.conversations.scenes import Conversation


@pytest.mark.parametrize(
    ("number", "words"),
    [
        (0, "zero"),
        (13, "thirteen"),
        (40, "forty"),
        (97, "ninety seven"),
        (305, "three hundred five"),
    ],
)
def test_numbers_are_spelled(number: int, words: str) -> None:
    assert spell_number(number) == words


@pytest.mark.parametrize(
    ("clock", "words"),
    [
        ((7, 0), "seven o'clock"),
        ((7, 30), "half past seven"),
        ((12, 45), "a quarter to one"),
        ((3, 15), "a quarter past three"),
        ((11, 55), "five to twelve"),
    ],
)
def test_times_are_spelled(clock: tuple[int, int], words: str) -> None:
    assert spell_time(*clock) == words


def test_it_says_what_the_gateway_says() -> None:
    assert (conversing.SPEECH_PROMPT, conversing.PERSONA_REPLY) == (SPEECH_PROMPT, PERSONA_REPLY)


@pytest.mark.parametrize("kind", get_args(Kind))
def test_nothing_held_out_is_trained_on(kind: Kind) -> None:
    trained = {_last(each) for each in islice(draw_conversations(1, kind=kind), 3000)}
    held_out = {_last(each) for each in islice(draw_conversations(1, kind=kind, held_out=True), 300)}
    assert len(held_out) > 50
    assert not trained & held_out


def test_sentences_held_out_are_new_in_every_form() -> None:
    trained = {talk.reply for talk in draw_talks(1, 0, 1000)}
    assert not trained & set(draw_sentences(1, 300, held_out=True))


def test_sentences_alike_keep_what_is_held_out_out() -> None:
    alike = list(islice(draw_alike(1), 1000))
    assert not any(is_held_out(talk.topic, talk.messages[-1].parts, talk.reply) for talk in alike)
    assert len({talk.reply for talk in alike}) > 900


def test_a_seed_gives_the_same_conversations_again() -> None:
    first, second = (list(islice(draw_conversations(5), 20)) for _ in range(2))
    assert first == second
    assert first != list(islice(draw_conversations(6), 20))


def _last(conversation: Conversation) -> tuple[object, ...]:
    return conversation.messages[-1].parts, conversation.reply
