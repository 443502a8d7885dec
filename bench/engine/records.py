"""Figures as they are measured: printed at once and kept, a line each, so that none is lost."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

Fact = str | int | float | bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """`name` says what, `facts` under which circumstances, e.g. {"turns": 8}."""

    model: str
    part: str
    name: str
    value: float
    unit: str
    facts: Mapping[str, Fact] = field(default_factory=dict)

    @property
    def text(self) -> str:
        facts = ", ".join(f"{key} {value}" for key, value in self.facts.items())
        return f"{self.model} {self.name}{f' ({facts})' if facts else ''}: {self.value:.4g} {self.unit}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Recorder:
    model: str
    part: str
    file: Path

    # Any: a fact is one of Fact, but keywords cannot say so of all at once.
    def add(self, name: str, value: float, unit: str, **facts: Any) -> None:
        record = Record(model=self.model, part=self.part, name=name, value=value, unit=unit, facts=facts)
        self._append(
            {
                "model": record.model,
                "part": record.part,
                "name": name,
                "value": value,
                "unit": unit,
                "facts": facts,
            }
        )
        print(record.text, flush=True)

    def finish(self) -> None:
        """The part has come to its end."""
        self._append({"model": self.model, "finished": self.part})

    def _append(self, line: Mapping[str, Any]) -> None:
        with self.file.open("a") as file:
            file.write(json.dumps(line) + "\n")


def read_records(file: Path) -> list[Record]:
    return [Record(**line) for line in _read(file) if "finished" not in line]


def read_finished(file: Path, model: str) -> set[str]:
    return {line["finished"] for line in _read(file) if line.get("finished") and line["model"] == model}


def _read(file: Path) -> Iterator[dict[str, Any]]:
    if file.exists():
        for line in file.read_text().splitlines():
            yield json.loads(line)
