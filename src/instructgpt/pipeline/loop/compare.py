"""Phases `opened` and the end of a round: the candidate beside the served model, and who stays.

The gold score takes no part in it. Users vote blind; judges, where there are any, see both orders.
"""

from __future__ import annotations

import statistics
from typing import Any

from instructgpt.config.judges import JudgeConfig, RewardModelJudgeConfig
from instructgpt.data.jsonl import write_jsonl
from instructgpt.data.readers import load_prompts
from instructgpt.data.records import Prompt
from instructgpt.errors import ConfigError
from instructgpt.evaluation.win_rate import Pairing, judge_pairings
from instructgpt.judging.protocol import Judge
from instructgpt.loop.history import add_event, deciding
from instructgpt.loop.places import judged_file
from instructgpt.loop.state import Comparison
from instructgpt.loop.verdict import Standing, standing
from instructgpt.loop.view import interval_text
from instructgpt.microworld.gold import Gold
from instructgpt.microworld.world import World
from instructgpt.panel import seat_judges
from instructgpt.pipeline.loop.answers import Answerer
from instructgpt.pipeline.loop.decisions import close_comparison
from instructgpt.pipeline.loop.users import SimulatedUsers
from instructgpt.pipeline.loop.work import Waiting, Work
from instructgpt.storage.atomic import disk_errors
from instructgpt.storage.judge_calls import FILE_NAME, JudgeCalls


def open_comparison(work: Work) -> None:
    """From now on a server offers the candidate beside the served model, and votes count."""
    rule = work.config.compare
    with deciding(work.root):  # a rollback must not come between what is served and the row
        add_event(
            work.root,
            "opened",
            work.number,
            work.by,
            against=work.state.served.name,
            decided_by=list(rule.decided_by),
            alpha=rule.alpha,
            max_votes=rule.max_votes,
            votes_per_user=rule.votes_per_user,
        )


def compare(work: Work) -> None:
    """Ask the judges and the simulated users, then promote, drop, or wait for more votes."""
    comparison = work.state.comparison
    assert comparison is not None  # the phase before opened it
    if work.config.compare.judges and not _is_judged(work, comparison):
        _ask_judges(work, comparison)
    if work.config.users is not None:
        users = SimulatedUsers(work)
        users.vote(comparison, lambda: _stands(work, comparison).decision != "open")
    found = _stands(work, comparison)
    if found.decision == "open":
        raise _too_few(work, comparison, found)
    better = found.decision == "better"
    close_comparison(work.root, comparison, better, found, by=work.by, why=found.decision)


def _stands(work: Work, comparison: Comparison) -> Standing:
    return standing(work.root, comparison)


def _too_few(work: Work, comparison: Comparison, found: Standing) -> Exception:
    """Simulated users have all voted, judges have gone: these are settings; of real votes there
    will be more.
    """
    if "judges" in comparison.decided_by and not found.paths["judges"]:
        return ConfigError(
            f"compare.judges: whether {comparison.candidate.name} is better is for judges to say, "
            f"and the settings name none any more; give some, or `instructgpt loop promote "
            f"{work.root} --anyway`"
        )
    votes = found.last["votes"]
    if work.config.users is not None and "votes" in comparison.decided_by:
        return ConfigError(
            f"users.count: all who agree have voted and nothing is decided after "
            f"{votes.n if votes else 0} votes of {comparison.max_votes}; raise it, or "
            f"`instructgpt loop promote {work.root} --anyway`"
        )
    so_far = "none yet" if votes is None else f"{interval_text(votes.to_dict())} so far"
    return Waiting(
        f"round {work.number} waits for blind votes: {so_far}, at most {comparison.max_votes}; "
        f"they come through `instructgpt serve {work.root}`"
    )


def _is_judged(work: Work, comparison: Comparison) -> bool:
    return bool(standing(work.root, comparison).paths["judges"])


def _ask_judges(work: Work, comparison: Comparison) -> None:
    """Both models answer the prompts that were kept for it; every judge compares all answers."""
    prompts = load_prompts(work.folder / "prompts" / "judge.jsonl").records
    settings, seed = work.config.compare, work.config.seed + work.number
    texts = []
    for model in (comparison.candidate, comparison.against):
        answer = Answerer(work.root / model.path, settings.sampling, work.config.hardware, seed)
        texts.append(answer(prompts, range(len(prompts))))
    both = [i for i in range(len(prompts)) if None not in (texts[0][i], texts[1][i])]
    pairing = Pairing(*([row[i] for i in both] for row in (prompts, *texts)))
    path = judged_file(work.root, work.number)
    with disk_errors(path.parent):
        path.parent.mkdir(parents=True, exist_ok=True)
    with JudgeCalls(path.with_name(FILE_NAME)) as calls:
        verdicts = [
            [verdict.outcome for verdict in judge_pairings(judge, [pairing])[0]]
            for judge in _judges(work, calls)
        ]
    if all(outcome is None for own in verdicts for outcome in own):
        raise ConfigError(
            f"compare.judges: none of them said anything on the {len(both)} prompts that both "
            f"models could answer, of {len(prompts)} for them; see that they can decide"
            + ("" if "judges" in comparison.decided_by else ", or take them out")
        )
    write_jsonl(path, _rows(comparison, pairing.prompts, verdicts))


def _judges(work: Work, calls: JudgeCalls) -> list[Judge]:
    gold = None if work.config.world is None else Gold(World.read(work.world))
    seats = seat_judges(
        [_with_paths(work, judge) for judge in work.config.compare.judges],
        gold=gold,
        seed=work.config.seed,
        hardware=work.config.hardware,
        calls=calls,
    )
    return [judge for judge, _ in seats]


def _with_paths(work: Work, judge: JudgeConfig) -> JudgeConfig:
    """A judge may be this round's reward model, "@reward_model/model"."""
    if not isinstance(judge, RewardModelJudgeConfig):
        return judge
    return judge.model_copy(update={"model": str(work.round_path(judge.model))})


def _rows(
    comparison: Comparison, prompts: Any, verdicts: list[list[float | None]]
) -> list[dict[str, Any]]:
    """One per prompt: the mean of what judges said; None where all abstained."""
    rows = []
    for place, prompt in enumerate(prompts):
        assert isinstance(prompt, Prompt)
        said = [own[place] for own in verdicts]
        given = [one for one in said if one is not None]
        row = {
            "against": comparison.against.name,
            "outcome": statistics.fmean(given) if given else None,
        }
        rows.append({**prompt.to_dict(), **row, "said": said})
    return rows
