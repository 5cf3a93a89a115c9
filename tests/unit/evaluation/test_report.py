"""The report: one file that opens offline, the evaluation's numbers, and honest gaps."""

from __future__ import annotations

import json
import re
import shutil
from html.parser import HTMLParser

import pytest

from instructgpt.config.report import ReportConfig
from instructgpt.errors import DataError
from instructgpt.evaluation import plots, report
from instructgpt.evaluation.lineage import Node, lineage_svg
from instructgpt.evaluation.report_tables import duration, verdict
from instructgpt.judging.agreement_matrix import GivenRanking, agreement_matrix
from instructgpt.storage.run_dir import RunDir


def build(root, config: ReportConfig | None = None, name: str = "report"):
    """Run the stage; returns (summary, html, report.json)."""
    with RunDir.open(root / name, "report", {}, 0, {}) as run:
        summary = report.run(config or ReportConfig(title="Quick <start>"), run)
    html = (root / name / "report.html").read_text("utf-8")
    return summary, html, json.loads((root / name / "report.json").read_text("utf-8"))


@pytest.fixture(scope="module")
def built(recipe_root, tmp_path_factory):
    root = tmp_path_factory.mktemp("built") / "recipe"
    shutil.copytree(recipe_root, root)
    return build(root)


@pytest.fixture
def copied(recipe_root, tmp_path, monkeypatch):
    """A copy of the recipe to change; its charts are laid out but not drawn, which takes time."""
    monkeypatch.setattr(plots, "_svg", lambda figure, chart_id, title: "<svg></svg>")
    root = tmp_path / "recipe"
    shutil.copytree(recipe_root, root)
    return root


class Page(HTMLParser):
    """Tags with their attributes, and whether every tag that opens also closes."""

    VOID = frozenset({"meta", "input", "br", "link", "img", "hr", "use", "path", "rect"})

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.feed(html)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        if tag not in self.VOID:
            assert self.open.pop() == tag


def test_one_file_that_needs_nothing_else(built):
    _, html, _ = built
    page = Page(html)
    assert page.open == []
    for tag, attributes in page.tags:
        assert "src" not in attributes, tag
        assert tag != "link"
        if tag == "a":
            assert attributes["href"].startswith("#")
    outside = [u for u in re.findall(r"https?://[^\s\"')]+", html) if "www.w3.org" not in u]
    assert outside == []
    assert "prefers-color-scheme: dark" in html
    assert 'name="viewport"' in html


def test_anchors_lead_somewhere_and_ids_are_unique(built):
    page = Page(built[1])
    ids = [attributes["id"] for _, attributes in page.tags if "id" in attributes]
    assert len(ids) == len(set(ids))
    links = {a["href"][1:] for tag, a in page.tags if tag == "a"}
    assert len(links) > 8
    assert links <= set(ids)


def test_texts_of_models_and_titles_are_escaped(built):
    _, html, _ = built
    assert "Quick &lt;start&gt;" in html
    assert "Rome &amp; &lt;Paris&gt;" in html
    assert "<Paris>" not in html
    assert "Hi &lt;b&gt;there&lt;/b&gt;" in html


def test_every_model_answers_beside_the_others(built):
    html = built[1]
    examples = html.split('<article class="example"')[1:]
    assert len(examples) == 48
    for example in examples:
        for label in ("base", "SFT", "best-of-n", "DPO", "PPO", "PPO-ptx"):
            assert f"<tr><th>{label}</th>" in example
    languages = [re.search(r'data-language="(\w+)"', e)[1] for e in examples[:8]]
    tasks = [re.search(r'data-task="(\w+)"', e)[1] for e in examples[:8]]
    assert (set(languages), len(set(tasks))) == ({"en", "zh"}, 4), "the first ones cover all groups"


