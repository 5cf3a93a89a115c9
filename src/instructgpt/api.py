"""The ten-line way in: load a model, fit it on instructions, align it, ask it, save it.

model = InstructGPT.load("gpt2")
model.fit([{"instruction": "What is a whale?", "output": "A whale is a mammal."}])
model.align(rankings, method="dpo")
print(model.ask("What is a whale?"))
model.save("my-model")

The stages do the work, with the settings and in the run directories that the command line uses.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from instructgpt import __version__
from instructgpt.api_adapter import AdapterSettings, adapter_config, wearing
from instructgpt.api_alignment import Alignment, Method, ScoreFunction, ScoreJudge
from instructgpt.api_fitting import fit_config, run_fit
from instructgpt.api_results import AlignResult, EvaluateResult, FitResult
from instructgpt.config.load import build
from instructgpt.config.pretrain import ModelShape
from instructgpt.config.yaml12 import Settings
from instructgpt.data.readers import load_demonstrations, parse_demonstrations
from instructgpt.data.records import Demonstration, Message, Prompt, Ranking
from instructgpt.distributed.world import World
from instructgpt.errors import ConfigError
from instructgpt.evaluation.metrics import detect_language, exact_match, rouge_l, token_f1
from instructgpt.evaluation.win_rate import judged_win_rate
from instructgpt.judging.intervals import proportion_interval
from instructgpt.models.causal_lm import CausalLM
from instructgpt.models.create import create_causal_lm
from instructgpt.models.export import export_model
from instructgpt.models.soft_prompt_files import save_soft_prompts
from instructgpt.models.soft_prompts import SoftPrompts
from instructgpt.rollout.types import SamplingParams
from instructgpt.serving.session import Session
from instructgpt.text.tokenizer import train_bpe
from instructgpt.training.examples import task_of, tokenize_demonstrations
from instructgpt.training.sft import SFTTrainer


class InstructGPT:
    """A causal language model that learns instructions and answers them."""

    def __init__(self, lm: CausalLM, source: str, *, as_saved: bool = True) -> None:
        self.lm = lm
        self.source = source
        self._as_saved = as_saved
        self.session = Session(lm)
        self._history: list[dict[str, Any]] = []

    @classmethod
    def load(cls, source: str | Path, *, device: str = "auto", dtype: str = "auto") -> InstructGPT:
        """Open any causal LM: a hub name, or a local directory.

        Errors: CheckpointError when there is no model there.
        """
        return cls(Session.load(source, device=device, dtype=dtype).lm, str(source))

    @classmethod
    def create(
        cls,
        texts: Sequence[str],
        *,
        layers: int = 2,
        width: int = 64,
        heads: int = 2,
        context: int = 256,
        vocab_size: int = 1000,
        seed: int = 0,
    ) -> InstructGPT:
        """A small model from nothing: a tokenizer trained on `texts`, and random weights.

        Errors: ConfigError for a shape that no model has, DataError when there is no text.
        """
        shape = {"layers": layers, "width": width, "heads": heads, "context": context}
        tokenizer = train_bpe(texts, vocab_size)
        model = create_causal_lm(build(ModelShape, Settings(shape)), tokenizer, seed)
        return cls(CausalLM(model.eval(), tokenizer), "created from nothing", as_saved=False)

    def fit(
        self,
        demonstrations: str | Path | Sequence[Demonstration | Mapping[str, Any]],
        *,
        epochs: int | None = None,
        lr: float | None = None,
        batch_size: int = 16,
        adapter: AdapterSettings = "none",
        seed: int = 0,
    ) -> FitResult:
        """Supervised fine-tuning on instructions: a file, or rows of any format that files have.

        Defaults are safe at any size: the learning rate falls with the model's width (1e-4 at
        GPT-2's 768), and a few rows get enough passes to be learned, ending early once they are.
        `adapter` "lora", or its settings, trains a low-rank update beside frozen weights, at ten
        times that rate; it is then added into them. {"type": "soft_prompt"} trains embeddings
        before every conversation, one for all or, with `tasks`, one for each task that the rows
        name; the model stays as it is. Errors: DataError for no rows, a broken row, or rows that
        do not fit the model's context; ConfigError for an adapter that cannot be.
        """
        wanted = adapter_config(adapter)
        self._refuse_soft_prompts("fit")
        if wanted.type == "soft_prompt" and not self._as_saved:
            raise ConfigError(
                "soft prompts belong to a model on disk, and this one has changed since it was "
                "loaded: save it, and load what was saved"
            )
        records = _demonstrations(demonstrations)
        with wearing(self.lm, wanted, self.source, seed):
            self.session = Session(self.lm)
            renderer = self.session.renderer
            sequences = list(
                tokenize_demonstrations(records, renderer, "assistant", self.lm.context)
            )
            trainer = SFTTrainer(
                fit_config(
                    self.lm,
                    self.source,
                    len(sequences),
                    epochs=epochs,
                    lr=lr,
                    batch_size=batch_size,
                    adapter=wanted,
                    seed=seed,
                ),
                self.lm,
                train=sequences,
                valid=[],
                pretraining=[],
                score=None,
                keep=lambda summary: None,
                world=World(),
            )
            result = run_fit(trainer)
        self._remember("sft", seed, {"rows": len(sequences), "loss": result.loss})
        return result

    def align(
        self,
        rankings: str | Path | Sequence[Ranking | Mapping[str, Any]] | None = None,
        prompts: str | Path | Sequence[Prompt | Mapping[str, Any] | str] | None = None,
        *,
        method: Method = "ppo",
        judge: ScoreFunction | None = None,
        answers: int = 4,
        max_new_tokens: int = 64,
        directory: str | Path | None = None,
        adapter: AdapterSettings = "none",
        seed: int = 0,
        reward_model: Mapping[str, Any] | None = None,
        **settings: Any,
    ) -> AlignResult:
        """Move the model towards what was ranked higher, by PPO, DPO or best-of-n.

        `rankings` are files or rows; without them `judge(question, answers)` gives one score per
        answer (higher is better, equal is a tie, None abstains) to `answers` samples of each
        prompt. `prompts` default to those of the rankings. PPO and best-of-n train a reward model
        first, with the settings in `reward_model`; best-of-n then fits the model on the answers it
        chose. `adapter` is for the policy and the reward model, as in `fit`; PPO then holds their
        weights once. `settings` are those of the method's stage, as in its configuration.
        `directory` keeps the run directories, and a call that was interrupted goes on there.
        Errors: ConfigError, DataError; RunDirError when `directory` holds runs of another call.
        """
        self._refuse_soft_prompts("align")
        work = Alignment(
            self,
            method,
            max_new_tokens,
            seed,
            reward_model or {},
            settings,
            adapter_config(adapter),
        )
        with work.workspace(directory):
            if judge is not None:
                if rankings is not None or prompts is None:
                    raise ConfigError("align: a judge ranks answers to prompts; give prompts alone")
                rankings = work.label(prompts, ScoreJudge(judge), answers)
            if rankings is None:
                raise ConfigError("align: give rankings, or prompts and a judge")
            result, lm = work.run(rankings, prompts)
        if lm is not None:
            self.lm, self.session = lm, Session(lm)
        self._remember(method, seed, result.summary)
        return result

    def evaluate(
        self,
        demonstrations: str | Path | Sequence[Demonstration | Mapping[str, Any]],
        *,
        against: InstructGPT | None = None,
        judge: ScoreFunction | None = None,
        max_new_tokens: int = 64,
    ) -> EvaluateResult:
        """Greedy answers compared with the demonstrated ones, with 95 % intervals.

        With `against` and `judge` also the win rate over another model, each pair judged in both
        orders. Errors: DataError, EngineError for a prompt that does not fit.
        """
        if (against is None) != (judge is None):
            raise ConfigError("evaluate: against and judge go together")
        records = _demonstrations(demonstrations)
        prompts = [record.prompt for record in records]
        said = self._greedy(prompts, max_new_tokens)
        pairs = [(s, r.completion) for s, r in zip(said, records, strict=True)]
        languages = [detect_language(wanted) for _, wanted in pairs]
        texts = [(*pair, language) for pair, language in zip(pairs, languages, strict=True)]
        keys = [prompt.key for prompt in prompts]
        win_rate = None
        if against is not None and judge is not None:
            theirs = against._greedy(prompts, max_new_tokens)
            win_rate = judged_win_rate(ScoreJudge(judge), prompts, said, theirs)
        return EvaluateResult(
            prompts=len(records),
            exact_match=proportion_interval([float(exact_match(*pair)) for pair in pairs], keys),
            f1=proportion_interval([token_f1(*text) for text in texts], keys),
            rouge_l=proportion_interval([rouge_l(*text) for text in texts], keys),
            win_rate=win_rate,
            answers=tuple(said),
        )

    def _greedy(self, prompts: Sequence[Prompt], max_new_tokens: int) -> list[str]:
        renderer = self.session.renderer
        ids = [renderer.prompt_ids(prompt.messages, task_of(prompt)) for prompt in prompts]
        params = SamplingParams(max_new_tokens=max_new_tokens, temperature=0.0)
        found = self.session.engine.generate(ids, params)
        return [renderer.decode(group[0].completion_ids) for group in found]

    def ask(
        self,
        question: str,
        *,
        max_new_tokens: int = 256,
        temperature: float = 0.0,
        task: str | None = None,
    ) -> str:
        """The whole answer to one question; greedy unless `temperature` > 0.

        `task` chooses among soft prompts. Errors: DataError for one that the model does not have.
        """
        turns = [{"role": "user", "content": question}]
        return self.chat(turns, max_new_tokens, temperature, task)

    def chat(
        self,
        messages: Sequence[Message | Mapping[str, str]],
        max_new_tokens: int = 256,
        temperature: float = 0.0,
        task: str | None = None,
    ) -> str:
        """The assistant's next turn of a conversation."""
        return "".join(self.stream(messages, max_new_tokens, temperature, task))

    def stream(
        self,
        messages: Sequence[Message | Mapping[str, str]],
        max_new_tokens: int = 256,
        temperature: float = 0.0,
        task: str | None = None,
    ) -> Iterator[str]:
        """The assistant's next turn, piece by piece."""
        turns = [m if isinstance(m, Message) else Message.from_dict(dict(m)) for m in messages]
        yield from self.session.stream(
            turns, max_new_tokens=max_new_tokens, temperature=temperature, task=task
        )

    def save(self, directory: str | Path) -> None:
        """Write a plain Hugging Face directory that any tool loads.

        Of a model with soft prompts those are written, for peft; `load` finds the model under them.
        """
        facts = {
            "name": Path(directory).name,
            "stage": self._history[-1]["stage"] if self._history else "model",
            "version": __version__,
            "seed": self._history[-1]["seed"] if self._history else 0,
            "parents": {"model": self.source},
            "summary": {f"{i}. {one['stage']}": one for i, one in enumerate(self._history, 1)},
        }
        if isinstance(self.lm.adapter, SoftPrompts):
            save_soft_prompts(self.lm, Path(directory), facts)
        else:
            export_model(self.lm.model, self.lm.tokenizer, Path(directory), facts)

    def _refuse_soft_prompts(self, call: str) -> None:
        if isinstance(self.lm.adapter, SoftPrompts):
            raise ConfigError(
                f"{call}: this model has soft prompts, which are trained once; load '{self.source}'"
            )

    def _remember(self, stage: str, seed: int, summary: Mapping[str, Any]) -> None:
        self._as_saved = False
        self._history.append({"stage": stage, "seed": seed, **summary})


def _demonstrations(
    given: str | Path | Sequence[Demonstration | Mapping[str, Any]],
) -> list[Demonstration]:
    if isinstance(given, str | Path):
        return load_demonstrations(given).records
    return parse_demonstrations(given)
