"""`tercet chat` against a gateway of paper, and the parts it is made of."""

import sys
import wave
from pathlib import Path

import pytest
import typer
from tercet_cli.chat import Talk, chat
from tercet_cli.conversation import Medium, read_part
from tercet_cli.errors import CommandError
from tercet_cli.playback import PipePlayer, WavFile, endless_wav_header
from tercet_cli.servers import Server
from typer.testing import CliRunner, Result

from tests.cli.conftest import PCM, PaperGateway, spoken_reply


def _run(*words: str, lines: str = "") -> Result:
    app = typer.Typer()
    app.command()(chat)
    return CliRunner().invoke(app, [*words, "--no-play"], input=lines)


def _sound(path: Path) -> bytes:
    with wave.open(str(path), "rb") as file:
        assert (file.getframerate(), file.getnchannels(), file.getsampwidth()) == (24_000, 1, 2)
        return file.readframes(file.getnframes())


def test_one_line_is_answered_in_text_and_a_wav_file(gateway: PaperGateway, tmp_path: Path) -> None:
    """The text goes to stdout, the sound into the named file; the deployment's own voice speaks."""
    result = _run("Hi", "--url", gateway.url, "--out", str(tmp_path / "a.wav"))
    assert result.exit_code == 0
    assert "Hello there." in result.stdout
    assert _sound(tmp_path / "a.wav") == PCM * 2
    assert gateway.asked[0]["model"] == "demo"
    assert gateway.asked[0]["messages"] == [{"role": "user", "content": "Hi"}]
    assert gateway.asked[0]["audio"] == {"format": "pcm16"}


def test_no_speech_asks_for_text_only(gateway: PaperGateway, tmp_path: Path) -> None:
    """No modalities, no voice, no file."""
    result = _run("Hi", "--url", gateway.url + "/v1/", "--no-speech", "--out", str(tmp_path / "a.wav"))
    assert "Hello there." in result.stdout
    assert "audio" not in gateway.asked[0]
    assert not (tmp_path / "a.wav").exists()


