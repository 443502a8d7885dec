"""The one turn that every benchmark runs, in the words of each party.

A reply of about ten seconds: its text has a fixed number of tokens, as the end tokens are never chosen, and
the demo model speaks in proportion to its text.
"""

import json
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any, Final

from tercet_cli.servers import Request
from tercet_gateway.conversation import SPEECH_PROMPT
from tercet_wire.messages import ChatMessage, Sampling, Speech, TextPart, Turn

PROMPT: Final = "Tell me about the sea, the wind and the sky."
VOICE: Final = "Chelsie"
NEVER: Final = -100.0
"""The lowest bias that the API takes."""


_numbers = count(1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Workload:
    text_tokens: int
    end_tokens: tuple[int, ...]

    def request(self, model: str) -> Request:
        """For the gateway, which puts the system prompt in itself."""
        return Request(
            model=model,
            messages=[{"role": "user", "content": _ask()}],
            speech=True,
            voice=VOICE,
            max_tokens=self.text_tokens,
            temperature=0.0,
            logit_bias={str(token): NEVER for token in self.end_tokens},
        )

    def turn(self) -> Turn:
        """For the stages."""
        return Turn(
            messages=(
                ChatMessage(role="system", content=(TextPart(text=SPEECH_PROMPT),)),
                ChatMessage(role="user", content=(TextPart(text=_ask()),)),
            ),
            sampling=Sampling(
                temperature=0.0,
                max_tokens=self.text_tokens,
                logit_bias=dict.fromkeys(self.end_tokens, NEVER),
            ),
            speech=Speech(voice=VOICE),
        )

    def chat(self) -> list[dict[str, Any]]:
        """For transformers' chat template."""
        return [
            {"role": message.role, "content": [part.model_dump() for part in message.content]}
            for message in self.turn().messages
        ]


def read_workload(checkpoint: Path, text_tokens: int) -> Workload:
    ends = json.loads((checkpoint / "generation_config.json").read_text())["eos_token_id"]
    return Workload(text_tokens=text_tokens, end_tokens=tuple(ends) if isinstance(ends, list) else (ends,))


def _ask() -> str:
    """No two begin alike, or what was computed of the first would serve them all."""
    return f"{next(_numbers)}. {PROMPT}"
