"""English and Chinese say the same, links lead somewhere, and the README keeps its first screen."""

from __future__ import annotations

import re

HAN = re.compile(r"[\u4e00-\u9fff]")


def test_every_page_has_a_counterpart(docs):
    expected = {docs.chinese_name(page) for page in docs.english} | {"docs/zh/configuration.md"}
    chinese = {page.name for page in docs.everything if page.name.startswith("docs/zh/")}
    assert chinese | {"README_zh.md"} == expected


def test_headings_have_the_same_levels_in_the_same_order(docs):
    for page in docs.english:
        chinese = docs.page(docs.chinese_name(page))
        levels = [level for level, _ in page.headings]
        assert [level for level, _ in chinese.headings] == levels, chinese.name


def test_code_blocks_are_identical(docs):
    """Blocks marked `text` are drawings with words in them and may be translated."""
    for page in docs.english:
        chinese = docs.page(docs.chinese_name(page))
        assert [language for language, _ in chinese.blocks] == [
            language for language, _ in page.blocks
        ], chinese.name
        for (language, code), (_, theirs) in zip(page.blocks, chinese.blocks, strict=True):
            if language != "text":
                assert theirs == code, chinese.name


def test_equations_and_tables_run_in_parallel(docs):
    for page in docs.english:
        chinese = docs.page(docs.chinese_name(page))
        assert chinese.equations == page.equations, chinese.name
        assert [len(row) for row in chinese.tables] == [len(row) for row in page.tables], (
            chinese.name
        )


def test_tables_name_the_same_things(docs):
    """The first cell of a row is a name, a message or a number, and those are not translated."""
    for page in docs.english:
        chinese = docs.page(docs.chinese_name(page))
        for ours, theirs in zip(page.tables, chinese.tables, strict=True):
            if re.fullmatch(r"`[^`]*`(, `[^`]*`)*", ours[0]):
                assert theirs[0] == ours[0], chinese.name


def test_chinese_pages_are_chinese(docs):
    for page in docs.english:
        chinese = docs.page(docs.chinese_name(page))
        # Tables of numbers are in no language.
        sentences = re.sub(r"^\|.*\n", "", chinese.prose, flags=re.MULTILINE)
        assert len(HAN.findall(sentences)) > 0.1 * len(sentences), chinese.name
        for _, title in chinese.headings:
            words = re.sub(r"`[^`]*`", "", title)
            assert HAN.search(title) or not re.search(r"[a-z]{4,}", words), title


def test_links_lead_to_files(docs):
    for page in docs.everything:
        for link in page.links:
            if re.match(r"\w+:", link):
                continue
            target = (page.path.parent / link.partition("#")[0]).resolve()
            assert target.exists(), f"{page.name}: {link}"


def test_every_page_links_to_the_other_language(docs):
    for page in docs.english:
        chinese = docs.page(docs.chinese_name(page))
        for here, there in ((page, chinese), (chinese, page)):
            targets = [(here.path.parent / link).resolve() for link in here.links]
            assert there.path in targets, here.name


def test_the_first_screen_of_the_readme(docs):
    for name, other in (("README.md", "README_zh.md"), ("README_zh.md", "README.md")):
        page = docs.page(name)
        lines = page.text.splitlines()
        assert other in lines[0]
        screen = "\n".join(lines[:40])
        for wanted in ("make quickstart", "make test", "python3 run.py quickstart", "report.png"):
            assert wanted in screen, f"{name}: {wanted}"


def test_readme_names_every_room(docs):
    source = docs.root / "src" / "instructgpt"
    rooms = {f"{path.name}/" for path in source.iterdir() if (path / "__init__.py").exists()}
    for name in ("README.md", "README_zh.md"):
        named = {row[0].strip("`") for row in docs.page(name).tables}
        assert rooms <= named, name


def test_no_chinese_comma_is_an_english_one(docs):
    """A Chinese sentence is punctuated as Chinese is."""
    for page in docs.everything:
        if not page.name.startswith(("docs/zh", "README_zh")):
            continue
        prose = re.sub(r"`[^`]*`|\$[^$]*\$", "", page.prose)
        wrong = re.findall(r"[\u4e00-\u9fff][,;:?!](?=[\u4e00-\u9fff])", prose)
        assert wrong == [], page.name
