"""The pages that list things are complete: settings, and the details of the paper."""

from __future__ import annotations

import re
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path

import pytest

GENERATOR = Path(__file__).parents[2] / "docs" / "generate_configuration.py"


def test_the_configuration_page_is_up_to_date():
    spec = spec_from_file_location("generate_configuration", GENERATOR)
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    assert module.PAGE.read_text(encoding="utf-8") == module.page(), (
        "run: python docs/generate_configuration.py"
    )


@pytest.mark.parametrize("name", ["docs/paper-details.md", "docs/zh/paper-details.md"])
def test_all_48_details_are_there_in_order(docs, name):
    rows = docs.page(name).tables
    assert [int(row[0]) for row in rows] == list(range(1, 49))


def test_every_detail_has_a_verdict_a_place_and_a_test_or_says_none(docs):
    for row in docs.page("docs/paper-details.md").tables:
        number, _detail, verdict, place, test = row
        assert re.match(r"honoured|otherwise|not applicable|a choice|in part", verdict), number
        assert re.fullmatch(r"`[\w/]+\.py:[\w.]+`", place), number
        assert test == "none yet" or re.fullmatch(r"`[\w/]+\.py::\w+`", test), number


def test_records_of_decisions_that_are_cited_say_what_the_link_says(docs):
    for page in docs.everything:
        for number, target in re.findall(r"\[ADR (\d{4})\]\(([^)]+)\)", page.text):
            assert Path(target).name.startswith(f"{number}-"), f"{page.name}: {target}"
