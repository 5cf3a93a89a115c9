"""Peers' own environments, made at the first use: what they need must not touch what we need."""

from __future__ import annotations

import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

HERE = Path(__file__).resolve().parent
PEERS = HERE / ".peers"
OURS = Path(sys.executable)


def peer_python(name: str) -> Path:
    """The Python of the environment that peers/NAME.txt describes; made anew when it changed."""
    home = PEERS / name
    python = home / "bin" / "python"
    wanted = (HERE / "peers" / f"{name}.txt").read_text()
    stamp = home / "requirements.txt"
    if not stamp.exists() or stamp.read_text() != wanted:
        print(f"making the environment of {name} in {home.relative_to(HERE.parent)}", flush=True)
        install = [str(python), "-m", "pip", "install", "-q"]
        for command in (
            [sys.executable, "-m", "venv", "--clear", str(home)],
            # torch first and alone: the build that is here, not one with gigabytes of CUDA
            [*install, f"torch=={version('torch').split('+')[0]}"],
            [*install, "-r", str(HERE / "peers" / f"{name}.txt")],
        ):
            if subprocess.run(command).returncode:
                sys.exit(f"no environment of {name}: see above; pip needs a network or a mirror")
        stamp.write_text(wanted)
    return python
