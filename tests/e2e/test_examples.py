"""The examples, started as a user starts them; what they print is what the models said."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[2] / "examples"
PRINTED = {
    "question_answering": [
        "What is the capital of France?  ->  Paris",
        "not shown: EvaluateResult",
    ],
    "dialogue": ["assistant: You are Ben.", "assistant: 你是阿丽。"],
    "summarisation": ["method best_of_n", "win_rate 0."],
    "translation": ["method dpo", "after:"],
}


def test_every_example_is_tested():
    assert {path.stem for path in EXAMPLES.glob("*.py")} == set(PRINTED)


@pytest.mark.parametrize("name", PRINTED)
def test_an_example_runs_as_a_user_would(name, tmp_path):
    done = subprocess.run(
        [sys.executable, str(EXAMPLES / f"{name}.py")],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    for wanted in PRINTED[name]:
        assert wanted in done.stdout
    assert list(tmp_path.iterdir()) == []
