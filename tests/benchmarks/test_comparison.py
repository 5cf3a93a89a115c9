"""The arithmetic of a comparison, against numbers worked out by hand."""

from __future__ import annotations

import json

import pytest


def test_the_ratio_is_the_median_of_the_pairs_not_the_ratio_of_the_medians(benchmark_module):
    """Pairs 10:5, 8:2, 30:10 are 2, 4 and 3; the medians 10 and 5 would have given 2."""
    compare = benchmark_module("results").compare
    ours = [{"tokens_per_s": x} for x in (10.0, 8.0, 30.0)]
    theirs = [{"tokens_per_s": x} for x in (5.0, 2.0, 10.0)]
    found = compare("tokens_per_s", ours, theirs)
    assert (found["ratio"], found["low"], found["high"]) == (3.0, 2.0, 4.0)
    assert (found["ours"], found["peer"], found["pairs"]) == (10.0, 5.0, 3)


@pytest.mark.parametrize("metric", ["peak_mib", "seconds", "cpu_seconds"])
def test_less_memory_and_less_time_are_better(benchmark_module, metric):
    """1 against 2 and 3 against 3: twice as good, and as good; the mean of both is the median."""
    compare = benchmark_module("results").compare
    found = compare(metric, [{metric: 1.0}, {metric: 3.0}], [{metric: 2.0}, {metric: 3.0}])
    assert (found["ratio"], found["low"], found["high"]) == (1.5, 1.0, 2.0)


def test_sides_without_a_partner_are_an_error(benchmark_module):
    with pytest.raises(ValueError):
        benchmark_module("results").compare("seconds", [{"seconds": 1.0}], [])


def test_sides_that_did_other_work_are_not_compared(benchmark_module):
    harness = benchmark_module("harness")
    case = harness.Case("sft", None, None, {})
    harness.check_same_work(case, {"work": "ab"}, {"work": "ab"})
    with pytest.raises(SystemExit, match="did not do the same work: ab and cd"):
        harness.check_same_work(case, {"work": "ab"}, {"work": "cd"})


def test_a_count_of_pairs_that_cannot_be_is_refused(benchmark_module, capsys):
    """It ended in a StatisticsError of nothing measured."""
    import argparse

    parser = argparse.ArgumentParser()
    benchmark_module("harness").add_arguments(parser)
    with pytest.raises(SystemExit):
        parser.parse_args(["--pairs", "0"])
    assert "0 is not 1 or more" in capsys.readouterr().err


def test_metrics_of_the_processor_clock(benchmark_module):
    on_clock = benchmark_module("harness").on_clock
    assert on_clock("tokens_per_s", "wall") == "tokens_per_s"
    assert on_clock("tokens_per_s", "cpu") == "tokens_per_cpu_s"
    assert on_clock("seconds", "cpu") == "cpu_seconds"
    assert on_clock("peak_mib", "cpu") == "peak_mib"


def test_a_row_that_is_measured_again_takes_the_place_of_the_old_one(benchmark_module, tmp_path):
    """Same workload, peer and metric: one row; another metric of it stays beside."""
    results = benchmark_module("results")
    row = {"workload": "4.3M", "peer_name": "trl", "metric": "seconds", "ratio": 1.0}
    results.save("ppo", [row, {**row, "metric": "peak_mib"}], tmp_path)
    path = results.save("ppo", [{**row, "ratio": 2.0}], tmp_path)
    saved = json.loads(path.read_text())
    assert [(r["metric"], r["ratio"]) for r in saved["rows"]] == [
        ("seconds", 2.0),
        ("peak_mib", 1.0),
    ]
    assert all({"date", "revision", "machine"} <= set(r) for r in saved["rows"])


def test_a_side_is_a_process_whose_last_line_is_json(benchmark_module, monkeypatch, tmp_path):
    """The thread count reaches it as an argument and in the environment."""
    import sys

    harness = benchmark_module("harness")
    (tmp_path / "side.py").write_text(
        "import json, os, sys\nprint('noise')\n"
        "print(json.dumps({'argv': sys.argv[1:], 'omp': os.environ['OMP_NUM_THREADS']}))\n"
    )
    (tmp_path / "broken.py").write_text("raise SystemExit('no such model')\n")
    monkeypatch.setattr(harness, "HERE", tmp_path)
    side = harness.Side("ours", sys.executable, "side.py", ["--rows", "3"])
    assert side.measure(2, ["--tiny"]) == {
        "argv": ["--rows", "3", "--tiny", "--threads", "2"],
        "omp": "2",
    }
    with pytest.raises(SystemExit, match="no such model"):
        harness.Side("peer", sys.executable, "broken.py").measure(1)