def test_json_has_exactly_the_agreed_keys(built):
    numbers = built[2]
    assert list(numbers) == ["models", "reward_model", "stages", "environment"]
    assert set(numbers["models"]) == {"base", "sft", "best_of_n", "dpo", "ppo", "ppo_ptx"}
    for model in numbers["models"].values():
        assert set(model) == {
            "win_rate_vs_sft",
            "gold",
            "accuracy",
            "pretraining_loss",
            "kl",
            "length",
        }
        for condition in ("sampled", "greedy"):
            assert set(model["win_rate_vs_sft"][condition]) == {"value", "low", "high", "n"}
        assert {"overall", "by_task", "by_language", "by_phrasing", "by_fact"} <= set(
            model["accuracy"]["sampled"]
        )
    assert set(numbers["reward_model"]) == {
        "accuracy",
        "low",
        "high",
        "labeler_agreement",
        "demonstration_mean",
    }
    assert numbers["reward_model"]["labeler_agreement"] == 0.751
    assert set(numbers["stages"]["sft"]) == {"seconds", "tokens", "tokens_per_second"}
    assert numbers["stages"]["sft"]["tokens"] == 120_000
    assert numbers["stages"]["sft"]["seconds"] == 73.5
    assert numbers["stages"]["sft"]["tokens_per_second"] == pytest.approx(120_000 / 73.5)
    assert "python" in numbers["environment"]


def test_page_and_json_say_what_the_evaluation_says(built, evaluation_of):
    _, html, numbers = built
    for name, model in evaluation_of["models"].items():
        rate = model["win_rate"]["sampled"]
        assert numbers["models"][name]["win_rate_vs_sft"]["sampled"]["value"] == rate["value"]
        shown = f"{100 * rate['value']:.0f} % [{100 * rate['low']:.0f}, {100 * rate['high']:.0f}]"
        assert shown in html
        assert numbers["models"][name]["pretraining_loss"] == model["pretraining_loss"]


def test_the_same_runs_give_the_same_bytes(built, recipe_root, tmp_path):
    root = tmp_path / "recipe"
    shutil.copytree(recipe_root, root)
    assert build(root)[1] == built[1]


def test_missing_stages_are_named_and_not_invented(copied):
    for name in ("evaluate", "rm", "labels"):
        shutil.rmtree(copied / name)
    (copied / "dpo" / "done.json").unlink()
    summary, html, numbers = build(copied)
    assert numbers["models"] == {}
    assert set(numbers["reward_model"].values()) == {None}
    assert "dpo" not in numbers["stages"]
    assert "Stage dpo has not finished." in summary["missing"]
    for note in summary["missing"]:
        assert note in html
    assert 'id="win-rates"' not in html
    assert 'id="learning"' in html


def test_models_that_were_not_evaluated_are_named(copied):
    file = copied / "evaluate" / "evaluation.json"
    evaluation = json.loads(file.read_text("utf-8"))
    del evaluation["models"]["dpo"]
    file.write_text(json.dumps(evaluation), "utf-8")
    summary, html, _ = build(copied)
    assert "Not evaluated: DPO." in summary["missing"]
    assert "Not evaluated: DPO." in html


def test_the_page_shows_who_judged_and_how_far_they_agree(copied):
    """A matrix with n and interval, the AI beside people, places, failures and cost."""
    given = [
        GivenRanking(task, judge, kind, ranks, f"p{task}")
        for task in range(20)
        for judge, kind, ranks in (
            ("ann <b>", "people", (1, 2, 3)),
            ("gpt", "ai", (1, 2, 3) if task % 4 else (3, 2, 1)),
        )
    ]
    gpt = {
        "name": "gpt",
        "kind": "ai",
        "asked": 20,
        "abstained": 2,
        "questions": 40,
        "failures": {"last line is no ranking": 3},
        "tokens_in": 4000,
        "tokens_out": 280,
        "cost": 0.0125,
        "order_consistency": {"value": 0.9, "low": 0.8, "high": 0.95, "n": 20},
        "first_shown_wins": {"value": 0.62, "low": 0.5, "high": 0.7, "n": 20},
    }
    file = copied / "labels" / "done.json"
    done = json.loads(file.read_text("utf-8"))
    done["summary"] |= {"judges": [gpt], "agreement": agreement_matrix(given)}
    file.write_text(json.dumps(done), "utf-8")
    _, html, _ = build(copied)
    section = html.partition('<h2 id="judges">')[2].partition("</section>")[0]
    shown = re.sub(r"\s+", " ", re.sub(r"<[^>]*>", " ", section))
    assert "AI and people 75 % [" in shown
    assert "60 in 20" in shown
    assert "ann &lt;b&gt;" in section
    for words in ("3 last line is no ranking", "90 %", "62 % [50, 70]", "4,000 / 280", "0.0125"):
        assert words in shown, words
    assert Page(html).open == []


