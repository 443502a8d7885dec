"""How starts are timed, and where the programs of an image come from."""

import io
import json
import sys
import tarfile
from pathlib import Path

import pytest

from bench import cold_start


def test_a_start_ends_with_the_first_answer_that_says_ready(tmp_path: Path) -> None:
    """A refused connection and a 503 before it do not count."""
    code = (
        "from http.server import BaseHTTPRequestHandler, HTTPServer\n"
        "answers = iter([503, 503, 200])\n"
        "class Handler(BaseHTTPRequestHandler):\n"
        "    def do_GET(self):\n"
        "        code = next(answers)\n"
        "        print(self.path, code, flush=True)\n"
        "        self.send_response(code)\n"
        "        self.end_headers()\n"
        f"HTTPServer(('127.0.0.1', {cold_start.PORT}), Handler).serve_forever()\n"
    )
    (tmp_path / "slow_to_start.py").write_text(code)
    place = cold_start.Place(name="here", python=(sys.executable,), root=Path("/"), folder=tmp_path)
    program = cold_start.Program(
        name="gateway",
        place=place,
        words=("slow_to_start",),
        variables={"PYTHONPATH": str(tmp_path)},
        port=cold_start.PORT,
        path="/readyz",
    )
    start = cold_start.start_once(program, tmp_path / "log")
    assert start.wall_s > 0
    lines = [line for line in (tmp_path / "log").read_text().splitlines() if line.startswith("/readyz")]
    assert lines == ["/readyz 503", "/readyz 503", "/readyz 200"]


def test_a_program_that_ends_says_why(tmp_path: Path) -> None:
    """Rather than that the wait was too long."""
    place = cold_start.Place(name="here", python=(sys.executable,), root=Path("/"), folder=tmp_path)
    program = cold_start.Program(
        name="operator", place=place, words=("tercet_nowhere",), variables={}, port=cold_start.PORT, path="/"
    )
    with pytest.raises(RuntimeError, match="No module named tercet_nowhere"):
        cold_start.start_once(program, tmp_path / "log")


def test_an_image_is_unpacked_layer_upon_layer(tmp_path: Path) -> None:
    """The later layer's file stands; what a program is told lies where it sees it."""
    layers = {"one.tar": _tar({"a": b"1", "b": b"1"}), "two.tar": _tar({"b": b"2"})}
    manifest = json.dumps([{"Layers": list(layers)}]).encode()
    (tmp_path / "x.tar").write_bytes(_tar({"manifest.json": manifest} | layers))
    place = cold_start.unpack(tmp_path / "x.tar", tmp_path / "root")
    assert {file.name: file.read_bytes() for file in place.root.iterdir()} == {"a": b"1", "b": b"2"}
    seen = place.tell("settings", "text")
    assert (place.root / seen.removeprefix("/")).read_text() == "text"


def test_each_program_has_its_own_limit() -> None:
    """The median counts: one start beside a busy neighbour does not decide."""
    starts = tuple(cold_start.Start(wall_s=wall_s, cpu_s=1.0) for wall_s in (2.5, 2.5, 9.0))
    outcomes = [
        cold_start.Outcome(program=program, place="image", starts=starts)
        for program in ("gateway", "operator")
    ]
    assert [claim.is_met for claim in cold_start.judge(outcomes).claims] == [False, True]


def _tar(files: dict[str, bytes]) -> bytes:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return packed.getvalue()
