"""Fingerprints change with content and with nothing else."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import pytest

from instructgpt.errors import ConfigError, DataError
from instructgpt.storage.fingerprint import canonical_json, fingerprint_json, fingerprint_path


def make_tree(root: Path, files: dict[str, str]) -> Path:
    for name, content in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
    return root


FILES = {"config.json": "{}", "weights/a": "1", "weights/b": "2", "b": "3"}


def test_a_file_has_the_sha256_of_its_bytes(tmp_path: Path) -> None:
    # FIPS 180-2, appendix B.1
    (tmp_path / "abc").write_bytes(b"abc")
    expected = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    assert fingerprint_path(tmp_path / "abc") == expected


def test_a_tree_does_not_depend_on_where_it_lies_or_in_which_order_it_was_made(
    tmp_path: Path,
) -> None:
    one = make_tree(tmp_path / "one", FILES)
    two = make_tree(tmp_path / "two", dict(reversed(FILES.items())))
    assert fingerprint_path(one) == fingerprint_path(two)


@pytest.mark.parametrize(
    "change",
    [
        {"weights/b": "other"},
        {"weights/c": ""},
        {"weights/b": "1", "weights/a": "2"},  # contents exchanged
    ],
)
def test_a_tree_depends_on_names_and_contents(tmp_path: Path, change: dict[str, str]) -> None:
    one = make_tree(tmp_path / "one", FILES)
    two = make_tree(tmp_path / "two", {**FILES, **change})
    assert fingerprint_path(one) != fingerprint_path(two)


def test_a_renamed_or_moved_file_changes_the_tree(tmp_path: Path) -> None:
    root = make_tree(tmp_path / "one", FILES)
    seen = {fingerprint_path(root)}
    os.rename(root / "b", root / "c")
    seen.add(fingerprint_path(root))
    os.rename(root / "c", root / "weights" / "c")
    seen.add(fingerprint_path(root))
    assert len(seen) == 3


def test_hidden_files_do_not_count_and_links_are_followed(tmp_path: Path) -> None:
    one = make_tree(tmp_path / "one", FILES)
    two = make_tree(tmp_path / "two", {**FILES, ".DS_Store": "x", ".cache/y": "z"})
    (two / "b").unlink()
    (tmp_path / "elsewhere").write_text("3")
    (two / "b").symlink_to(tmp_path / "elsewhere")
    assert fingerprint_path(one) == fingerprint_path(two)


def test_a_link_to_its_own_parent_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "loop").symlink_to(tmp_path, target_is_directory=True)
    with pytest.raises(DataError, match="contains it"):
        fingerprint_path(tmp_path)


def test_a_missing_file_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"gone\.txt': No such file"):
        fingerprint_path(tmp_path / "gone.txt")


def test_settings_have_one_text_each() -> None:
    text = canonical_json({"b": (1, 2.5), "a": {"y": None, "x": "宠物"}})
    assert text == '{"a":{"x":"宠物","y":null},"b":[1,2.5]}'
    assert fingerprint_json({"b": [1, 2.5], "a": {"x": "宠物", "y": None}}) == (
        hashlib.sha256(text.encode()).hexdigest()
    )


@pytest.mark.parametrize("value", [{"lr": float("nan")}, {"lr": float("inf")}, {"s": "\ud800"}])
def test_what_json_cannot_hold_is_an_error(value: dict[str, object]) -> None:
    with pytest.raises(ConfigError, match="valid JSON"):
        fingerprint_json(value)