def test_without_gold_the_page_says_who_judges(copied):
    file = copied / "evaluate" / "evaluation.json"
    evaluation = json.loads(file.read_text("utf-8"))
    evaluation["judge_note"] = "The reward model decides."
    evaluation["curves"] = {}
    for model in evaluation["models"].values():
        for found in model["conditions"].values():
            for key in ("gold", "ok", "accuracy", "components", "classes"):
                found[key] = None
    file.write_text(json.dumps(evaluation), "utf-8")
    _, html, numbers = build(copied)
    assert "The reward model decides." in html
    assert numbers["models"]["ppo"]["gold"] == {"sampled": None, "greedy": None}
    assert 'id="accuracy"' not in html


def test_two_evaluations_need_a_choice(copied):
    shutil.copytree(copied / "evaluate", copied / "again")
    with pytest.raises(DataError, match="several evaluations"):
        build(copied)
    shutil.rmtree(copied / "ppo")
    (copied / "evaluate" / "evaluation.json").unlink()
    chosen = ReportConfig(evaluation=str(copied / "again"), num_examples=1)
    assert build(copied, chosen, "second")[2]["models"]


def test_an_empty_directory_is_refused(tmp_path):
    with pytest.raises(DataError, match="no other run"):
        build(tmp_path / "empty")


def test_verdicts_say_no_more_than_the_intervals():
    def rate(low, high):
        return {"value": (low + high) / 2, "low": low, "high": high}

    assert verdict(rate(0.6, 0.7), rate(0.55, 0.6), "SFT") == "beats SFT, sampled and greedy"
    assert "mere sharpening" in verdict(rate(0.6, 0.7), rate(0.45, 0.55), "SFT")
    assert verdict(rate(0.2, 0.3), rate(0.1, 0.3), "SFT").startswith("loses to SFT")
    assert "cannot be told" in verdict(rate(0.45, 0.55), rate(0.4, 0.6), "SFT")
    unknown = {"value": None, "low": None, "high": None}
    assert verdict(unknown, unknown, "SFT") == "was not judged"


def test_durations_read_well():
    assert [duration(s) for s in (3.21, 61.0, 494.6, 7322.0)] == [
        "3.2 s",
        "1 min 01 s",
        "8 min 15 s",
        "2 h 02 min",
    ]


def test_lineage_draws_nearest_parents_and_keeps_boxes_apart():
    def node(name, *parents):
        return Node(name, "kind", "f" * 12, tuple((p, "a" * 12, p) for p in parents), True)

    chain = [node("world"), node("base", "world"), node("sft", "world", "base"), node("dpo", "sft")]
    nodes = [*chain, node("rm", "sft"), node("ppo", "rm", "sft"), node("eval", "ppo", "dpo")]
    svg = lineage_svg(nodes)
    # world-base, base-sft, sft-dpo, sft-rm, rm-ppo, ppo-eval, dpo-eval; not world-sft, not sft-ppo
    assert svg.count("<path") == 7
    boxes = re.findall(r'<rect x="(\d+)" y="(\d+)"', svg)
    assert len(set(boxes)) == 7
