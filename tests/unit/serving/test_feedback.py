"""What people give on the chat page: with consent, no personal data, until they ask it back."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from instructgpt.data.readers import load_prompts, load_rankings
from instructgpt.serving.errors import ApiError
from instructgpt.serving.feedback import USER_CAP, FeedbackLog, FeedbackRequest

ANN, BOB = "a" * 32, "b" * 32


def said(user: str = ANN, text: str = "What is a whale?", **more: Any) -> FeedbackRequest:
    prompt = [{"role": "user", "content": text}]
    return FeedbackRequest.model_validate({"user": user, "consent": True, "prompt": prompt, **more})


VOTE = {"completions": ["A fish.", "A mammal."], "models": ["m", "n"], "ranks": [2, 1]}
THUMB = {"completions": ["A mammal."], "models": ["n"], "good": True, "reason": "right"}


@pytest.fixture
def log(tmp_path: Path) -> FeedbackLog:
    return FeedbackLog(tmp_path)


def rows(folder: Path, name: str) -> list[dict[str, Any]]:
    path = folder / name
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def test_what_is_given_is_read_by_training_with_its_user(log, tmp_path) -> None:
    for more in ({}, VOTE, THUMB):
        assert log.record(said(**more)) == "stored"
    (prompt,) = load_prompts(tmp_path / "prompts.jsonl").records
    assert (prompt.text, prompt.user) == ("What is a whale?", ANN)
    (ranking,) = load_rankings(tmp_path / "rankings.jsonl").records
    assert (ranking.ranks, ranking.prompt.user, ranking.meta["models"]) == ((2, 1), ANN, ["m", "n"])
    (thumb,) = rows(tmp_path, "thumbs.jsonl")
    assert (thumb["user"], thumb["label"], thumb["meta"]["reason"]) == (ANN, True, "right")
    for name in ("prompts.jsonl", "rankings.jsonl", "thumbs.jsonl"):
        assert rows(tmp_path, name)[0]["meta"]["consent"].endswith("+00:00")  # when


@pytest.mark.parametrize("more", [{}, VOTE, THUMB])
def test_nothing_is_kept_without_consent(log, tmp_path, more) -> None:
    with pytest.raises(ApiError) as refused:
        log.record(said(**more, consent=False))
    assert (refused.value.status, refused.value.code) == (403, "consent_required")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "one",
    [
        said(text="Write to jane.roe@mailbox.org please"),
        said(**{**VOTE, "completions": ["Call 13812345678.", "No."]}),
        said(**{**THUMB, "reason": "my mail is jane.roe@mailbox.org"}),
    ],
)
def test_personal_data_is_not_kept(log, tmp_path, one) -> None:
    assert log.record(one) == "personal_data"
    assert list(tmp_path.iterdir()) == []


def test_a_user_gives_at_most_200_prompts_also_after_a_restart(log, tmp_path) -> None:
    assert USER_CAP == 200  # paper 3.2
    for number in range(200):
        assert log.record(said(text=f"prompt {number}")) == "stored"
    for again in (log, FeedbackLog(tmp_path)):
        assert again.record(said(text="one more")) == "user_cap"
        assert again.record(said(text="prompt 7", **VOTE)) == "stored"  # known already
        assert again.record(said(BOB, text="one more")) == "stored"


def test_what_was_given_can_be_taken_back(log, tmp_path) -> None:
    for user in (ANN, BOB):
        for more in ({}, VOTE, THUMB):
            log.record(said(user, **more))
    assert log.forget(ANN) == 3
    for name in ("prompts.jsonl", "rankings.jsonl", "thumbs.jsonl"):
        assert [row["user"] for row in rows(tmp_path, name)] == [BOB]
    assert [row["forget"] for row in rows(tmp_path, "deletions.jsonl")] == [ANN]
    assert log.forget("c" * 32) == 0


@pytest.mark.parametrize(
    ("more", "param"),
    [
        ({**VOTE, "models": ["m"]}, "models"),
        ({**VOTE, "ranks": [1]}, "ranks"),
        ({**THUMB, "good": None}, "ranks"),
        ({"prompt": [{"role": "assistant", "content": "x"}]}, "prompt"),
    ],
)
def test_what_is_no_verdict_is_refused(log, tmp_path, more, param) -> None:
    with pytest.raises(ApiError) as refused:
        log.record(said(**more))
    assert (refused.value.status, refused.value.param) == (400, param)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("user", ["", "short", "a" * 65, "../../../../etc/passwd", "a" * 20 + "\n"])
def test_a_name_must_be_hard_to_guess(user: str) -> None:
    with pytest.raises(ValueError, match="user"):
        said(user)
