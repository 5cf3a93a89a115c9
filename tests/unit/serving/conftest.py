"""A real server on a free port, with a tiny model whose logits are far apart."""

from __future__ import annotations

import asyncio
import copy
import faulthandler
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import openai
import pytest
import torch
import uvicorn
from transformers import LlamaConfig, LlamaForCausalLM, LlamaForSequenceClassification

from instructgpt.models.causal_lm import CausalLM
from instructgpt.models.scalar_model import ScalarModel
from instructgpt.models.soft_prompts import SoftPrompts
from instructgpt.serving.app import create_app
from instructgpt.serving.feedback import FeedbackLog
from instructgpt.serving.host import Host
from instructgpt.serving.limits import Limits
from instructgpt.serving.rewards import RewardScorer
from instructgpt.serving.served_model import ServedModel
from instructgpt.text.tokenizer import train_bpe
from instructgpt.web.listening import bind

TEXTS = ["Hello there, what is a whale? A whale is a mammal.", "你好，世界。"]
CONTEXT = 256


def config(vocab_size: int) -> LlamaConfig:
    return LlamaConfig(
        vocab_size=vocab_size,
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=CONTEXT,
        initializer_range=0.2,
    )


@pytest.fixture(scope="session")
def lm() -> CausalLM:
    tokenizer = train_bpe(TEXTS, 300)
    torch.manual_seed(0)
    return CausalLM(LlamaForCausalLM(config(len(tokenizer))).eval(), tokenizer)


@pytest.fixture(scope="session")
def reward_model(lm: CausalLM) -> ScalarModel:
    torch.manual_seed(1)
    settings = config(len(lm.tokenizer))
    settings.num_labels = 1
    settings.pad_token_id = lm.pad_id
    return ScalarModel(LlamaForSequenceClassification(settings).eval(), lm.tokenizer)


@pytest.fixture(scope="session")
def checkpoint(lm: CausalLM, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("checkpoint") / "tiny"
    lm.model.save_pretrained(folder)
    lm.tokenizer.save_pretrained(folder)
    return folder


@dataclass
class Running:
    """A server that runs, and clients of it."""

    host: Host
    url: str
    server: uvicorn.Server
    clients: list[openai.OpenAI] = field(default_factory=list)

    def client(self, key: str = "none") -> openai.OpenAI:
        self.clients.append(openai.OpenAI(base_url=f"{self.url}/v1", api_key=key, max_retries=0))
        return self.clients[-1]

    def async_client(self) -> openai.AsyncOpenAI:
        return openai.AsyncOpenAI(base_url=f"{self.url}/v1", api_key="none", max_retries=0)

    def sequences(self) -> int:
        return sum(admission.sequences for admission in self.host.admissions.values())

    def wait(self, condition: Callable[[], bool]) -> None:
        until = time.monotonic() + 20
        while not condition():
            assert time.monotonic() < until, "it never happened"
            time.sleep(0.005)


@contextmanager
def started(host: Host) -> Iterator[Running]:
    listening = bind("127.0.0.1", 0)
    settings = uvicorn.Config(
        create_app(host), log_level="warning", lifespan="on", timeout_graceful_shutdown=10
    )
    server = uvicorn.Server(settings)
    thread = threading.Thread(target=lambda: asyncio.run(server.serve([listening])))
    thread.start()
    running = Running(host, f"http://127.0.0.1:{listening.getsockname()[1]}", server)
    try:
        running.wait(lambda: server.started)
        yield running
    finally:
        server.should_exit = True
        thread.join(60)  # one that hangs must not take the whole run with it
        for client in running.clients:  # what nobody closes fails whichever test comes next
            client.close()
        listening.close()
        if thread.is_alive():
            faulthandler.dump_traceback(all_threads=True)  # where it hangs
        assert not thread.is_alive(), "the server did not end"


Start = Callable[..., Iterator[Running]]


@pytest.fixture
def start(lm: CausalLM) -> Callable[..., object]:
    """Starts a server with its own limits: `with start(keys=[...], max_queue=1) as running`."""

    def begin(keys: tuple[str, ...] = (), **limits: int) -> object:
        bounds = Limits(**limits)
        model = ServedModel("tiny", lm, bounds.max_slots)
        return started(Host([model], keys=keys, limits=bounds))

    return begin


@pytest.fixture(scope="session")
def feedback_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("feedback")


@pytest.fixture(scope="session")
def running(lm: CausalLM, reward_model: ScalarModel, feedback_folder: Path) -> Iterator[Running]:
    """The server that most tests share: two names of one model, and a reward model."""
    limits = Limits(max_slots=8)
    models = [ServedModel(name, lm, limits.max_slots) for name in ("tiny", "twin")]
    reward = RewardScorer("judge", reward_model)
    log = FeedbackLog(feedback_folder)
    with started(Host(models, reward=reward, feedback=log, limits=limits)) as server:
        yield server


@pytest.fixture
def of_tasks(lm: CausalLM) -> Iterator[Running]:
    """A server of a model with a soft prompt for each of two tasks, and of the model itself."""
    tasked = CausalLM(copy.deepcopy(lm.model), lm.tokenizer)
    rows = {task: torch.randn(2, 32) * 0.02 for task in ("qa", "translation")}
    tasked.adapter = SoftPrompts(tasked, rows, "tiny")
    limits = Limits(max_slots=4)
    models = [ServedModel(name, one, 4) for name, one in (("tasked", tasked), ("plain", lm))]
    with started(Host(models, limits=limits)) as server:
        yield server
