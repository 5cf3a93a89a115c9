"""What a round may learn from: agreed to, without personal data, capped, and not taken back."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from instructgpt.config.loop import Loop, load_loop
from instructgpt.data.jsonl import write_jsonl
from instructgpt.data.readers import load_prompts, load_rankings
from instructgpt.errors import ConfigError, DataError
from instructgpt.loop.history import add_event, read_history
from instructgpt.pipeline.loop.collect import collect
from instructgpt.pipeline.loop.demonstrate import demonstrate
from instructgpt.pipeline.loop.work import Waiting, Work
from instructgpt.pipeline.run import Observer
from instructgpt.serving.feedback import FeedbackLog, FeedbackRequest
from instructgpt.storage.run_dir import RunDir

SETTINGS = """\
served: "@sft/model"
candidate: "@ppo/model"
prompts: {wanted: 6, demonstrate: 2, rank: 2}
hygiene: {prefix_words: null, similarity: null, user_cap: 3}
start:
  sft: {model: gpt2, demonstrations: first.jsonl}
round:
  ppo: {model: "@served", reward_model: x, prompts: "@prompts/ppo.jsonl"}
"""


@pytest.fixture
def loop(tmp_path: Path) -> Loop:
    path = tmp_path / "loop.yaml"
    path.write_text(SETTINGS)
    return load_loop(path)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    folder = tmp_path / "loop"
    folder.mkdir()
    add_event(folder, "begun", 0, "ann", name="loop", model="start/sft/model")
    return folder


@pytest.fixture
def log(root: Path) -> FeedbackLog:
    return FeedbackLog(root / "feedback")


def work(loop: Loop, root: Path, number: int) -> Work:
    found = Work(loop, root, number, "ann", Observer(), lambda line: None)
    if number not in found.state.rounds:
        add_event(root, "started", number, "ann", served="start/sft/model")
    return found


def name(user: int) -> str:
    return f"somebody-with-number-{user}"


def say(log: FeedbackLog, user: int, text: str, **more: Any) -> None:
    body = {"user": name(user), "consent": True, "prompt": [{"role": "user", "content": text}]}
    log.record(FeedbackRequest.model_validate({**body, **more}))


def texts(root: Path, number: int, use: str) -> set[str]:
    path = root / "rounds" / f"{number:03d}" / "prompts" / f"{use}.jsonl"
    return {prompt.text for prompt in load_prompts(path).records} if path.read_text() else set()


def test_a_round_waits_until_there_are_enough(loop, root, log) -> None:
    say(log, 1, "the only one")
    with pytest.raises(Waiting, match=r"have given 1 of 6; they come through `instructgpt serve"):
        collect(work(loop, root, 1))
    assert not (root / "rounds" / "001" / "prompts").exists()
    assert [event.kind for event in read_history(root)] == ["begun", "started"]


def test_only_what_may_be_used_is_used_and_the_rest_is_counted(loop, root, log) -> None:
    for user in range(6):
        say(log, user, f"a good question {user}")
    path = root / "feedback" / "prompts.jsonl"
    row = json.loads(path.read_text().splitlines()[0])
    strange = [
        {**row, "meta": {}, "prompt": [{"role": "user", "content": "without consent"}]},
        {**row, "prompt": [{"role": "user", "content": "mail jane.roe@mailbox.org"}]},
        *(
            {**row, "user": "x", "prompt": [{"role": "user", "content": f"much {n}"}]}
            for n in range(5)
        ),
    ]
    path.write_text("".join(json.dumps(one) + "\n" for one in strange) + path.read_text())
    collect(work(loop, root, 1))
    used = set().union(*(texts(root, 1, use) for use in ("demonstrate", "rank", "ppo")))
    assert len(used) == 6
    assert not {"without consent", "mail jane.roe@mailbox.org"} & used
    assert len([one for one in used if one.startswith("much")]) <= 3
    facts = read_history(root)[-1].facts
    assert facts["left_out"] == {"without_consent": 1, "personal_data": 1, "beyond_user_cap": 2}
    assert (facts["demonstrate"], facts["rank"], facts["ppo_new"], facts["judge"]) == (2, 2, 2, 0)


def test_a_prompt_is_taken_once_and_ppo_sees_all_rounds(loop, root, log) -> None:
    for user in range(6):
        say(log, user, f"first {user}")
    collect(work(loop, root, 1))
    for user in range(6):
        say(log, user, f"first {user}")
        say(log, user, f"second {user}")
    collect(work(loop, root, 2))
    for use in ("demonstrate", "rank", "ppo_new"):
        assert all(text.startswith("second") for text in texts(root, 2, use))
    assert texts(root, 2, "ppo") == texts(root, 1, "ppo_new") | texts(root, 2, "ppo_new")


def test_votes_become_rankings(loop, root, log) -> None:
    for user in range(6):
        say(log, user, f"question {user}")
    vote = {"completions": ["a", "b"], "models": ["round-1", "round-0"], "ranks": [2, 1]}
    say(log, 1, "which?", **vote)
    collect(work(loop, root, 1))
    (ranking,) = load_rankings(root / "rounds" / "001" / "prompts" / "rankings.jsonl").records
    assert (ranking.prompt.text, ranking.prompt.user, ranking.ranks) == ("which?", name(1), (2, 1))
    assert ranking.meta == {"models": ["round-1", "round-0"]}


def test_rankings_of_earlier_rounds_come_along_once_without_the_forgotten(loop, root, log) -> None:
    for user in range(6):
        say(log, user, f"first {user}")
    collect(work(loop, root, 1))
    vote = {"completions": ["a", "b"], "models": ["m", "n"], "ranks": [1, 2]}
    for user in (3, 4, 5):
        say(log, user, f"vote {user}", **vote)
        say(log, user, f"second {user}")
        say(log, user, f"third {user}")
    with RunDir.open(root / "rounds" / "001" / "label", "label", {}, 0) as run:
        rows = [
            {
                "prompt": [{"role": "user", "content": f"ranked {user}"}],
                "user": name(user),
                "completions": ["a", "b", "c"],
                "ranks": [1, 2, 2],
                "labeler": "eve",
            }
            for user in (3, 4)
        ]
        write_jsonl(run.path("rankings.jsonl"), rows + rows)
        run.finish({})
    log.forget(name(4))
    for user in range(2):
        say(log, user, f"fourth {user}")
    collect(work(loop, root, 2))
    found = load_rankings(root / "rounds" / "002" / "prompts" / "rankings.jsonl").records
    assert [ranking.prompt.text for ranking in found] == ["ranked 3", "vote 3", "vote 5"]


def test_who_takes_it_back_on_the_page_is_in_no_later_round(loop, root, log) -> None:
    """Also what earlier rounds had taken of theirs trains nothing any more."""
    for user in range(6):
        say(log, user, f"first {user}")
        say(log, user, f"vote {user}", completions=["a", "b"], models=["m", "n"], ranks=[1, 2])
    collect(work(loop, root, 1))
    for user in range(7):
        say(log, user, f"second {user}")
    log.forget(name(2))
    collect(work(loop, root, 2))
    folder = root / "rounds" / "002" / "prompts"
    for path in folder.glob("*.jsonl"):
        assert name(2) not in path.read_text(), path
    assert len(texts(root, 2, "ppo_new")) == 2


def test_data_forget_reaches_the_whole_loop(loop, root, log, tmp_path) -> None:
    """`data forget USER LOOP`: the next round holds none of it, label store included."""
    from typer.testing import CliRunner

    from instructgpt.cli.main import app
    from instructgpt.storage.label_review import LabelReview
    from instructgpt.storage.label_store import LabelStore

    for user in range(6):
        say(log, user, f"first {user}")
    collect(work(loop, root, 1))
    with pytest.raises(Waiting, match="2 of 2 are missing"):
        demonstrate(work(loop, root, 1))  # now they are tasks in the label store, too
    path = root / "rounds" / "001" / "prompts" / "demonstrate.jsonl"
    gone = load_prompts(path).records[0].user
    result = CliRunner().invoke(app, ["data", "forget", str(gone), str(root)])
    assert result.exit_code == 0, result.output
    for user in range(6):
        if name(user) != gone:
            say(log, user, f"second {user}")
            say(log, user, f"third {user}")
    collect(work(loop, root, 2))
    for file in (root / "rounds").rglob("*.jsonl"):
        assert gone not in file.read_text(), file
    with LabelStore(root / "labels.sqlite") as store:
        assert str(gone) not in json.dumps(LabelReview(store).tasks())


JUDGES = """\
prompts: {wanted: 6, demonstrate: 1, rank: 1, judge: 3}
compare: {judges: [{type: reward_model, model: x}]}
demonstrations: {also: [ALSO]}
"""


def judging(tmp_path: Path, answered: range) -> Loop:
    """A loop with judges, and demonstrations from before it that answer some of the questions."""
    also = tmp_path / "also.jsonl"
    rows = [
        {"prompt": [{"role": "user", "content": f"question {n}"}], "completion": "Yes."}
        for n in answered
    ]
    write_jsonl(also, rows)
    path = tmp_path / "judging.yaml"
    own = JUDGES.replace("ALSO", str(also))
    path.write_text(SETTINGS.replace("prompts: {wanted: 6, demonstrate: 2, rank: 2}\n", own))
    return load_loop(path)


def test_judges_compare_on_nothing_that_demonstrations_from_before_answer(
    tmp_path, root, log
) -> None:
    """`demonstrations.also` trains every round, and it may hold what users ask."""
    loop = judging(tmp_path, range(2))
    for user in range(6):
        say(log, user, f"question {user}")
    collect(work(loop, root, 1))
    judge = texts(root, 1, "judge")
    assert len(judge) == 3
    assert not {"question 0", "question 1"} & judge
    dealt = [texts(root, 1, use) for use in ("demonstrate", "rank", "ppo")]
    assert judge | set().union(*dealt) == {f"question {n}" for n in range(6)}


def test_too_few_prompts_for_judges_is_one_line(tmp_path, root, log) -> None:
    loop = judging(tmp_path, range(5))
    for user in range(6):
        say(log, user, f"question {user}")
    with pytest.raises(ConfigError, match=r"prompts.judge: .*lower it, or raise prompts.wanted"):
        collect(work(loop, root, 1))
    assert not (root / "rounds" / "001" / "prompts").exists()


def test_more_than_there_can_be_is_said_at_once(tmp_path, root, log) -> None:
    """Simulated users came by for minutes; real ones were waited for without end."""
    known = tmp_path / "known.jsonl"
    rows = [{"prompt": [{"role": "user", "content": f"question {n}"}]} for n in range(8)]
    write_jsonl(known, rows)
    path = tmp_path / "known.yaml"
    path.write_text(SETTINGS.replace("rank: 2}", f"rank: 2, known: {known}}}"))
    loop = load_loop(path)
    for user in range(6):
        say(log, user, f"question {user}")
    collect(work(loop, root, 1))
    with pytest.raises(ConfigError, match=r"prompts.known hold 2 .* and 6 are wanted"):
        collect(work(loop, root, 2))


@pytest.mark.parametrize(
    ("name", "message"),
    [("prompts", "a prompt must be an object"), ("deletions", "there is no 'forget'")],
)
def test_broken_rows_of_users_are_named(loop, root, log, name, message) -> None:
    """They ended in an AttributeError or a KeyError."""
    (root / "feedback" / f"{name}.jsonl").write_text("[1]\n")
    with pytest.raises(DataError, match=f"{name}.jsonl:1: {message}"):
        collect(work(loop, root, 1))
