"""The rules about size, names and addresses that no linter keeps."""

import ast
import itertools
import re
import subprocess
import tomllib
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parent.parent
CODE_FOLDERS = ("wire", "engine", "gateway", "operator", "cli", "model_repo", "host", "bench")
FILE_LINES_MAX = 600
FUNCTION_LINES_MAX = 50
ADAPTER_LINES_MAX = 150


def iter_modules() -> Iterator[Path]:
    for folder in CODE_FOLDERS:
        yield from sorted((ROOT / folder).rglob("*.py"))


def iter_functions(path: Path) -> Iterator[tuple[int, str]]:
    """(lines, path:name) of each function, without its docstring and decorators."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.end_lineno is not None:
            body = node.body[1:] if ast.get_docstring(node) and len(node.body) > 1 else node.body
            yield node.end_lineno - body[0].lineno + 1, f"{path.relative_to(ROOT)}:{node.name}"


def tracked_files() -> list[Path]:
    names = subprocess.run(
        ["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=True, text=True
    ).stdout
    return [ROOT / name for name in names.split("\0") if name and (ROOT / name).is_file()]


def test_files_stay_small() -> None:
    """No module has more than 600 lines."""
    sizes = sorted(((len(path.read_text().splitlines()), path) for path in iter_modules()), reverse=True)
    print("largest files:", *(f"\n  {lines} {path.relative_to(ROOT)}" for lines, path in sizes[:5]))
    assert [str(path) for lines, path in sizes if lines > FILE_LINES_MAX] == []


def test_functions_stay_small() -> None:
    """No function has more than 50 lines."""
    sizes = sorted((f for path in iter_modules() for f in iter_functions(path)), reverse=True)
    print("longest functions:", *(f"\n  {lines} {name}" for lines, name in sizes[:5]))
    assert [name for lines, name in sizes if lines > FUNCTION_LINES_MAX] == []


def test_model_adapters_stay_thin() -> None:
    """A Triton model.py only turns tensors into engine calls."""
    adapters = sorted((ROOT / "model_repo").glob("*/1/model.py"))
    assert len(adapters) == 3
    assert [str(p) for p in adapters if len(p.read_text().splitlines()) > ADAPTER_LINES_MAX] == []


def test_no_vague_module_names() -> None:
    """A newcomer guesses the right file from its name."""
    vague = {"utils", "helpers", "common", "misc", "manager", "base"}
    assert [str(path) for path in iter_modules() if path.stem.strip("_") in vague] == []


def test_every_dependency_is_explained() -> None:
    """Each direct dependency has its line in docs/dependencies.md, and no line is left over."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = itertools.chain.from_iterable(project["optional-dependencies"].values())
    wanted = [*project["dependencies"], *extras]
    names = {re.split(r"[\[<>=!~ ]", item)[0].lower() for item in wanted} - {"tercet"}
    rows = re.findall(r"^\| ([a-z][a-z0-9-]+) \|", (ROOT / "docs/dependencies.md").read_text(), re.MULTILINE)
    assert sorted(rows) == sorted(names | {"package"})


def test_no_registry_address_in_the_tree() -> None:
    """Lock files and docs name packages, never the host that served them."""
    hosts = re.compile(
        "|".join(("files.python" + "hosted", "pypi" + r"\.org", "registry" + r"\.npmjs", "docker" + r"\.io"))
    )
    found = [
        str(path)
        for path in tracked_files()
        if path.suffix in {".txt", ".toml", ".md", ".py", ".yaml", ".sh", ""}
        and hosts.search(path.read_text(errors="replace"))
    ]
    assert found == []
