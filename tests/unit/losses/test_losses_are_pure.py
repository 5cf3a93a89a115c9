from __future__ import annotations

import ast
import sys
from pathlib import Path

import pytest

from instructgpt import losses

FILES = sorted(Path(losses.__file__).parent.glob("*.py"))


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_the_paper_layer_imports_torch_and_nothing_else(path: Path) -> None:
    imported = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            imported |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0
            imported.add(node.module)
    foreign = {
        name
        for name in imported
        if name.split(".")[0] not in sys.stdlib_module_names
        and name.split(".")[0] != "torch"
        and not name.startswith("instructgpt.losses.")
    }
    assert foreign == set()


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_the_paper_layer_has_no_objects_with_behaviour(path: Path) -> None:
    classes = [n for n in ast.walk(ast.parse(path.read_text())) if isinstance(n, ast.ClassDef)]
    methods = [n for c in classes for n in c.body if isinstance(n, ast.FunctionDef)]
    assert methods == []
