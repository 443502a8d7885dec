"""Text out of tokens: whole characters, and stop strings that never show."""

import random
from pathlib import Path
from typing import Any, Final

import pytest
from tercet_engine.reply_text import ReplyText, TokenBytes
from transformers import AddedToken, AutoTokenizer


class Letters:
    """A tokenizer of one token for each byte, as far as `TokenBytes` looks at one. 256 is special."""

    added_tokens_decoder: Final = {256: AddedToken("<|end|>", special=True), 257: AddedToken("<tool>")}

    def convert_ids_to_tokens(self, token: int) -> str:
        printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
        others = [byte for byte in range(256) if byte not in printable]
        return chr(token) if token in printable else chr(256 + others.index(token))


LETTERS = TokenBytes(Letters())


def pushed(text: str | bytes, *stops: str) -> tuple[list[str], ReplyText]:
    reply = ReplyText(LETTERS, stops)
    deltas = []
    for byte in text.encode() if isinstance(text, str) else text:
        if not reply.has_stopped:
            reply.push(byte)
            deltas.append(reply.take())
    deltas.append(reply.finish())
    return deltas, reply


def test_a_character_waits_for_its_last_byte() -> None:
    """No delta ever holds half of one."""
    deltas, reply = pushed("aé🙂")
    assert deltas == ["a", "", "é", "", "", "", "🙂", ""]
    assert reply.settled == 7


def test_a_character_that_was_cut_off_is_marked_at_the_end() -> None:
    """As a decoder of the whole reply would."""
    assert pushed("ab🙂".encode()[:-1])[0] == ["a", "b", "", "", "", "\ufffd"]


@pytest.mark.parametrize(
    ("text", "stops", "expected", "settled"),
    [
        pytest.param("one two", (), "one two", 7, id="none asked for"),
        pytest.param("one two", ("three",), "one two", 7, id="none found"),
        pytest.param("one. Two. Three.", (". T",), "one", 3, id="found"),
        pytest.param("one two", ("wo", "two"), "one ", 4, id="the first to begin counts"),
        pytest.param("one two", ("o",), "", 0, id="at the very start"),
        pytest.param("ababac", ("abac",), "ab", 2, id="a false start before it"),
        pytest.param("a user:b", ("user: ",), "a user:b", 8, id="only its beginning"),
        pytest.param("one tw", ("two",), "one tw", 6, id="its beginning at the end of the reply"),
        pytest.param("hé!é", ("!é",), "hé", 3, id="in characters of several bytes"),
    ],
)
def test_text_ends_before_a_stop_string(
    text: str, stops: tuple[str, ...], expected: str, settled: int
) -> None:
    """And a token is settled once its text can no longer be swallowed."""
    deltas, reply = pushed(text, *stops)
    assert "".join(deltas) == expected
    assert reply.settled == settled
    assert reply.has_stopped == (expected != text)


def test_what_may_become_a_stop_string_is_held_back() -> None:
    """And released as soon as it cannot."""
    assert pushed("a||b|", "||!")[0] == ["a", "", "", "||b", "", "|"]


def test_text_that_was_not_taken_waits() -> None:
    """With and without stop strings, and none of it counts as settled twice."""
    text = "one. two. Three"
    for stops in ((), ("Three",)):
        reply = ReplyText(LETTERS, stops)
        taken = []
        for at, byte in enumerate(text.encode()):
            reply.push(byte)
            if at == 6:
                taken.append(reply.take())
        assert taken == ["one. tw"]
        assert reply.finish() == ("o. " if stops else "o. Three")
        assert reply.settled == (10 if stops else len(text))
        assert not reply.finish()


def test_special_tokens_have_a_name_but_no_text() -> None:
    """Other added tokens have both."""
    assert [LETTERS.text(token) for token in (256, 257, ord("x"))] == [b"", b"<tool>", b"x"]
    assert LETTERS.name(256) == b"<|end|>"


def test_text_equals_the_tokenizers_own_decoding(demo: Path) -> None:
    """Whatever the tokens are."""
    # Any: transformers' tokenizers carry no types.
    tokenizer: Any = AutoTokenizer.from_pretrained(demo)
    pieces = TokenBytes(tokenizer)
    numbers = random.Random(5)
    for text in ("Grüße, 你好, مرحبا 🎉", "\n\t x  y", "<|im_start|>user\nx<|im_end|>"):
        ids = tokenizer(text).input_ids + [numbers.randrange(len(tokenizer)) for _ in range(30)]
        reply = ReplyText(pieces)
        for token in ids:
            reply.push(token)
        assert reply.finish() == tokenizer.decode(ids, skip_special_tokens=True)
