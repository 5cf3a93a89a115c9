"""What importing costs: settings, records and the command line must start without torch."""

from __future__ import annotations

import subprocess
import sys

import pytest

import instructgpt

HEAVY = ("torch", "transformers", "matplotlib", "sacrebleu")


def loaded_by(code: str) -> str:
    """The heavy modules that a fresh interpreter has loaded after `code`."""
    report = f"import sys; print([m for m in {HEAVY} if m in sys.modules])"
    command = [sys.executable, "-c", f"{code}\n{report}"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return done.stdout.splitlines()[-1]


@pytest.mark.parametrize(
    "code",
    [
        "import instructgpt",
        "from instructgpt import Message, Prompt, Ranking, InstructGPTError, run_recipe",
        "import instructgpt.data.readers, instructgpt.data.splits",
        "import instructgpt.progress, instructgpt.storage.run_dir",
        "import instructgpt.pipeline.run, instructgpt.pipeline.data",
        "from instructgpt.pipeline.stages import STAGES\n"
        "[stage.config_class() for stage in STAGES.values()]",
        "from instructgpt.cli.main import app\n"
        "from typer.testing import CliRunner\n"
        "assert CliRunner().invoke(app, ['--help']).exit_code == 0\n"
        "assert CliRunner().invoke(app, ['ppo', '--help']).exit_code == 0",
    ],
)
def test_nothing_heavy_is_imported_early(code: str) -> None:
    assert loaded_by(code) == "[]"


def test_every_public_name_can_be_had() -> None:
    for name in instructgpt.__all__:
        assert getattr(instructgpt, name) is not None
    assert set(instructgpt.__all__) <= set(dir(instructgpt))


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        _ = instructgpt.nonsense
