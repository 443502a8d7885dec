"""What has been said so far, and what goes along with the next line.

Used by `chat`. A turn enters the history only when it was answered, so a refused one can simply be asked
again. Files become content parts here; nothing is sent.
"""

import base64
import mimetypes
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from tercet_cli.errors import CommandError
from tercet_cli.servers import Message

Medium = Literal["image", "audio", "video"]
Part = dict[str, Any]  # Any: a content part of the API, nested JSON


@dataclass(slots=True, kw_only=True)
class Conversation:
    system: str | None = None
    history: list[Message] = field(default_factory=list)
    attached: list[Part] = field(default_factory=list)
    """Parts that go with the next question."""

    def attach(self, medium: Medium, path: Path) -> None:
        self.attached.append(read_part(medium, path))

    def question(self, text: str) -> Message:
        if not self.attached:
            return {"role": "user", "content": text}
        words = [{"type": "text", "text": text}] if text else []
        return {"role": "user", "content": [*self.attached, *words]}

    def messages(self, question: Message) -> list[Message]:
        system = [{"role": "system", "content": self.system}] if self.system else []
        return [*system, *self.history, question]

    def answered(self, question: Message, answer: str) -> None:
        """Keep the turn, also one that was cut short; what it said so far is what was heard."""
        self.history += [question, {"role": "assistant", "content": answer}]
        self.attached.clear()

    def reset(self) -> None:
        self.history.clear()
        self.attached.clear()


def read_part(medium: Medium, path: Path) -> Part:
    """Read a file into the content part of its medium, as base64."""
    path = path.expanduser()
    try:
        content = path.read_bytes()
    except OSError as error:
        raise CommandError(f"cannot read {path}: {error.strerror}") from error
    kind, _ = mimetypes.guess_type(path.name)
    if kind is None or not kind.startswith(f"{medium}/"):
        raise CommandError(f"{path} does not look like {medium}: its name ends in {path.suffix or 'nothing'}")
    return _BUILDERS[medium](kind, base64.b64encode(content).decode())


def _image_part(kind: str, data: str) -> Part:
    return {"type": "image_url", "image_url": {"url": f"data:{kind};base64,{data}"}}


def _audio_part(kind: str, data: str) -> Part:
    """Build OpenAI's own part for wav and mp3; the rest goes as a data URL."""
    if name := {"audio/x-wav": "wav", "audio/wav": "wav", "audio/mpeg": "mp3"}.get(kind):
        return {"type": "input_audio", "input_audio": {"data": data, "format": name}}
    return {"type": "audio_url", "audio_url": {"url": f"data:{kind};base64,{data}"}}


def _video_part(kind: str, data: str) -> Part:
    return {"type": "video_url", "video_url": {"url": f"data:{kind};base64,{data}"}}


_BUILDERS: dict[Medium, Callable[[str, str], Part]] = {
    "image": _image_part,
    "audio": _audio_part,
    "video": _video_part,
}
