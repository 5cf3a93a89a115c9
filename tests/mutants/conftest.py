"""What the mutant tests share: putting a bug into a function, and running a check by its name.

A mutant is a dict: `story` (where this bug has been seen, or what it does), `target`
("module:function" or "module:Class.method"), `old` and `new` (the source text that is replaced, so
that a mutant reads like the diff that introduced the bug), `caught_by` ("file::test" under tests/).
"""

from __future__ import annotations

import inspect
import itertools
import sys
import textwrap
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from importlib import import_module
from importlib.util import module_from_spec, spec_from_file_location
from operator import attrgetter
from pathlib import Path
from types import ModuleType

import pytest

TESTS = Path(__file__).parents[1]


@contextmanager
def mutated(target: str, old: str, new: str) -> Iterator[None]:
    """Within the block, `target` runs with `old` replaced by `new` in its source.

    The code object is swapped in place, so that modules which imported the function by name see
    the mutant too.
    """
    module_name, _, qualified_name = target.partition(":")
    function = attrgetter(qualified_name)(import_module(module_name))
    function = inspect.unwrap(getattr(function, "__func__", function))
    source = textwrap.dedent(inspect.getsource(function))
    assert source.count(old) == 1, f"{target} has {source.count(old)} times {old!r}, not once"
    source = "from __future__ import annotations\n" + source.replace(old, new)
    code = compile(source, f"<mutant of {target}>", "exec", dont_inherit=True)
    namespace = dict(function.__globals__)
    exec(code, namespace)
    mutant = namespace[function.__name__]
    mutant = inspect.unwrap(getattr(mutant, "__func__", mutant))
    original = function.__code__
    function.__code__ = mutant.__code__
    try:
        yield
    finally:
        function.__code__ = original


@cache
def load_test_file(path: Path) -> ModuleType:
    name = "_checked_" + "_".join(path.relative_to(TESTS).with_suffix("").parts)
    spec = spec_from_file_location(name, path)
    module = module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


def named_check(where: str) -> Callable[[], None]:
    """The test "file::function" as a call that runs it for all of its parameter sets."""
    path, _, name = where.partition("::")
    function = getattr(load_test_file(TESTS / path), name)
    marks = [m for m in getattr(function, "pytestmark", []) if m.name == "parametrize"]

    def one_axis(mark: pytest.Mark) -> list[dict[str, object]]:
        names, values = mark.args
        if isinstance(names, str):
            names = [n.strip() for n in names.split(",")]
            values = [v if len(names) > 1 else (v,) for v in values]
        return [dict(zip(names, value, strict=True)) for value in values]

    def run() -> None:
        for combination in itertools.product(*map(one_axis, marks)):
            function(**{k: v for axis in combination for k, v in axis.items()})

    return run


@cache
def assert_passes(where: str) -> None:
    named_check(where)()


@pytest.fixture
def assert_caught() -> Callable[[Mapping[str, str]], None]:
    """Fails unless the named check passes as things are and fails with the bug put in."""

    def assert_caught(mutant: Mapping[str, str]) -> None:
        assert_passes(mutant["caught_by"])
        check = named_check(mutant["caught_by"])
        with (
            mutated(mutant["target"], mutant["old"], mutant["new"]),
            pytest.raises((AssertionError, pytest.fail.Exception)),
        ):
            check()

    return assert_caught
