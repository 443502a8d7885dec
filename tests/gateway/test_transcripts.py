"""Earlier spoken replies, remembered for as long as the caller was told."""

from tercet_gateway.transcripts import Transcripts


def test_reply_is_known_until_it_expires() -> None:
    """At the second it expires it is gone."""
    now = [100.0]
    transcripts = Transcripts(clock=lambda: now[0])
    transcripts.remember("audio_1", "Hello", expires_at=110)
    assert transcripts.recall("audio_1") == "Hello"
    assert transcripts.recall("audio_2") is None
    now[0] = 110.0
    assert transcripts.recall("audio_1") is None


def test_oldest_replies_go_first() -> None:
    """The store does not grow without end."""
    transcripts = Transcripts(clock=lambda: 0.0)
    for number in range(5000):
        transcripts.remember(f"audio_{number}", "x", expires_at=1)
    assert transcripts.recall("audio_0") is None
    assert transcripts.recall("audio_4999") == "x"
