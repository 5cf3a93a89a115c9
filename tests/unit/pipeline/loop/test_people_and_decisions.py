"""What people do in a round, and who decides what is served."""

from __future__ import annotations

from pathlib import Path

import pytest

from instructgpt.config.loop import load_loop
from instructgpt.config.recipe import Section
from instructgpt.data.records import Prompt
from instructgpt.errors import ConfigError, RunDirError
from instructgpt.loop.history import add_event, read_history
from instructgpt.loop.state import read_state
from instructgpt.pipeline.loop.decisions import promote, roll_back
from instructgpt.pipeline.loop.people import demonstrations_by_people
from instructgpt.pipeline.loop.references import Places, round_recipe, uses_people
from instructgpt.pipeline.loop.work import Waiting
from instructgpt.storage.label_access import LabelAccess
from instructgpt.storage.label_answers import LabelAnswers
from instructgpt.storage.label_desk import LabelDesk
from instructgpt.storage.label_store import LabelStore

RULE = {"decided_by": ["votes"], "alpha": 0.05, "max_votes": 50, "votes_per_user": 1}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A loop whose first candidate is being compared, without a single vote."""
    folder = tmp_path / "loop"
    folder.mkdir()
    add_event(folder, "begun", 0, "ann", name="loop", model="start/sft/model")
    add_event(folder, "started", 1, "ann", served="start/sft/model")
    add_event(folder, "trained", 1, "ann", model="rounds/001/ppo/model")
    add_event(folder, "opened", 1, "ann", against="round-0", **RULE)
    return folder


def test_nobody_is_promoted_without_an_interval_that_says_so(root) -> None:
    with pytest.raises(ConfigError, match=r"round-1 has not been shown to be better \(no votes\)"):
        promote(root, "bob")
    assert read_state(root).served.name == "round-0"
    assert promote(root, "bob", anyway=True).served.name == "round-1"
    last = read_history(root)[-1]
    assert (last.kind, last.by, last.facts["why"]) == ("promoted", "bob", "by hand")
    with pytest.raises(ConfigError, match="nothing is being compared"):
        promote(root, "bob")


def test_a_folder_that_is_no_loop(tmp_path) -> None:
    for decide in (promote, roll_back):
        with pytest.raises(RunDirError, match="is no loop"):
            decide(tmp_path / "nothing", "bob")


def test_models_are_named_as_stages(tmp_path) -> None:
    path = write(tmp_path, "  ppo: {}\n")
    path.write_text(path.read_text().replace('"@ppo/model"', "gpt2"))
    with pytest.raises(ConfigError, match="candidate: name a stage's model, as @STAGE/model"):
        load_loop(path)


def test_a_rollback_is_one_row_and_ends_at_the_start(root) -> None:
    promote(root, "bob", anyway=True)
    assert roll_back(root, "cat").served.name == "round-0"
    with pytest.raises(ConfigError, match="nothing was served before it"):
        roll_back(root, "cat")
    assert [e.kind for e in read_history(root)][-2:] == ["promoted", "rolled_back"]


def test_demonstrations_by_people_wait_for_every_one(tmp_path) -> None:
    path = tmp_path / "labels.sqlite"
    prompts = [Prompt.from_text(text, user="ann") for text in ("one", "two")]
    for _ in range(2):  # started again, it adds no task
        with pytest.raises(Waiting, match=r"2 of 2 are missing; .* `instructgpt label serve"):
            demonstrations_by_people(path, prompts, 1)
    with LabelStore(path) as store:
        assert store.counts()["tasks"] == 2
        access, desk = LabelAccess(store), LabelDesk(store)
        person = access.who(access.sign_in(access.invite("eve")) or "")
        answers = LabelAnswers(desk)
        for number in range(2):
            assignment = desk.next(person)
            answers.submit_demonstration(
                person, assignment.id, f"answer {number}", client_uuid=f"u{number}"
            )
            if number == 0:
                with pytest.raises(Waiting, match="1 of 2 are missing"):
                    demonstrations_by_people(path, prompts, 1)
    found = demonstrations_by_people(path, prompts, 1)
    assert [(d.prompt.text, d.prompt.user, d.labeler) for d in found] == [
        ("one", "ann", "eve"),
        ("two", "ann", "eve"),
    ]
    assert {d.completion for d in found} == {"answer 0", "answer 1"}


def write(tmp_path: Path, stages: str, more: str = "") -> Path:
    path = tmp_path / "loop.yaml"
    path.write_text(
        f'served: "@sft/model"\ncandidate: "@ppo/model"\n{more}'
        f"start:\n  sft: {{model: gpt2}}\nround:\n{stages}"
    )
    return path


def test_names_of_places_become_paths(tmp_path) -> None:
    stages = """\
  label:
    models: ["@sft/model", "@served", "@start/sft/model"]
    prompts: "@prompts/rank.jsonl"
    also: ["@prompts"]
"""
    loop = load_loop(write(tmp_path, stages))
    recipe = round_recipe(loop, Places(Path("L"), 3, Path("L/rounds/002/ppo/model")))
    assert recipe.sections["label"].settings.values == {
        "models": ["@sft/model", "L/rounds/002/ppo/model", "L/start/sft/model"],
        "prompts": "L/rounds/003/prompts/rank.jsonl",
        "also": ["L/rounds/003/prompts"],
    }
    first = round_recipe(loop, Places(Path("L"), 1, Path("L/start/sft/model")))
    assert first.seed != recipe.seed
    assert not uses_people(loop.round["label"])


def test_rankings_by_people_are_told_from_a_stage_that_reads_them(tmp_path) -> None:
    loop = load_loop(write(tmp_path, '  label: {people: "@people/rankings.jsonl"}\n'))
    assert isinstance(loop.round["label"], Section)
    assert uses_people(loop.round["label"])


@pytest.mark.parametrize(
    ("stages", "more", "message"),
    [
        ("  prompts: {}\n", "", "a stage's name uses a-z, 0-9 and _, and 'prompts' is taken"),
        ("  ppo: {}\n", "prompts: {wanted: 10, rank: 9}\n", "leave PPO none"),
        ("  ppo: {}\n", "compare: {decided_by: [judges]}\n", "give compare.judges"),
        ("  ppo: {}\n", "users: {prompts: x}\n", "users: needs world"),
        # 0.9 of them agree
        ("  ppo: {}\n", "world: w\nusers: {prompts: x, count: 660}\n", "about 594 votes.* for 600"),
        ("  ppo: {}\n", "demonstrations: {flawed: 0.5}\n", "is for simulated writers"),
        ("  ppo: {}\n", "compare: {alpa: 0.5}\n", "did you mean 'compare.alpha'"),
        ("  ppo: {}\n", "judges: 1\n", "unknown key 'judges'"),
    ],
)
def test_settings_that_make_no_loop_are_refused(tmp_path, stages, more, message) -> None:
    with pytest.raises(ConfigError, match=message):
        load_loop(write(tmp_path, stages, more))


def test_simulated_users_need_only_be_enough_for_votes_that_decide(tmp_path) -> None:
    few = "world: w\nusers: {prompts: x, count: 20}\n"
    stages = "  ppo: {}\n"
    load_loop(write(tmp_path, stages, few + "compare: {max_votes: 18}\n"))
    load_loop(write(tmp_path, stages, few + "compare: {max_votes: 36, votes_per_user: 2}\n"))
    judges = "judges: [{type: reward_model, model: x}]"
    load_loop(
        write(
            tmp_path,
            stages,
            few + f"prompts: {{judge: 5}}\ncompare: {{decided_by: [judges], {judges}}}\n",
        )
    )
