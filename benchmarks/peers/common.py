"""What all peers of TRL are told alike; also lets them import workloads/.

They run in an environment of their own and share no code with us but the models and the data.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "workloads"))

import torch


def quiet(folder: str) -> dict[str, Any]:
    """Train where we train, write nothing, print nothing."""
    return {
        "output_dir": folder,
        "use_cpu": not torch.cuda.is_available(),
        "save_strategy": "no",
        "report_to": "none",
        "disable_tqdm": True,
        "logging_steps": 10**6,
    }
