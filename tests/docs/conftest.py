"""What the tests of the documentation share: Markdown pages taken apart."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"

_BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_EQUATION = re.compile(r"^\$\$\n(.*?)^\$\$$", re.MULTILINE | re.DOTALL)
_HEADING = re.compile(r"^(#{1,6}) (.+)$", re.MULTILINE)
_LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
_SPAN = re.compile(r"`([^`\n]+)`")
# Pages with one language only: records of decisions, the log, and what a command writes.
_ONE_LANGUAGE = ("configuration.md", "LOG.md")


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

    @property
    def tables(self) -> list[list[str]]:
        """Cells of every body row of every table."""
        return _table_rows(self.text)

    def section(self, title: str) -> Page:
        """What stands below the heading `title`, up to the next heading of its level or above."""
        found = re.search(rf"^(#+) {re.escape(title)}$\n(.*)", self.text, re.MULTILINE | re.DOTALL)
        assert found, f"{self.name} has no heading {title!r}"
        level = len(found[1])
        below = re.split(rf"^#{{1,{level}}} ", found[2], maxsplit=1, flags=re.MULTILINE)[0]
        return Page(self.path, below)


@dataclass(frozen=True)
class Documentation:
    """All pages, in both languages."""

    root: Path

    def page(self, name: str) -> Page:
        path = self.root / name
        return Page(path, path.read_text(encoding="utf-8"))

    @property
    def english(self) -> list[Page]:
        """README and the pages under docs/ that have a Chinese counterpart."""
        names = [self._name(path) for path in sorted(DOCS.rglob("*.md"))]
        kept = [
            name
            for name in names
            if not name.startswith(("docs/zh/", "docs/adr/"))
            and Path(name).name not in _ONE_LANGUAGE
        ]
        return [self.page(name) for name in ["README.md", *kept]]

    @property
    def everything(self) -> list[Page]:
        """Every page but the records of decisions and the log."""
        names = [self._name(path) for path in sorted(DOCS.rglob("*.md"))]
        kept = [n for n in names if not n.startswith("docs/adr/") and not n.endswith("LOG.md")]
        return [self.page(n) for n in ["README.md", "README_zh.md", "CHANGELOG.md", *kept]]

    def chinese_name(self, page: Page) -> str:
        """Where the Chinese counterpart of an English page lies."""
        if page.name == "README.md":
            return "README_zh.md"
        return f"docs/zh/{page.path.relative_to(DOCS).as_posix()}"

    def _name(self, path: Path) -> str:
        return path.relative_to(self.root).as_posix()


@pytest.fixture(scope="session")
def docs() -> Documentation:
    """The documentation of the checkout that is being tested."""
    return Documentation(ROOT)


def _table_rows(text: str) -> list[list[str]]:
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