def test_a_conversation_remembers_what_was_said(gateway: PaperGateway, tmp_path: Path) -> None:
    """The second question carries the first turn; /reset forgets; /voice changes the voice."""
    lines = "one\n/voice Ethan\ntwo\n/reset\nthree\n/quit\n"
    result = _run("--url", gateway.url, "--system", "Be kind.", "--out", str(tmp_path / "a.wav"), lines=lines)
    assert result.exit_code == 0
    first, second, third = (body["messages"] for body in gateway.asked)
    system = {"role": "system", "content": "Be kind."}
    assert first == [system, {"role": "user", "content": "one"}]
    assert second == [
        *first,
        {"role": "assistant", "content": "Hello there."},
        {"role": "user", "content": "two"},
    ]
    assert third == [system, {"role": "user", "content": "three"}]
    assert [body["audio"].get("voice") for body in gateway.asked] == [None, "Ethan", "Ethan"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a-1.wav", "a-2.wav", "a-3.wav"]


def test_a_picture_goes_with_the_next_line_once(gateway: PaperGateway, tmp_path: Path) -> None:
    """It is part of that message, and stays in its place in the history."""
    (tmp_path / "cat.png").write_bytes(b"png")
    lines = f"/image {tmp_path / 'cat.png'}\nwhat is it?\nsure?\n"
    _run("--url", gateway.url, "--no-speech", lines=lines)
    picture = {"type": "image_url", "image_url": {"url": "data:image/png;base64,cG5n"}}
    assert gateway.asked[0]["messages"][-1]["content"] == [picture, {"type": "text", "text": "what is it?"}]
    assert gateway.asked[1]["messages"][-1]["content"] == "sure?"


def test_a_sound_alone_is_a_question(gateway: PaperGateway, tmp_path: Path) -> None:
    """`tercet chat --audio q.wav` needs no text."""
    (tmp_path / "q.wav").write_bytes(b"wav")
    _run("--url", gateway.url, "--no-speech", "--audio", str(tmp_path / "q.wav"))
    sound = {"type": "input_audio", "input_audio": {"data": "d2F2", "format": "wav"}}
    assert gateway.asked[0]["messages"][-1]["content"] == [sound]


def test_errors_are_one_line_and_the_conversation_goes_on(gateway: PaperGateway) -> None:
    """A refused turn, an unknown command and a missing file leave the prompt standing."""
    gateway.status = 400
    result = _run("--url", gateway.url, lines="one\n/dance\n/image nowhere.png\ntwo\n")
    assert result.exit_code == 0
    assert [line for line in result.stderr.splitlines() if line.startswith("error:")] == [
        "error: the server answered 400: the voice is not known",
        "error: unknown command '/dance'; /help lists them",
        "error: cannot read nowhere.png: No such file or directory",
        "error: the server answered 400: the voice is not known",
    ]
    assert gateway.asked[1]["messages"] == [{"role": "user", "content": "two"}]


@pytest.mark.parametrize(
    ("url", "words"), [("http://127.0.0.1:9", "nothing answers"), ("not a url", "is not a URL")]
)
def test_a_gateway_that_is_not_there_is_said(url: str, words: str) -> None:
    """The command ends with what to do, for `main` to print."""
    result = _run("Hi", "--url", url)
    assert isinstance(result.exception, CommandError)
    assert words in str(result.exception)


def test_the_key_goes_along(gateway: PaperGateway) -> None:
    """As a bearer token, on every request."""
    _run("Hi", "--url", gateway.url, "--no-speech", "--key", "secret")
    assert gateway.keys == ["Bearer secret"]


class InterruptingPlayer:
    """The user presses Ctrl-C when the second piece is heard."""

    def __init__(self) -> None:
        self.heard = 0
        self.stopped = False

    def play(self, pcm: bytes) -> None:
        del pcm
        self.heard += 1
        if self.heard == 2:
            raise KeyboardInterrupt

    def finish(self) -> None:
        raise AssertionError("an interrupted reply is not played to its end")

    def stop(self) -> None:
        self.stopped = True


def test_an_interrupted_reply_keeps_what_was_heard(gateway: PaperGateway, tmp_path: Path) -> None:
    """Ctrl-C in the middle: the player falls silent, file and history hold what came so far."""
    server, player = Server(url=gateway.url), InterruptingPlayer()
    gateway.script = lambda body: spoken_reply(body)[:-2]
    with server.client() as client:
        talk = Talk(server=server, client=client, model="demo", voice="Ethan", open_player=lambda _: player)
        with pytest.raises(KeyboardInterrupt):
            talk.say("Hi", tmp_path / "a.wav")
    assert player.stopped
    assert _sound(tmp_path / "a.wav") == PCM * 2
    assert talk.conversation.history[-1] == {"role": "assistant", "content": "Hello there."}


def test_a_reply_that_breaks_off_is_not_remembered(gateway: PaperGateway, tmp_path: Path) -> None:
    """An error in the middle of the stream ends the turn; it can be asked again."""
    server = Server(url=gateway.url)
    gateway.script = lambda body: [*spoken_reply(body)[:3], {"error": {"message": "stage lost"}}]
    with server.client() as client:
        talk = Talk(server=server, client=client, model="demo", speech=False)
        with pytest.raises(CommandError, match="stage lost"):
            talk.say("Hi", tmp_path / "a.wav")
    assert talk.conversation.history == []


def test_control_characters_do_not_reach_the_terminal(gateway: PaperGateway) -> None:
    """A reply cannot move the cursor or set the title."""
    gateway.script = lambda _: [{"choices": [{"delta": {"content": "a\x1b[2Jb\n"}}]}]
    assert _run("Hi", "--url", gateway.url, "--no-speech").stdout == "a[2Jb\n\n"


def test_a_player_gets_all_sound_through_its_pipe(tmp_path: Path) -> None:
    """`finish` returns when the player has taken everything."""
    heard = tmp_path / "heard"
    player = PipePlayer([sys.executable, "-c", COPY, str(heard)])
    for _ in range(3):
        player.play(PCM)
    player.finish()
    assert heard.read_bytes() == PCM * 3


def test_a_player_that_dies_does_not_stop_the_reply() -> None:
    """Its pipe breaks; the turn goes on."""
    player = PipePlayer([sys.executable, "-c", "pass"])
    for _ in range(100):
        player.play(PCM * 10)
    player.finish()


COPY = "import sys; open(sys.argv[1], 'wb').write(sys.stdin.buffer.read())"


def test_a_stopped_player_is_gone(tmp_path: Path) -> None:
    """`stop` does not wait for sound that is still queued."""
    player = PipePlayer([sys.executable, "-c", "import time; time.sleep(600)"])
    player.play(PCM * 1000)
    player.stop()


def test_the_endless_header_is_read_as_24_khz_mono(tmp_path: Path) -> None:
    """A WAV reader that ignores the length understands it."""
    path = tmp_path / "a.wav"
    path.write_bytes(endless_wav_header() + PCM)
    with wave.open(str(path)) as file:
        assert (file.getframerate(), file.getnchannels(), file.getsampwidth()) == (24_000, 1, 2)


def test_a_wav_file_without_sound_is_not_made(tmp_path: Path) -> None:
    """A text-only turn leaves nothing behind."""
    with WavFile(tmp_path / "a.wav") as sound:
        pass
    assert sound.seconds == 0
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("name", "medium", "part"),
    [
        ("a.mp3", "audio", {"type": "input_audio", "input_audio": {"data": "eA==", "format": "mp3"}}),
        ("a.flac", "audio", {"type": "audio_url", "audio_url": {"url": "data:audio/flac;base64,eA=="}}),
        ("a.mp4", "video", {"type": "video_url", "video_url": {"url": "data:video/mp4;base64,eA=="}}),
        ("a.jpg", "image", {"type": "image_url", "image_url": {"url": "data:image/jpeg;base64,eA=="}}),
    ],
)
def test_a_file_becomes_the_part_of_its_medium(
    name: str, medium: Medium, part: object, tmp_path: Path
) -> None:
    """OpenAI's parts where it has them, the common extensions otherwise."""
    (tmp_path / name).write_bytes(b"x")
    assert read_part(medium, tmp_path / name) == part


def test_a_file_of_another_medium_is_refused(tmp_path: Path) -> None:
    """Before anything is sent."""
    (tmp_path / "a.txt").write_bytes(b"x")
    with pytest.raises(CommandError, match="does not look like image"):
        read_part("image", tmp_path / "a.txt")
