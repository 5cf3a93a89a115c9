"""Serving a loop: promoted model and candidate side by side, taken up while the server runs."""

from __future__ import annotations

import json
import shutil
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import openai
import pytest

from instructgpt.errors import ConfigError, RunDirError
from instructgpt.loop.history import add_event
from instructgpt.loop.state import read_state
from instructgpt.pipeline.loop.decisions import promote, roll_back
from instructgpt.serving.limits import Limits
from instructgpt.serving.loop_watch import LoopWatch
from instructgpt.serving.server import load_host

from .conftest import started

RULE = {"decided_by": ["votes"], "alpha": 0.05, "max_votes": 50, "votes_per_user": 1}
TAKEN = {"demonstrate": 3, "rank": 4, "judge": 0, "ppo_new": 5, "left_out": {}}


@pytest.fixture
def loop(tmp_path: Path, checkpoint: Path) -> Path:
    """A loop whose first round has a candidate that is being compared."""
    root = tmp_path / "loop"
    root.mkdir()
    for name in ("start/model", "rounds/001/model"):
        shutil.copytree(checkpoint, root / name)
    add_event(root, "begun", 0, "ann", name="helper", model="start/model")
    add_event(root, "started", 1, "ann", served="start/model")
    add_event(root, "collected", 1, "ann", **TAKEN)
    add_event(root, "demonstrated", 1, "ann", new=3, demonstrations=9)
    add_event(root, "trained", 1, "ann", model="rounds/001/model")
    add_event(root, "opened", 1, "ann", against="round-0", **RULE)
    return root


def get(running: Any, path: str) -> Any:
    with urllib.request.urlopen(running.url + path) as response:
        return json.load(response)


def names(running: Any) -> list[str]:
    return [model["id"] for model in get(running, "/v1/models")["data"]]


def vote(running: Any, user: int, ranks: list[int], **changes: Any) -> dict[str, Any]:
    body = {
        "user": f"somebody-with-number-{user}",
        "consent": True,
        "prompt": [{"role": "user", "content": "What is a whale?"}],
        "completions": ["one", "other"],
        "models": ["round-1", "round-0"],
        "ranks": ranks,
        **changes,
    }
    request = urllib.request.Request(
        f"{running.url}/v1/feedback",
        json.dumps(body).encode(),
        {"Content-Type": "application/json"},
    )
    with urllib.request.urlopen(request) as response:
        return json.load(response)


def ask(running: Any, model: str, **settings: Any) -> Any:
    messages = [{"role": "user", "content": "Hello"}]
    return running.client().chat.completions.create(
        model=model, messages=messages, max_tokens=4, **settings
    )


def test_both_are_offered_and_the_loop_s_name_is_the_served_one(loop) -> None:
    with started(load_host([str(loop)], limits=Limits(max_slots=4))) as running:
        assert names(running) == ["helper", "round-0", "round-1"]
        assert get(running, "/v1/models/helper")["id"] == "helper"
        assert get(running, "/v1/models/helper")["root"] == "round-0"
        assert "root" not in get(running, "/v1/models/round-0")
        assert ask(running, "helper").model == "round-0"
        assert get(running, "/v1/feedback") == {"enabled": True, "loop": True, "comparing": True}


def test_votes_of_the_page_are_the_votes_of_the_comparison(loop) -> None:
    """7 wins, 1 tie, 2 losses; a second vote of a user, and votes on other models, do not count."""
    with started(load_host([str(loop)], limits=Limits(max_slots=4))) as running:
        for user, ranks in enumerate([[1, 2]] * 7 + [[1, 1]] + [[2, 1]] * 2):
            assert vote(running, user, ranks)["stored"]
        vote(running, 0, [2, 1])
        vote(running, 0, [2, 1], prompt=[{"role": "user", "content": "What else?"}])
        vote(running, 77, [2, 1], models=["round-5", "round-0"])
        seen = get(running, "/v1/loop")
    assert (seen["name"], seen["served"]) == ("helper", "round-0")
    last = seen["comparison"]["paths"]["votes"][-1]
    assert (last["n"], last["value"]) == (10, 0.75)
    assert last["low"] < 0.5 < last["value"] < last["high"]
    assert seen["comparison"]["decision"] == "open"
    assert seen["rounds"][0]["prompts"] == 12


