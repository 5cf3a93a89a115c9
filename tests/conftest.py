"""What every test may use: tiny models made in memory, and what to skip on this machine."""

from __future__ import annotations

import logging
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from instructgpt.progress import show_progress

if TYPE_CHECKING:
    from playwright.sync_api import Browser
    from transformers import LlamaForCausalLM

ROOT = Path(__file__).resolve().parents[1]
CHROMIUM_NAMES = ("chromium", "chromium-browser", "google-chrome", "chrome")

# Before torch is imported: many tiny models gain nothing from threads, and workers share cores.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
# Programs that tests start must find this checkout, installed or not.
os.environ["PYTHONPATH"] = os.pathsep.join(
    filter(None, [str(ROOT / "src"), os.environ.get("PYTHONPATH")])
)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--slow", action="store_true", help="also run tests that take minutes")
    parser.addoption("--gpu", action="store_true", help="run the tests that need a GPU, no others")
    parser.addoption("--network", action="store_true", help="also run tests that use the internet")
    parser.addoption(
        "--real-data",
        type=Path,
        help="folder of real data files; tests of them are skipped without it",
    )


def pytest_configure(config: pytest.Config) -> None:
    """Refuse a mistyped folder. Hide GPUs: what other tests say of bits holds on a processor."""
    folder = config.getoption("--real-data")
    if folder is not None and not folder.is_dir():
        raise pytest.UsageError(f"--real-data: no folder '{folder}'")
    if not config.getoption("--gpu"):
        os.environ["CUDA_VISIBLE_DEVICES"] = ""


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Skip what was not asked for or cannot run here, saying why."""
    reasons = {
        "slow": None if config.getoption("--slow") else "slow: run with --slow",
        "network": None if config.getoption("--network") else "network: run with --network",
    }
    if config.getoption("--gpu"):
        items[:] = [item for item in items if item.get_closest_marker("gpu")]
        reasons["gpu"] = _without_gpu()
    else:
        reasons["gpu"] = "gpu: run with --gpu"
    if any(item.get_closest_marker("browser") for item in items):
        reasons["browser"] = None if find_chromium() else "browser: no Chromium on PATH"
    for item in items:
        for name, reason in reasons.items():
            if reason and item.get_closest_marker(name):
                item.add_marker(pytest.mark.skip(reason=reason))


def find_chromium() -> str | None:
    """A Chromium on PATH."""
    return next(filter(None, map(shutil.which, CHROMIUM_NAMES)), None)


@pytest.fixture(autouse=True)
def _quiet_library() -> Iterator[None]:
    """Undo what the command line switches on for its process: progress, and warnings as lines."""
    yield
    show_progress(False)
    logger = logging.getLogger("instructgpt")
    logger.handlers.clear()
    logger.propagate = True


@pytest.fixture(scope="session")
def repository() -> Path:
    """The checkout that is being tested."""
    return ROOT


@pytest.fixture(scope="session")
def real_data(request: pytest.FixtureRequest) -> Path:
    """The folder of real data files; the test is skipped where there is none."""
    folder: Path | None = request.config.getoption("--real-data")
    if folder is None:
        pytest.skip("no real data here: give its folder as --real-data DIR")
    return folder


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    """A headless Chromium that looks nothing up by itself; for tests marked `browser`.

    Not for the session: while playwright is there, `asyncio.run` is refused to every other test.
    """
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=find_chromium(),
            args=[
                "--no-sandbox",  # CI runs as root in a container
                "--disable-gpu",
                "--disable-quic",
                "--no-first-run",
                "--disable-background-networking",
                "--disable-component-update",
                "--disable-sync",
            ],
        )
        yield browser
        browser.close()


@pytest.fixture
def tiny_model() -> LlamaForCausalLM:
    """A fresh Llama of 2 layers, width 64, 97 tokens, context 64, with weights from seed 0."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(0)
    return LlamaForCausalLM(
        LlamaConfig(
            vocab_size=97,
            hidden_size=64,
            intermediate_size=128,
            num_hidden_layers=2,
            num_attention_heads=4,
            num_key_value_heads=4,
            max_position_embeddings=64,
            pad_token_id=0,
            bos_token_id=1,
            eos_token_id=2,
        )
    ).eval()


def _without_gpu() -> str | None:
    import torch

    return None if torch.cuda.is_available() else "gpu: no CUDA device"
