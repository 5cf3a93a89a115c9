"""The peer's resumed SFT, until its first new step is done; prints one JSON line.

Three processes: one that measures, one that is stopped after its checkpoint, one that goes on.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from typing import Any

STOPPED = 17


def main() -> None:
    """Prepare, stop, go on."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--threads", type=int)
    parser.add_argument("--train", help="be one of the processes that train, in this folder")
    arguments = parser.parse_args()
    if arguments.train:
        train(arguments.train)
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, __file__, "--train", folder]
        _until_it_stops(command)
        print(json.dumps({**_until_it_stops(command), "work": "resume"}))


def _until_it_stops(command: list[str]) -> dict[str, float]:
    clock = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    if os.waitstatus_to_exitcode(status) != STOPPED:
        sys.exit(f"failed: {' '.join(command)}")
    seconds = time.perf_counter() - clock
    return {"seconds": seconds, "cpu_seconds": usage.ru_utime + usage.ru_stime}


def train(folder: str) -> None:
    """Until the first checkpoint, or one step further where there is one."""
    from common import quiet  # isort: skip

    from datasets import Dataset
    from models import add_model_arguments, language_model, word, word_tokenizer
    from transformers import TrainerCallback
    from trl import SFTConfig, SFTTrainer

    class Stop(TrainerCallback):
        def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            if resumes:
                os._exit(STOPPED)

        def on_save(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            os._exit(STOPPED)

    resumes = any(name.startswith("checkpoint-") for name in os.listdir(folder))
    defaults = argparse.ArgumentParser()
    add_model_arguments(defaults)
    arguments = defaults.parse_args([])
    words = " ".join(word(i) for i in range(4, 36))
    rows = [{"prompt": words, "completion": f" {words}"} for _ in range(64)]
    settings = SFTConfig(
        **{**quiet(folder), "save_strategy": "steps"}, save_steps=2, num_train_epochs=100
    )
    trainer = SFTTrainer(
        model=language_model(arguments),
        args=settings,
        processing_class=word_tokenizer(arguments.vocab),
        train_dataset=Dataset.from_list(rows),
        callbacks=[Stop()],
    )
    trainer.train(resume_from_checkpoint=resumes or None)


if __name__ == "__main__":
    main()