def test_a_promotion_and_a_rollback_are_taken_up_without_dropping_an_answer(loop) -> None:
    with started(load_host([str(loop)], limits=Limits(max_slots=4))) as running:
        stream = running.client().chat.completions.create(
            model="round-0", messages=[{"role": "user", "content": "Hello"}], max_tokens=200,
            stream=True, extra_body={"ignore_eos": True},
        )  # fmt: skip
        next(stream)
        promote(loop, "ann", anyway=True)
        running.wait(lambda: names(running) == ["helper", "round-1"])
        assert ask(running, "helper").model == "round-1"
        with pytest.raises(openai.NotFoundError):
            ask(running, "round-0")
        assert list(stream)[-1].choices[0].finish_reason == "length"  # it was not cut off
        running.wait(lambda: running.host.leaving == [])
        assert list(running.host.admissions) == ["round-1"]
        roll_back(loop, "bob")
        running.wait(lambda: names(running) == ["helper", "round-0"])
        assert ask(running, "helper").model == "round-0"
        history = get(running, "/v1/loop")["history"]
    assert [(row["kind"], row["by"]) for row in history[-2:]] == [
        ("promoted", "ann"),
        ("rolled_back", "bob"),
    ]
    assert history[-2]["why"] == "by hand"


def test_a_model_that_cannot_be_opened_leaves_the_old_one_in_place(loop, caplog) -> None:
    with started(load_host([str(loop)], limits=Limits(max_slots=4))) as running:
        promote(loop, "ann", anyway=True)
        running.wait(lambda: names(running) == ["helper", "round-1"])
        shutil.rmtree(loop / "start" / "model")
        roll_back(loop, "ann")
        running.wait(lambda: "cannot be served" in caplog.text)
        assert names(running) == ["helper", "round-1"]
        assert ask(running, "helper").model == "round-1"


def test_a_model_that_can_be_opened_later_is_taken_up_then(loop) -> None:
    """A load that failed was never tried again."""
    away = loop / "away"
    with started(load_host([str(loop)], limits=Limits(max_slots=4))) as running:
        promote(loop, "ann", anyway=True)
        running.wait(lambda: names(running) == ["helper", "round-1"])
        (loop / "start" / "model").rename(away)
        roll_back(loop, "ann")
        time.sleep(1.5)
        away.rename(loop / "start" / "model")
        running.wait(lambda: names(running) == ["helper", "round-0"])


def test_a_history_that_breaks_for_a_while_stops_nothing(loop, caplog) -> None:
    """One row that could not be read, or a history that was away, ended the following for good."""
    path = loop / "history.jsonl"
    with started(load_host([str(loop)], limits=Limits(max_slots=4))) as running:
        good = path.read_bytes()
        path.write_bytes(good + b"{broken\n")
        running.wait(lambda: "history.jsonl:7: not JSON" in caplog.text)
        with pytest.raises(urllib.error.HTTPError) as refused:
            get(running, "/v1/loop")
        assert refused.value.code == 503
        assert "history.jsonl:7: not JSON" in json.load(refused.value)["error"]["message"]
        refused.value.close()
        time.sleep(1.5)
        assert caplog.text.count("not JSON") == 1
        path.unlink()
        running.wait(lambda: caplog.text.count("cannot be served") == 2)
        path.write_bytes(good)
        promote(loop, "ann", anyway=True)
        running.wait(lambda: names(running) == ["helper", "round-1"])
        assert get(running, "/health") == {"status": "ok"}


def test_a_server_that_follows_no_more_is_not_healthy(loop, caplog, monkeypatch) -> None:
    """A bug of ours, which the log shows."""

    async def fail(*_: Any) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(LoopWatch, "_take_up", fail)
    with started(load_host([str(loop)], limits=Limits(max_slots=4))) as running:
        assert get(running, "/health") == {"status": "ok"}
        promote(loop, "ann", anyway=True)
        running.wait(lambda: "no longer follows its loop" in caplog.text)
        with pytest.raises(urllib.error.HTTPError, match="503") as unhealthy:
            get(running, "/health")
        unhealthy.value.close()
        assert "ZeroDivisionError" in caplog.text


