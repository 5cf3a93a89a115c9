"""The ten-line way in: load a model, fit it on instructions, ask it, save it.

model = InstructGPT.load("gpt2")
model.fit([{"instruction": "What is a whale?", "output": "A whale is a mammal."}])
print(model.ask("What is a whale?"))
model.save("my-model")
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from instructgpt import __version__
from instructgpt.config.sft import SFTConfig
from instructgpt.config.shared import OptimConfig
from instructgpt.data.readers import parse_demonstrations
from instructgpt.data.records import Demonstration, Message
from instructgpt.distributed.world import World
from instructgpt.models.causal_lm import CausalLM
from instructgpt.models.export import export_model
from instructgpt.progress import progress
from instructgpt.serving.session import Session
from instructgpt.training.examples import tokenize_demonstrations
from instructgpt.training.sft import SFTTrainer

# Fewer steps than this do not teach a handful of rows; many rows get their passes anyway.
_MIN_STEPS = 300
_MIN_EPOCHS = 3
# Mean loss per token over the last pass at which the rows are known by heart.
_LEARNED = 0.01


@dataclass(frozen=True, slots=True)
class FitResult:
    """What `fit` did: optimizer steps, passes over the data, and the mean loss of the last pass."""

    steps: int
    epochs: float
    loss: float


class InstructGPT:
    """A causal language model that learns instructions and answers them."""

    def __init__(self, lm: CausalLM, source: str) -> None:
        self.lm = lm
        self.source = source
        self.session = Session(lm)
        self._history: list[dict[str, Any]] = []

    @classmethod
    def load(cls, source: str | Path, *, device: str = "auto", dtype: str = "auto") -> InstructGPT:
        """Open any causal LM: a hub name, or a local directory.

        Errors: CheckpointError when there is no model there.
        """
        return cls(Session.load(source, device=device, dtype=dtype).lm, str(source))

    def fit(
        self,
        demonstrations: Sequence[Demonstration | Mapping[str, Any]],
        *,
        epochs: int | None = None,
        lr: float | None = None,
        batch_size: int = 16,
        seed: int = 0,
    ) -> FitResult:
        """Supervised fine-tuning on instructions (Alpaca rows, messages, prompt/completion, ...).

        Defaults are safe at any size: the learning rate falls with the model's width (1e-4 at
        GPT-2's 768), and a few rows get enough passes to be learned, ending early once they are.
        Errors: DataError for no rows, a broken row, or rows that do not fit the model's context.
        """
        records = parse_demonstrations(demonstrations)
        sequences = tokenize_demonstrations(
            records, self.session.renderer, "assistant", self.lm.context
        )
        batch_size = min(batch_size, max(1, len(sequences)))
        if epochs is None:
            steps_per_epoch = max(1, len(sequences)) / batch_size
            epochs = max(_MIN_EPOCHS, math.ceil(_MIN_STEPS / steps_per_epoch))
        width = self.lm.model.config.get_text_config().hidden_size
        config = SFTConfig(
            model=self.source,
            demonstrations="given to fit()",
            epochs=epochs,
            batch_size=batch_size,
            seed=seed,
            optim=OptimConfig(lr=lr or 1e-4 * 768 / width, warmup_steps=5),
        )
        trainer = SFTTrainer(
            config,
            self.lm,
            train=sequences,
            valid=[],
            pretraining=[],
            score=None,
            keep=lambda summary: None,
            world=World(),
        )
        result = _train(trainer)
        self._history.append({"rows": len(sequences), "seed": seed, "loss": result.loss})
        return result

    def ask(self, question: str, *, max_new_tokens: int = 256, temperature: float = 0.0) -> str:
        """The whole answer to one question; greedy unless `temperature` > 0."""
        return self.chat([{"role": "user", "content": question}], max_new_tokens, temperature)

    def chat(
        self,
        messages: Sequence[Message | Mapping[str, str]],
        max_new_tokens: int = 256,
        temperature: float = 0.0,
    ) -> str:
        """The assistant's next turn of a conversation."""
        return "".join(self.stream(messages, max_new_tokens, temperature))

    def stream(
        self,
        messages: Sequence[Message | Mapping[str, str]],
        max_new_tokens: int = 256,
        temperature: float = 0.0,
    ) -> Iterator[str]:
        """The assistant's next turn, piece by piece."""
        turns = [m if isinstance(m, Message) else Message.from_dict(dict(m)) for m in messages]
        yield from self.session.stream(
            turns, max_new_tokens=max_new_tokens, temperature=temperature
        )

    def save(self, directory: str | Path) -> None:
        """Write a plain Hugging Face directory that any tool loads."""
        facts = {
            "name": Path(directory).name,
            "stage": "sft",
            "version": __version__,
            "seed": self._history[-1]["seed"] if self._history else 0,
            "parents": {"model": self.source},
            "summary": {f"fit {i + 1}": fit for i, fit in enumerate(self._history)},
        }
        export_model(self.lm.model, self.lm.tokenizer, Path(directory), facts)


def _train(trainer: SFTTrainer) -> FitResult:
    """Run the trainer's steps, stopping after a pass whose mean loss says that all is learned."""
    per_epoch = max(1, trainer.total_steps // trainer.config.epochs)
    recent: list[float] = []
    done = 0
    with progress("fit", trainer.total_steps, unit="step") as bar:
        while done < trainer.total_steps:
            recent.append(trainer.step(done)["loss"])
            done += 1
            bar.advance(1, loss=recent[-1])
            if done % per_epoch == 0:
                last = recent[-per_epoch:]
                if sum(last) / len(last) < _LEARNED:
                    break
    last = recent[-per_epoch:]
    trainer.lm.model.eval()
    return FitResult(done, done / per_epoch, sum(last) / len(last))
