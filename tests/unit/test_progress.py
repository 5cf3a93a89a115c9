"""Progress is silent by itself, and plain lines where there is neither terminal nor notebook."""

from __future__ import annotations

import builtins
import re
import sys
from collections.abc import Iterator
from types import ModuleType
from typing import ClassVar

import pytest

from instructgpt import progress as module
from instructgpt.progress import format_numbers, format_seconds, progress, show_progress


@pytest.fixture
def shown() -> Iterator[None]:
    show_progress()
    yield
    show_progress(False)


def test_library_code_is_silent(capsys: pytest.CaptureFixture[str]) -> None:
    with progress("PPO", 3) as bar:
        bar.advance(3, loss=1.0)
        bar.note(kl=2.0)
    assert capsys.readouterr() == ("", "")


def test_the_last_line_says_count_rate_and_numbers(
    shown: None, capsys: pytest.CaptureFixture[str]
) -> None:
    with progress("PPO", 5, unit="step", start=2) as bar:
        bar.advance(loss=0.5)
        bar.advance(2, loss=0.25)
        bar.note(kl=12345.678)
    out, err = capsys.readouterr()
    assert out == ""
    assert re.fullmatch(r"PPO 5/5 step  \S+ step/s  0:00 passed  loss 0\.25  kl 1\.235e\+04\n", err)


def test_lines_come_at_intervals_with_the_time_left(
    shown: None, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """One unit every 4 seconds, begun at 2 of 12: after 12 s, 3 are done and 7 x 4 s are left."""
    now = [100.0]
    monkeypatch.setattr(module, "monotonic", lambda: now[0])
    with progress("fit", 12, start=2) as bar:
        for _ in range(3):
            now[0] += 4
            bar.advance()
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == "fit 5/12 it  0.25 it/s  0:28 left"


def test_only_the_first_six_numbers_are_shown(
    shown: None, capsys: pytest.CaptureFixture[str]
) -> None:
    with progress("ppo", 1) as bar:
        bar.advance(1, **{f"metric_{i}": float(i) for i in range(9)})
    line = capsys.readouterr().err
    assert line.endswith("metric_4 4  metric_5 5\n")


def test_nothing_done_prints_nothing(shown: None, capsys: pytest.CaptureFixture[str]) -> None:
    with progress("fit", 3, start=3):
        pass
    assert capsys.readouterr().err == ""


def test_a_terminal_gets_a_bar(
    shown: None, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "120")
    monkeypatch.setattr(module.sys.stderr, "isatty", lambda: True, raising=False)
    with progress("PPO", 4, unit="step", start=1) as bar:
        bar.advance(2, loss=0.5)
        bar.columns.refresh()  # type: ignore[attr-defined]
    text = capsys.readouterr().err
    assert "PPO" in text
    assert "3/4" in text
    assert "loss 0.5" in text


class ZMQInteractiveShell:
    """By this class name of `get_ipython()` rich knows a notebook."""


class Output:
    """ipywidgets' output area, as rich uses it."""

    made: ClassVar[list[Output]] = []
    current: ClassVar[Output | None] = None

    def __init__(self) -> None:
        self.texts: list[str] = []
        Output.made.append(self)

    def __enter__(self) -> None:
        Output.current = self

    def __exit__(self, *error: object) -> None:
        Output.current = None

    def clear_output(self, wait: bool) -> None:
        self.texts.clear()


def _display(shown: object) -> None:
    """IPython's display: a widget itself, or what rich rendered, into the widget that is open."""
    if isinstance(shown, Output):
        return
    text = shown._repr_mimebundle_((), ())["text/plain"]
    if Output.current is not None:
        Output.current.texts.append(text)
    else:
        assert text == ""  # rich ends its display with an empty cell


@pytest.fixture
def notebook(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """What rich looks for in a Jupyter kernel, with ipywidgets installed."""
    shell, display = ModuleType("IPython"), ModuleType("IPython.display")
    display.display = _display  # type: ignore[attr-defined]
    shell.display = display  # type: ignore[attr-defined]
    widgets = ModuleType("ipywidgets")
    widgets.Output = Output  # type: ignore[attr-defined]
    for name, module_ in {"IPython": shell, "IPython.display": display}.items():
        monkeypatch.setitem(sys.modules, name, module_)
    monkeypatch.setitem(sys.modules, "ipywidgets", widgets)
    monkeypatch.setattr(builtins, "get_ipython", ZMQInteractiveShell, raising=False)
    Output.made.clear()
    yield
    Output.made.clear()


@pytest.mark.usefixtures("shown", "notebook")
def test_a_notebook_gets_a_bar_of_its_own(capsys: pytest.CaptureFixture[str]) -> None:
    with progress("fit", 4, unit="step") as bar:
        bar.advance(3, loss=0.5)
        bar.columns.refresh()  # type: ignore[attr-defined]
        (output,) = Output.made
        assert re.search(r"fit .*3/4.*loss 0\.5", output.texts[-1])
        bar.advance(1, loss=0.25)
    assert re.search(r"fit .*4/4.*loss 0\.25", output.texts[-1])  # the bar stays, as it ended
    assert Output.made == [output]
    assert capsys.readouterr() == ("", "")


@pytest.mark.usefixtures("shown", "notebook")
def test_a_notebook_without_ipywidgets_gets_lines(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """rich alone would warn and draw nothing."""
    monkeypatch.setitem(sys.modules, "ipywidgets", None)
    with progress("fit", 4, unit="step") as bar:
        bar.advance(4, loss=0.5)
    assert capsys.readouterr().err.startswith("fit 4/4 step")


def test_formats() -> None:
    assert [format_seconds(s) for s in (0.4, 59.6, 3599, 3661)] == [
        "0:00",
        "1:00",
        "59:59",
        "1:01:01",
    ]
    numbers = {"a": 1.0, "b": 0.000123456, "c": 123456}
    assert format_numbers(numbers) == "a 1  b 0.0001235  c 123,456"
