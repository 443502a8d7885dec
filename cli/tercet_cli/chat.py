"""`tercet chat`: talk to a gateway from the terminal.

Text appears while it streams, each spoken reply becomes a WAV file and is played where a player is
installed. Ctrl-C ends the reply, keeps what was said of it, and cancels the turn on the server.
"""

import readline  # noqa: F401  # gives input() line editing
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Final

import httpx
import typer
from tercet_wire.names import GATEWAY_PORT

from tercet_cli.conversation import Conversation, Medium
from tercet_cli.errors import CommandError
from tercet_cli.playback import Player, Silence, WavFile, open_player
from tercet_cli.replies import Delta, Finished, SoundDelta, TextDelta
from tercet_cli.servers import Message, Request, Server, find_model, iter_reply

DEFAULT_URL: Final = f"http://127.0.0.1:{GATEWAY_PORT}"

HELP: Final = """\
/image FILE, /audio FILE, /video FILE   goes with your next line
/voice NAME                             speak with another voice
/reset                                  forget what was said
/quit                                   leave (also Ctrl-D)
Ctrl-C while a reply runs               end that reply"""


def chat(  # noqa: PLR0913, PLR0917  # a command's options
    text: Annotated[str | None, typer.Argument(help="Say this, print the reply and leave.")] = None,
    url: Annotated[str, typer.Option(help="Where the gateway is.")] = DEFAULT_URL,
    model: Annotated[str | None, typer.Option(help="Model name; else the first one offered.")] = None,
    voice: Annotated[str | None, typer.Option(help="Voice of the replies; else the deployment's.")] = None,
    no_speech: Annotated[bool, typer.Option("--no-speech", help="Text only.")] = False,
    no_play: Annotated[bool, typer.Option("--no-play", help="Write the sound, do not play it.")] = False,
    system: Annotated[str | None, typer.Option(help="Instructions for the model.")] = None,
    image: Annotated[list[Path], typer.Option(help="Picture to go along.")] = [],  # noqa: B006
    audio: Annotated[list[Path], typer.Option(help="Sound to go along.")] = [],  # noqa: B006
    video: Annotated[list[Path], typer.Option(help="Video to go along.")] = [],  # noqa: B006
    out: Annotated[Path, typer.Option(help="WAV file of the reply; numbered when there are more.")] = Path(
        "reply.wav"
    ),
    key: Annotated[str | None, typer.Option(envvar="TERCET_API_KEY", help="API key.")] = None,
) -> None:
    """Talk to the model: text, pictures, sound and video in, text and speech out."""
    server = Server(url=url, key=key)
    conversation = Conversation(system=system)
    media: tuple[tuple[Medium, list[Path]], ...] = (("image", image), ("audio", audio), ("video", video))
    for medium, paths in media:
        for path in paths:
            conversation.attach(medium, path)
    with server.client() as client:
        talk = Talk(
            server=server,
            client=client,
            model=find_model(server, model),
            speech=not no_speech,
            voice=voice,
            open_player=_open_silence if no_play else open_player,
            conversation=conversation,
        )
        if text is not None or conversation.attached:
            talk.say(text or "", out)
        else:
            talk.converse(out)


@dataclass(slots=True, kw_only=True)
class Talk:
    """One conversation with one model."""

    server: Server
    client: httpx.Client
    model: str
    speech: bool = True
    voice: str | None = None
    open_player: Callable[[Path], Player] = open_player
    conversation: Conversation = field(default_factory=Conversation)

    def say(self, text: str, out: Path) -> None:
        """Run one turn; a KeyboardInterrupt ends it early and goes on to the caller."""
        question = self.conversation.question(text)
        request = Request(
            model=self.model,
            messages=self.conversation.messages(question),
            speech=self.speech,
            voice=self.voice,
        )
        player = self.open_player(out) if self.speech else Silence()
        said: list[str] = []
        sound = WavFile(out)
        try:
            with sound:
                _hear(iter_reply(self.server, self.client, request), said, sound, player)
            player.finish()
        except CommandError:
            player.stop()
            raise
        except KeyboardInterrupt:
            player.stop()
            self._keep(question, said, sound)
            raise
        self._keep(question, said, sound)

    def _keep(self, question: Message, said: list[str], sound: WavFile) -> None:
        typer.echo()
        self.conversation.answered(question, "".join(said))
        if sound.seconds:
            typer.echo(f"[{sound.seconds:.1f} s of speech in {sound.path}]", err=True)

    def converse(self, out: Path) -> None:
        """Read lines until the user leaves."""
        typer.echo(f"{self.model} at {self.server.url}. /help lists the commands.", err=True)
        number = 1
        while (line := _read_line()) is not None:
            try:
                if line.startswith("/"):
                    if not self.obey(line):
                        return
                elif line:
                    self.say(line, out.with_stem(f"{out.stem}-{number}"))
                    number += 1
            except KeyboardInterrupt:
                number += 1
            except CommandError as error:
                typer.echo(f"error: {error}", err=True)

    def obey(self, line: str) -> bool:
        """Carry out a /command; False: the user wants to leave."""
        command, _, argument = line[1:].partition(" ")
        argument = argument.strip()
        match command:
            case "image" | "audio" | "video":
                self.conversation.attach(command, Path(argument))
                typer.echo(f"[{Path(argument).name} goes with your next line]", err=True)
            case "voice" if argument:
                self.speech, self.voice = True, argument
            case "reset":
                self.conversation.reset()
            case "quit" | "exit":
                return False
            case "help":
                typer.echo(HELP, err=True)
            case _:
                raise CommandError(f"unknown command {line!r}; /help lists them")
        return True


def _hear(deltas: Iterable[Delta], said: list[str], sound: WavFile, player: Player) -> None:
    for delta in deltas:
        match delta:
            case TextDelta(text=text):
                said.append(text)
                typer.echo(_printable(text), nl=False)
            case SoundDelta(pcm=pcm):
                sound.write(pcm)
                player.play(pcm)
            case Finished(reason="length"):
                typer.echo(" [cut at the length limit]", nl=False)
            case _:
                pass


def _open_silence(path: Path) -> Player:
    del path
    return Silence()


def _read_line() -> str | None:
    """Read the next line; None when the user leaves by Ctrl-D or Ctrl-C."""
    try:
        return input("> ").strip()
    except (EOFError, KeyboardInterrupt):
        typer.echo()
        return None


def _printable(text: str) -> str:
    """Without control characters, which could steer the terminal."""
    return "".join(letter for letter in text if letter.isprintable() or letter in "\n\t")
