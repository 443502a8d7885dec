"""Where the sound of a reply goes: into a WAV file, and to a player on this machine if there is one.

Used by `chat`. A player listens in real time while the gateway sends faster, so a thread of its own feeds
it: the reading of the stream must never wait for the ears.
"""

import shutil
import struct
import subprocess
import wave
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from queue import SimpleQueue
from threading import Thread
from types import TracebackType
from typing import Final, Protocol, Self

from tercet_wire.names import SAMPLE_RATE_HZ

from tercet_cli.errors import CommandError

_RATE: Final = str(SAMPLE_RATE_HZ)

STREAMING_PLAYERS: Final[tuple[tuple[str, ...], ...]] = (
    ("paplay", "--raw", "--format=s16le", f"--rate={_RATE}", "--channels=1"),
    ("aplay", "-q", "-t", "raw", "-f", "S16_LE", "-r", _RATE, "-c", "1"),
    ("ffplay", "-loglevel", "quiet", "-nodisp", "-autoexit", "-f", "wav", "-i", "-"),
)
"""They play what comes on stdin, the first that is installed is taken. ffplay's flags for raw sound differ
between its releases, so it gets a WAV header."""

FILE_PLAYERS: Final[tuple[tuple[str, ...], ...]] = (("afplay",),)
"""They play a whole file, once it is written."""


class Player(Protocol):
    def play(self, pcm: bytes) -> None: ...

    def finish(self) -> None:
        """Wait until all has been heard."""

    def stop(self) -> None:
        """Fall silent now."""


class PipePlayer:
    """A player that reads stdin. The queue is unbounded: a whole reply is a few megabytes."""

    def __init__(self, command: Sequence[str]) -> None:
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        self._waiting: SimpleQueue[bytes | None] = SimpleQueue()
        self._feeder = Thread(target=self._feed, daemon=True)
        self._feeder.start()
        if command[0] == "ffplay":
            self._waiting.put(endless_wav_header())

    def play(self, pcm: bytes) -> None:
        self._waiting.put(pcm)

    def finish(self) -> None:
        self._waiting.put(None)
        self._feeder.join()
        self._process.wait()

    def stop(self) -> None:
        self._process.kill()
        self.finish()

    def _feed(self) -> None:
        pipe = self._process.stdin
        if pipe is None:  # never: Popen was asked for it
            return
        # A broken pipe: the player has gone; the WAV file still has the sound.
        with suppress(BrokenPipeError), pipe:
            while (pcm := self._waiting.get()) is not None:
                pipe.write(pcm)
                pipe.flush()


class FilePlayer:
    """Plays the written file at the end, for players that cannot read a pipe."""

    def __init__(self, command: Sequence[str], path: Path) -> None:
        self._command = [*command, str(path)]

    def play(self, pcm: bytes) -> None:
        del pcm

    def finish(self) -> None:
        subprocess.run(self._command, check=False, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def stop(self) -> None:
        pass


class Silence:
    """No player is installed, or none is wanted."""

    def play(self, pcm: bytes) -> None:
        del pcm

    def finish(self) -> None:
        pass

    def stop(self) -> None:
        pass


def open_player(path: Path) -> Player:
    """The best player installed here; `path` is where the reply is written."""
    for command in STREAMING_PLAYERS:
        if shutil.which(command[0]):
            return PipePlayer(command)
    for command in FILE_PLAYERS:
        if shutil.which(command[0]):
            return FilePlayer(command, path)
    return Silence()


def endless_wav_header() -> bytes:
    """A WAV header that promises as much sound as its fields can say, for a length not known yet."""
    whole = 0xFFFFFFFF
    rate = SAMPLE_RATE_HZ
    sound = struct.pack("<4sIHHIIHH", b"fmt ", 16, 1, 1, rate, 2 * rate, 2, 16)
    return struct.pack("<4sI4s", b"RIFF", whole, b"WAVE") + sound + struct.pack("<4sI", b"data", whole)


@dataclass(slots=True)
class WavFile:
    """Written as the sound comes, and whole at every exit; no sound leaves no file."""

    path: Path
    _open: wave.Wave_write | None = None

    def __enter__(self) -> Self:
        return self

    def write(self, pcm: bytes) -> None:
        if self._open is None:
            self._open = self._create()
        self._open.writeframes(pcm)

    @property
    def seconds(self) -> float:
        return 0.0 if self._open is None else self._open.getnframes() / SAMPLE_RATE_HZ

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._open is not None:
            self._open.close()

    def _create(self) -> wave.Wave_write:
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            file = wave.open(str(self.path), "wb")  # noqa: SIM115  # closed on exit
        except OSError as error:
            raise CommandError(f"cannot write {self.path}: {error.strerror}") from error
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(SAMPLE_RATE_HZ)
        return file
