"""The lines of an event stream, and what they say."""

import pytest
from tercet_cli.replies import (
    Counted,
    Delta,
    Finished,
    ReplyError,
    SoundDelta,
    TextDelta,
    error_text,
    iter_deltas,
)


@pytest.mark.parametrize(
    ("line", "deltas"),
    [
        ("", []),
        (": ping", []),
        ("event: message", []),
        ("data: [DONE]", []),
        ('data: {"choices":[{"delta":{"content":"Hi"}}]}', [TextDelta(text="Hi")]),
        ('data: {"choices":[{"delta":{"audio":{"transcript":"Hi"}}}]}', [TextDelta(text="Hi")]),
        (
            'data: {"choices":[{"delta":{"content":"Hi","audio":{"transcript":"Hi"}}}]}',
            [TextDelta(text="Hi")],
        ),
        ('data: {"choices":[{"delta":{"audio":{"data":"AQID"}}}]}', [SoundDelta(pcm=b"\1\2\3")]),
        ('data: {"choices":[{"delta":{"audio":{"expires_at":9}}}]}', []),
        ('data: {"choices":[{"delta":{},"finish_reason":"length"}]}', [Finished(reason="length")]),
        ('data: {"choices":[{"delta":null,"finish_reason":null}],"usage":null}', []),
        ('data: {"choices":[],"usage":{"completion_tokens":7}}', [Counted(text_tokens=7, codes=0)]),
        (
            'data: {"usage":{"completion_tokens":7,"completion_tokens_details":{"audio_tokens":5}}}',
            [Counted(text_tokens=2, codes=5)],
        ),
        ('data: {"modality":"audio","metrics":{}}', []),
        ("data: 17", []),
    ],
)
def test_a_line_says_this(line: str, deltas: list[Delta]) -> None:
    """Each shape on the wire, also those of other servers."""
    assert list(iter_deltas(line)) == deltas


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ('data: {"error":{"message":"out of memory"}}', "out of memory"),
        ('data: {"error":"out of memory"}', "out of memory"),
        ("data: {", "not JSON"),
        ('data: {"choices":[{"delta":{"audio":{"data":"A"}}}]}', "not base64"),
    ],
)
def test_a_broken_reply_is_an_error_with_the_servers_words(line: str, words: str) -> None:
    """Nothing is swallowed and nothing is a traceback."""
    with pytest.raises(ReplyError, match=words):
        list(iter_deltas(line))


@pytest.mark.parametrize(
    ("body", "text"),
    [
        (b'{"error":{"message":"no such\\nvoice"}}', "the server answered 400: no such voice"),
        (b'{"detail":"x"}', 'the server answered 400: {"detail":"x"}'),
        (b"", "the server answered 400: no reason given"),
    ],
)
def test_a_refusal_is_one_line(body: bytes, text: str) -> None:
    """The envelope's message, else the body, else the status alone."""
    assert error_text(400, body) == text
