"""Both hubs against a small server that speaks as much of their protocols as a download needs."""

import errno
import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from urllib.parse import parse_qs, urlparse

import pytest
from tercet_cli.errors import SourceError
from tercet_cli.hubs import Hub, HuggingFaceHub, ModelScopeHub, storage_error

COMMIT = "0123456789abcdef0123456789abcdef01234567"
FILES = {
    "config.json": b'{"model_type": "qwen2_5_omni"}',
    "model-00001-of-00001.safetensors": bytes(range(256)) * 512,
    "spk_dict.pt": b"voices",
    "README.md": b"not wanted",
    "assets/picture.png": b"not wanted either",
}
WANTED = {"config.json", "model-00001-of-00001.safetensors", "spk_dict.pt"}


@dataclass(slots=True, kw_only=True)
class Served:
    """What the server answers with, and what it was asked for."""

    url: str = ""
    status: int = 200
    error_code: str = ""
    served: list[str] = field(default_factory=list)


@pytest.fixture
def server() -> Iterator[Served]:
    served = Served()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            _answer(self, served)

        def do_HEAD(self) -> None:
            _answer(self, served)

        def log_message(self, *args: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as httpd:
        served.url = f"http://127.0.0.1:{httpd.server_port}"
        thread = Thread(target=httpd.serve_forever, args=(0.01,))
        thread.start()
        yield served
        httpd.shutdown()
        thread.join()


def _answer(request: BaseHTTPRequestHandler, served: Served) -> None:
    path, query = urlparse(request.path).path, parse_qs(urlparse(request.path).query)
    if served.status != 200:
        _send(
            request,
            b'{"Message": "refused"}',
            status=served.status,
            headers={"X-Error-Code": served.error_code},
        )
    elif "/revision/" in path or path == "/api/models/org/omni":
        _send(request, json.dumps({"id": "org/omni", "sha": COMMIT, "siblings": []}).encode())
    elif "/tree/" in path:
        _send(request, json.dumps([_tree_entry(name) for name in FILES]).encode())
    elif path.endswith("/repo/files"):
        files = [_ms_entry(name) for name in FILES]
        _send(request, json.dumps({"Code": 200, "Success": True, "Data": {"Files": files}}).encode())
    elif path.endswith("/repo"):
        _send_file(request, served, query["FilePath"][0])
    elif (name := path.partition(f"/resolve/{COMMIT}/")[2]) in FILES:
        _send_file(request, served, name)
    else:
        _send(request, b"{}", status=404)


def _tree_entry(name: str) -> dict[str, object]:
    blob = hashlib.sha1(FILES[name]).hexdigest()
    return {"type": "file", "path": name, "size": len(FILES[name]), "oid": blob}


def _ms_entry(name: str) -> dict[str, object]:
    sha = hashlib.sha256(FILES[name]).hexdigest()
    return {"Path": name, "Name": name, "Type": "blob", "Size": len(FILES[name]), "Sha256": sha}


def _send_file(request: BaseHTTPRequestHandler, served: Served, name: str) -> None:
    if request.command == "GET":
        served.served.append(name)
    tag = hashlib.sha1(FILES[name]).hexdigest()
    _send(request, FILES[name], headers={"ETag": f'"{tag}"', "X-Repo-Commit": COMMIT})


def _send(
    request: BaseHTTPRequestHandler, body: bytes, *, status: int = 200, headers: dict[str, str] | None = None
) -> None:
    request.send_response(status)
    for key, value in {"Content-Length": str(len(body)), **(headers or {})}.items():
        request.send_header(key, value)
    request.end_headers()
    if request.command == "GET":
        request.wfile.write(body)


HUBS = pytest.mark.parametrize("kind", [HuggingFaceHub, ModelScopeHub])


@HUBS
def test_only_the_files_a_stage_reads_are_downloaded(
    kind: type[HuggingFaceHub | ModelScopeHub], server: Served, tmp_path: Path
) -> None:
    """Pictures and READMEs stay behind."""
    hub: Hub = kind(server.url)
    folder = hub.download("org/omni", "main", tmp_path, _ignore)
    there = {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}
    assert {name for name in there if not name.startswith(".")} == WANTED
    assert all((folder / name).read_bytes() == FILES[name] for name in WANTED)


def test_progress_counts_the_bytes_of_all_files(server: Served, tmp_path: Path) -> None:
    """It ends at the size of what was wanted."""
    seen: list[tuple[int, int]] = []
    HuggingFaceHub(server.url).download("org/omni", "main", tmp_path, lambda *counts: seen.append(counts))
    whole = sum(len(FILES[name]) for name in WANTED)
    assert max(seen) == (whole, whole)


@HUBS
def test_a_second_call_fetches_nothing_again(
    kind: type[HuggingFaceHub | ModelScopeHub], server: Served, tmp_path: Path
) -> None:
    """The folder is the same and the server sends no file twice."""
    hub: Hub = kind(server.url)
    first = hub.download("org/omni", "main", tmp_path, _ignore)
    second = hub.download("org/omni", "main", tmp_path, _ignore)
    assert first == second
    assert sorted(server.served) == sorted(WANTED)


@pytest.mark.parametrize(
    ("kind", "refusal", "words"),
    [
        (HuggingFaceHub, (404, "RepoNotFound"), "no such repository, or it is private"),
        (HuggingFaceHub, (404, "RevisionNotFound"), "no revision 'v9'"),
        (HuggingFaceHub, (403, "GatedRepo"), "accept its terms"),
        (ModelScopeHub, (404, ""), "no such repository or revision 'v9'"),
        (ModelScopeHub, (403, ""), "ms login"),
    ],
)
def test_a_refusal_is_one_sentence_with_the_remedy(
    kind: type[HuggingFaceHub | ModelScopeHub],
    refusal: tuple[int, str],
    words: str,
    server: Served,
    tmp_path: Path,
) -> None:
    """What the hub says no to is named, and what the user can do about it."""
    server.status, server.error_code = refusal
    with pytest.raises(SourceError, match=words) as caught:
        kind(server.url).download("org/omni", "v9", tmp_path, _ignore)
    assert "\n" not in str(caught.value)


@HUBS
def test_a_hub_that_cannot_be_reached_says_so(
    kind: type[HuggingFaceHub | ModelScopeHub], tmp_path: Path
) -> None:
    """Nothing listens on the address."""
    with pytest.raises(SourceError, match="cannot be reached"):
        kind("http://127.0.0.1:9").download("org/omni", "main", tmp_path, _ignore)


@pytest.mark.parametrize(
    ("number", "words"),
    [(errno.ENOSPC, "no space left"), (errno.EACCES, "cannot write"), (errno.EDQUOT, "no space")],
)
def test_a_full_disk_names_the_folder_and_the_way_out(number: int, words: str, tmp_path: Path) -> None:
    """The folder that is full or closed is in the sentence."""
    said = str(storage_error("hf://org/omni", tmp_path, OSError(number, "reason")))
    assert words in said
    assert str(tmp_path) in said
    assert "another cache folder" in said


def _ignore(done: int, total: int) -> None:
    del done, total
