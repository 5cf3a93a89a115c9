"""Markdown pages as their parts: headings, code blocks, equations, links, tables, code spans."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"

_BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_EQUATION = re.compile(r"^\$\$\n(.*?)^\$\$$", re.MULTILINE | re.DOTALL)
_HEADING = re.compile(r"^(#{1,6}) (.+)$", re.MULTILINE)
_LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
_SPAN = re.compile(r"`([^`\n]+)`")


@dataclass(frozen=True)
class Page:
    """One Markdown file."""

    path: Path
    text: str

    @property
    def name(self) -> str:
        return str(self.path.relative_to(ROOT))

    @property
    def blocks(self) -> list[tuple[str, str]]:
        """(language, code) of every fenced block."""
        return _BLOCK.findall(self.text)

    @property
    def prose(self) -> str:
        """The text without its fenced blocks."""
        return _BLOCK.sub("", self.text)

    @property
    def equations(self) -> list[str]:
        return _EQUATION.findall(self.text)

    @property
    def headings(self) -> list[tuple[int, str]]:
        """(level, text) of every heading."""
        return [(len(marks), title.strip()) for marks, title in _HEADING.findall(self.prose)]

    @property
    def links(self) -> list[str]:
        return _LINK.findall(self.prose)

    @property
    def spans(self) -> list[str]:
        """What stands between single backticks."""
        return _SPAN.findall(self.prose)

    def section(self, title: str) -> str:
        """The text below the heading `title`, up to the next heading of its level or above."""
        found = re.search(rf"^(#+) {re.escape(title)}$\n(.*)", self.text, re.MULTILINE | re.DOTALL)
        assert found, f"{self.name} has no heading {title!r}"
        level = len(found[1])
        return re.split(rf"^#{{1,{level}}} ", found[2], maxsplit=1, flags=re.MULTILINE)[0]


def read_page(path: Path) -> Page:
    return Page(path, path.read_text(encoding="utf-8"))


def table_rows(text: str) -> list[list[str]]:
    """Cells of every body row of the Markdown tables in `text`."""
    rows: list[list[str]] = []
    in_body = False
    for line in text.splitlines():
        if not line.startswith("|"):
            in_body = False
        elif re.fullmatch(r"[|\s:-]+", line):
            in_body = True
        elif in_body:
            cells = re.split(r"(?<!\\)\|", line.strip().strip("|"))
            rows.append([cell.strip() for cell in cells])
    return rows


def english_pages() -> list[Page]:
    """README and everything under docs/ that is written by hand in both languages."""
    single = {"configuration.md", "LOG.md", "results.md"}
    pages = [
        path
        for path in sorted(DOCS.rglob("*.md"))
        if path.relative_to(DOCS).parts[0] not in ("zh", "adr") and path.name not in single
    ]
    return [read_page(path) for path in [ROOT / "README.md", *pages]]


def chinese_page_of(page: Page) -> Path:
    """Where the Chinese counterpart of an English page lies."""
    if page.path.parent == ROOT:
        return ROOT / "README_zh.md"
    return DOCS / "zh" / page.path.relative_to(DOCS)


def all_pages() -> list[Page]:
    """Every page that people read, in both languages, without the decision records and the log."""
    paths = [path for path in sorted(DOCS.rglob("*.md")) if path.parent.name != "adr"]
    paths = [path for path in paths if path.name != "LOG.md"]
    top = [ROOT / "README.md", ROOT / "README_zh.md", ROOT / "CHANGELOG.md"]
    return [read_page(path) for path in [*top, *paths]]
