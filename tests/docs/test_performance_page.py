"""The performance page: its tables from a fixed file, and that the page in git is the newest."""

from __future__ import annotations

import json
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path

import pytest

GENERATOR = Path(__file__).parents[2] / "docs" / "generate_performance.py"
MACHINE = {
    "cpu": "Some CPU",
    "cores": 2,
    "devices": [],
    "python": "3.11",
    "torch": "2.13.0",
    "transformers": "5.23.0",
}
STAMP = {"date": "2026-11-26", "revision": "abc1234", "machine": MACHINE}
RUNS = {
    "ours": [
        {"mfu": 0.6, "matrix_gflops": 400.0},
        {"mfu": 0.5, "matrix_gflops": 402.0},
        {"mfu": 0.7, "matrix_gflops": 404.0},
    ],
    "peer": [{"mfu": 0.2}, {"mfu": 0.1}, {"mfu": 0.3}],
}
COMPARED = {
    "workload": "124M, best",
    "metric": "tokens_per_s",
    "peer_name": "trl 1.16.0, best",
    "ours": 1234.56,
    "peer": 411.5,
    "ratio": 3.0,
    "low": 2.904,
    "high": 3.25,
    "pairs": 3,
    "aim": 2.5,
    "threads": 2,
    "runs": RUNS,
    **STAMP,
}
MISSED = {
    **COMPARED,
    "workload": "4.3M, real lengths",
    "metric": "peak_mib",
    "ratio": 0.8,
    "aim": 1.0,
}
NO_PEER = {"peer": None, "peer_name": None, **STAMP}


@pytest.fixture(scope="module")
def generator():
    spec = spec_from_file_location("generate_performance", GENERATOR)
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def results(generator, tmp_path):
    """As the benchmarks leave them on disk."""
    growth = {"workload": "sequence 64", "metric": "tokens_per_s", "ours": 9.5, **NO_PEER}
    stage = {"workload": "sft", "metric": "seconds", "ours": 40.0, "core_seconds": 79.6, **NO_PEER}
    gpu = {"workload": "SFT, 1B", "metric": "tokens_per_s", "ours": 20000.0, **NO_PEER}
    share = {**gpu, "metric": "gb_per_s", "ours": 1500.0, "peer": 3000.0, "peer_name": "a copy"}
    files = {
        "sft": [COMPARED],
        "ppo": [MISSED],
        "growth": [{**growth, "peak_mib": 600, "params_m": 4.27}],
        "quickstart": [stage],
        "gpu": [gpu, {**share, "ratio": 0.5, "aim": 0.5}],
    }
    for name, rows in files.items():
        (tmp_path / f"{name}.json").write_text(json.dumps({"name": name, "rows": rows}))
    return generator.load(tmp_path)


@pytest.mark.parametrize(
    "line",
    [
        "| 124M, best | 1235 tokens/s | 412 tokens/s (trl 1.16.0, best) | 3.00 [2.90, 3.25] | 3 | "
        "2.5, reached |",
        "| 4.3M, real lengths | 1235 MiB | 412 MiB (trl 1.16.0, best) | 0.80 [2.90, 3.25] | 3 | "
        "1, **missed** |",
        "- ppo: 4.3M, real lengths, MiB: 0.80 x, 1 x",
        "| 124M, best | 60% | 20% | 402 | 60%, reached |",
        "| sequence 64 | 4.3 | 9.5 tokens/s | 600 |",
        "| sft | 40 | 80 |",
        "| SFT, 1B | 20000 tokens/s | - | - | - |",
        "| SFT, 1B | 1500 GB/s | 3000 GB/s (a copy) | 0.50 | 0.5, reached |",
        "| `sft` | 2026-11-26 | `abc1234` | 2 | Some CPU, 2 cores, torch 2.13.0, "
        "transformers 5.23.0 |",
    ],
)
def test_rows_of_the_page(generator, results, line):
    """Written down by hand from the rows above."""
    assert line in generator.write_page(results, "en").splitlines()


def test_chinese_tables_have_the_same_numbers(generator, results):
    page = generator.write_page(results, "zh")
    assert "| 4.3M, 真实长度 | 1235 MiB |" in page
    assert "1, **未达到** |" in page
    assert "- ppo: 4.3M, 真实长度, MiB: 0.80 x, 1 x" in page


def test_what_was_not_measured_says_so(generator):
    page = generator.write_page({}, "en")
    assert page.count("Not measured yet.") == 12  # every section but the GPU's
    assert "No comparison has been measured" in page


def test_without_a_miss_the_page_says_so(generator, results):
    page = generator.write_page({**results, "ppo": []}, "en")
    assert "Every aim that stands in the tables was reached." in page


def test_the_page_is_up_to_date(generator):
    found = generator.load(generator.RESULTS)
    for language, folder in (("en", generator.DOCS), ("zh", generator.DOCS / "zh")):
        written = (folder / "performance.md").read_text(encoding="utf-8")
        assert written == generator.write_page(found, language), (
            "run: python docs/generate_performance.py"
        )


def test_only_whole_words_are_translated(generator):
    """`reward_model` became `reward_模型`, and batching 批次ing."""
    said = generator._say("`reward_model`, continuous batching, model, best", "zh")
    assert said == "`reward_model`, continuous batching, 模型, 最好的设置"


def test_a_share_below_its_aim_is_among_the_missed(generator, results):
    runs = {"ours": [{"mfu": 0.4, "matrix_gflops": 400.0}], "peer": [{"mfu": 0.1}]}
    low = {**COMPARED, "workload": "124M, low", "runs": runs}
    page = generator.write_page({**results, "sft": [low]}, "en")
    assert "- sft: 124M, low, MFU: 40%, 60%" in page.splitlines()
    assert "| 124M, low | 40% | 10% | 400 | 60%, **missed** |" in page.splitlines()
