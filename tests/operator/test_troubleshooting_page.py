"""docs/troubleshooting.md has an entry for each reason that a condition may carry."""

import re
from pathlib import Path

from tercet_operator import observed, status

from tests.operator.test_operator_page import iter_reasons

DOCS = Path(__file__).parents[2] / "docs"
PAGE = DOCS / "troubleshooting.md"


def read_entries() -> dict[str, str]:
    """The text below each heading of the third level."""
    parts = re.split(r"^###? +", PAGE.read_text(), flags=re.MULTILINE)
    entries = {part.partition("\n")[0]: part.partition("\n")[2].strip() for part in parts[1:]}
    sections = re.findall(r"^## +(.+)$", PAGE.read_text(), re.MULTILINE)
    return {heading: text for heading, text in entries.items() if heading not in sections}


def test_every_reason_has_an_entry() -> None:
    """None is missing, none is left over, and each says something."""
    modules = (Path(str(module.__file__)).read_text() for module in (status, observed))
    reasons = {reason for source in modules for reason in iter_reasons(source)}
    entries = read_entries()
    assert len(reasons) > 10
    assert set(entries) == reasons
    assert [reason for reason, text in entries.items() if len(text) < 40] == []


def test_links_between_pages_lead_somewhere() -> None:
    """In all pages of docs/: the file is there, and so is the heading."""
    broken = []
    for page in sorted(DOCS.glob("*.md")):
        for target, anchor in re.findall(r"\]\(([\w./-]*)(?:#([\w-]+))?\)", page.read_text()):
            there = (page.parent / target).resolve() if target else page
            if not there.exists() or (anchor and anchor not in read_anchors(there)):
                broken.append(f"{page.name}: {target}#{anchor}")
    assert broken == []


def read_anchors(page: Path) -> set[str]:
    """As Markdown renderers make them of headings."""
    headings = re.findall(r"^#+ +(.+)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading).strip().lower().replace(" ", "-") for heading in headings}
