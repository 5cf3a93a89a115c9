"""Where a loop keeps what.

history.jsonl               what happened
feedback/                   what users gave: prompts, votes, thumbs
labels.sqlite               what people label
start/STAGE/                the runs of round 0
rounds/001/STAGE/           the runs of a round
rounds/001/prompts/         the prompts that it took, by use
rounds/001/demonstrations/  all demonstrations so far
rounds/001/people/          rankings by people, if they rank
rounds/001/comparison/      what judges said of the candidate
rounds/001/loop.yaml        the settings as they were
report.html, report.json    the story so far
"""

from __future__ import annotations

from pathlib import Path

FEEDBACK = "feedback"
ROUNDS = "rounds"
LABELS = "labels.sqlite"
JUDGED = "judged.jsonl"


def start_folder(root: Path) -> Path:
    """Where the start's stages run."""
    return root / "start"


def round_folder(root: Path, number: int) -> Path:
    """Where the stages of round `number`, from 1, run."""
    return root / ROUNDS / f"{number:03d}"


def judged_file(root: Path, number: int) -> Path:
    """One row per prompt on which judges compared the candidate of round `number`."""
    return round_folder(root, number) / "comparison" / JUDGED
