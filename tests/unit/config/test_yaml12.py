"""YAML's old surprises, gone: the expected values are those of the YAML 1.2 core schema."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest

from instructgpt.config.yaml12 import Settings, dump_yaml, parse_yaml_value, read_yaml


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-5", 1e-5),
        ("1E5", 1e5),
        (".5", 0.5),
        ("-3", -3),
        ("010", 10),
        ("1:30", "1:30"),
        ("no", "no"),
        ("on", "on"),
        ("y", "y"),
        ("true", True),
        ("False", False),
        ("null", None),
        ("~", None),
        ("2024-01-01", "2024-01-01"),
        ("1_000", "1_000"),
        ("0x10", "0x10"),
        ("=", "="),
        ("'1e-5'", "1e-5"),
        ("[1e-5, no]", [1e-5, "no"]),
    ],
)
def test_only_plain_numbers_booleans_and_null_are_not_text(text: str, value: Any) -> None:
    parsed = parse_yaml_value(text)
    assert parsed == value
    assert type(parsed) is type(value)


def test_infinities_and_nan() -> None:
    assert parse_yaml_value(".inf") == math.inf
    assert parse_yaml_value("-.inf") == -math.inf
    assert math.isnan(parse_yaml_value(".nan"))


@pytest.mark.parametrize(
    "value",
    [
        "1e-5",
        "010",
        "no",
        "true",
        "null",
        "",
        "~",
        "2024-01-01",
        "a: b",
        "中文",
        "# x",
        "- y",
        "0.1",
    ],
)
def test_dumped_text_stays_text(tmp_path: Path, value: str) -> None:
    path = tmp_path / "a.yaml"
    path.write_text(dump_yaml({"key": value, "list": [value]}), encoding="utf-8")
    assert read_yaml(path).values == {"key": value, "list": [value]}


def test_every_key_knows_its_line(tmp_path: Path) -> None:
    path = tmp_path / "a.yaml"
    path.write_text("\ufeff# comment\na: 1\nb:\n  c: {d: 2}\n", encoding="utf-8")
    settings = read_yaml(path)
    assert settings.values == {"a": 1, "b": {"c": {"d": 2}}}
    assert settings.origin("a") == f"{path}:2"
    assert settings.origin("b.c.d") == f"{path}:4"
    assert settings.origin("b.unknown") == f"{path}:3"
    assert settings.section("b").origin("c") == f"{path}:4"


def test_an_empty_file_has_no_settings(tmp_path: Path) -> None:
    path = tmp_path / "a.yaml"
    path.write_text("# nothing\n", encoding="utf-8")
    assert read_yaml(path).values == {}


def test_overlay_merges_sections_and_replaces_the_rest() -> None:
    below = Settings({"a": {"x": 1, "y": 2}, "b": [1, 2]}, {"a.x": "f:1", "b": "f:2"})
    above = Settings({"a": {"y": 3}, "b": [4]}, {"a.y": "--a.y", "b": "--b"})
    both = below.overlay(above)
    assert both.values == {"a": {"x": 1, "y": 3}, "b": [4]}
    assert both.origins == {"a.x": "f:1", "a.y": "--a.y", "b": "--b"}
    assert below.values == {"a": {"x": 1, "y": 2}, "b": [1, 2]}