def test_a_loop_whose_start_is_being_made_is_no_checkpoint(tmp_path) -> None:
    for folder in ("start", "rounds"):
        (tmp_path / folder).mkdir()
    with pytest.raises(RunDirError, match=r"the start of the loop .* is not finished"):
        load_host([str(tmp_path)], limits=Limits())


def test_a_loop_is_served_alone(loop, tmp_path) -> None:
    with pytest.raises(ConfigError, match="give it alone"):
        load_host([str(loop), "other"], limits=Limits())
    with pytest.raises(ConfigError, match="leave --feedback out"):
        load_host([str(loop)], feedback=tmp_path, limits=Limits())
    assert read_state(loop).served.name == "round-0"


def test_without_a_loop_there_is_no_page_of_one(running) -> None:
    for path in ("/loop", "/v1/loop"):
        with pytest.raises(urllib.error.HTTPError) as refused:
            urllib.request.urlopen(running.url + path)
        assert refused.value.code == 404
        refused.value.close()


def complaints_of_axe(page: Any) -> str:
    """What axe-core finds against WCAG 2.2 A and AA, and its best practices."""
    axe = pytest.importorskip(
        "axe_playwright_python.sync_playwright", reason="the extra `dev` brings it"
    )
    rules = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]
    found = axe.Axe().run(page, options={"runOnly": rules, "resultTypes": ["violations"]})
    return found.generate_report() if found.violations_count else ""


@pytest.mark.browser
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize(("width", "language"), [(1280, "en"), (360, "zh")])
def test_the_page_shows_rounds_votes_and_what_is_served(
    chromium, loop, tmp_path, scheme, width, language
) -> None:
    with started(load_host([str(loop)], limits=Limits(max_slots=4))) as running:
        for user, ranks in enumerate([[1, 2]] * 6 + [[1, 1]] * 2 + [[2, 1]] * 2):
            vote(running, user, ranks)
        context = chromium.new_context(
            viewport={"width": width, "height": 900}, color_scheme=scheme, locale=f"{language}-US"
        )
        page = context.new_page()
        complaints: list[str] = []
        page.on("console", lambda message: complaints.append(message.text))
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.goto(f"{running.url}/loop")
        page.wait_for_selector("#loop:not([hidden])")
        assert page.inner_text("#served") == "round-0"
        assert "0.70 [" in page.inner_text("#open-words")  # 6 wins and 2 ties of 10
        assert page.locator("#open-plot polygon").count() == 1
        assert page.get_attribute("html", "lang") == language
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        assert complaints_of_axe(page) == ""
        page.screenshot(path=tmp_path / "open.png", full_page=True)
        promote(loop, "ann", anyway=True)
        page.wait_for_selector("#served:text('round-1')", timeout=20_000)
        assert page.locator("#rounds-plot circle").count() == 1
        assert page.locator("#rounds tr.served").count() == 1
        assert page.locator("#history li").count() == 7
        assert complaints_of_axe(page) == ""
        page.screenshot(path=tmp_path / "promoted.png", full_page=True)
        page.click("#language")
        assert page.get_attribute("html", "lang") != language
        assert complaints == []
        context.close()


@pytest.mark.browser
def test_the_chat_page_compares_blind_while_a_comparison_is_open(chromium, loop) -> None:
    with started(load_host([str(loop)], limits=Limits(max_slots=4))) as running:
        page = chromium.new_page(locale="en-US")
        page.goto(running.url)
        page.wait_for_selector("#model option", state="attached")
        page.wait_for_selector("#loop:not([hidden])")
        assert page.is_checked("#compare")
        page.click("#open-settings")
        page.fill("#max-tokens", "4")
        page.check("#consent")
        page.fill("#text", "What is a whale?")
        page.press("#text", "Enter")
        page.wait_for_selector("text=Left is better")
        assert "round-" not in page.inner_text("#turns")
        with page.expect_response("**/v1/feedback"):
            page.click("text=Left is better")
        assert len(get(running, "/v1/loop")["comparison"]["paths"]["votes"]) == 1
        promote(loop, "ann", anyway=True)
        running.wait(lambda: names(running) == ["helper", "round-1"])
        page.fill("#text", "And now?")
        page.press("#text", "Enter")
        page.wait_for_selector(".turn:nth-child(4) .name:has-text('round-1')")
        page.close()
