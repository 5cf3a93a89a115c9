"""The chat page as people meet it: a browser, two models, no network but the server."""

from __future__ import annotations

import json
import urllib.request

import pytest

from instructgpt.data.readers import load_rankings

MARKUP = "<img src=x onerror=alert(1)> 你好"


def test_the_page_may_load_and_run_nothing_but_itself(running) -> None:
    for path in ("/", "/page/chat.js", "/page/chat.css"):
        with urllib.request.urlopen(running.url + path) as response:
            policy = response.headers["Content-Security-Policy"]
            assert policy.startswith("default-src 'none'; script-src 'self'; style-src 'self';")
            assert response.headers["X-Content-Type-Options"] == "nosniff"
            text = response.read().decode()
        assert "http://" not in text
        assert "https://" not in text
        assert "innerHTML" not in text


@pytest.fixture
def page(chromium, running):
    page = chromium.new_page(locale="en-US")
    page.complaints = []
    page.on("console", lambda message: page.complaints.append(message.text))
    page.on("pageerror", lambda error: page.complaints.append(str(error)))
    page.on("request", lambda r: r.url.startswith((running.url, "blob:", "data:"))
            or page.complaints.append(r.url))  # fmt: skip
    page.goto(running.url)
    page.wait_for_selector("#model option", state="attached")
    page.click("#open-settings")
    page.fill("#max-tokens", "8")
    page.fill("#seed", "1")
    page.check("#consent")
    page.click("#open-settings")
    yield page
    assert page.complaints == []
    page.close()


def ask(page, text: str) -> None:
    page.fill("#text", text)
    page.press("#text", "Enter")
    page.wait_for_selector("#send:not([hidden])")


@pytest.mark.browser
def test_a_conversation_is_edited_answered_again_and_stopped(page) -> None:
    ask(page, MARKUP)
    assert page.locator(".user .text").inner_text() == MARKUP
    first = page.locator(".assistant .text").inner_text()
    assert first
    page.click("text=Regenerate")
    page.wait_for_selector("#send:not([hidden])")
    assert page.locator(".assistant .text").inner_text() == first  # the same seed
    ask(page, "and more")
    assert page.locator(".turn").count() == 4
    page.locator("text=Edit").first.click()
    page.fill(".edit", "another question")
    page.click("text=Save and answer")
    page.wait_for_selector("#send:not([hidden])")
    assert page.locator(".turn").count() == 2
    assert page.locator(".user .text").inner_text() == "another question"


@pytest.mark.browser
def test_a_preset_names_the_task_and_so_does_whoever_asks(chromium, of_tasks) -> None:
    """Presets sent no task, which a model with soft prompts per task refuses to do without."""
    page = chromium.new_page(locale="en-US")
    asked = []
    page.on("request", lambda r: r.url.endswith("/completions") and asked.append(r.post_data_json))
    page.goto(of_tasks.url)
    page.wait_for_selector("#task:not([hidden])")
    page.click("#open-settings")
    page.fill("#max-tokens", "4")
    assert page.locator("#task option").all_inner_texts() == ["qa", "translation"]
    page.select_option("#preset", label="Translation")
    ask(page, "Hi")
    page.select_option("#preset", label="Summarisation")  # no task of this model
    page.select_option("#task", "qa")
    ask(page, "Hi")
    page.check("#compare")
    ask(page, "Hi")
    page.select_option("#model", "plain")
    page.uncheck("#compare")
    assert page.locator("#task").is_hidden()
    ask(page, "Hi")
    assert page.locator(".error").count() == 0
    told = [(body["model"], body.get("task")) for body in asked]
    assert told[:2] == [("tasked", "translation"), ("tasked", "qa")]
    assert sorted(told[2:4], key=str) == [("plain", None), ("tasked", "qa")]
    assert told[4] == ("plain", None)
    page.close()


@pytest.mark.browser
def test_a_blind_vote_becomes_a_ranking(page, feedback_folder) -> None:
    page.check("#compare")
    ask(page, "What is a whale?")
    assert page.locator(".name >> text=Answer A").count() == 1
    assert "twin" not in page.locator("#turns").inner_text()
    with page.expect_response("**/v1/feedback"):
        page.click("text=Right is better")
    page.wait_for_selector(".name >> text=twin")
    (ranking,) = load_rankings(feedback_folder / "rankings.jsonl").records
    assert ranking.ranks == (2, 1)
    assert sorted(ranking.meta["models"]) == ["tiny", "twin"]
    assert ranking.prompt.text == "What is a whale?"


@pytest.mark.browser
def test_a_thumb_keeps_its_reason(page, feedback_folder) -> None:
    ask(page, "What is a whale?")
    page.once("dialog", lambda dialog: dialog.accept("too vague"))
    page.click("text=Bad")
    page.wait_for_selector("[aria-pressed=true]")
    row = json.loads((feedback_folder / "thumbs.jsonl").read_text().splitlines()[-1])
    assert row["label"] is False
    assert (row["meta"]["model"], row["meta"]["reason"]) == ("tiny", "too vague")


@pytest.mark.browser
def test_what_is_given_is_given_by_consent_and_can_be_taken_back(page, feedback_folder) -> None:
    def kept() -> set[str]:
        lines = (feedback_folder / "prompts.jsonl").read_text(encoding="utf-8").splitlines()
        return {json.loads(line)["prompt"][-1]["content"] for line in lines}

    with page.expect_response("**/v1/feedback"):
        ask(page, "Mine to give")
    assert "Mine to give" in kept()
    page.click("#open-settings")
    page.uncheck("#consent")
    ask(page, "Mine to keep")
    page.click("text=Good >> nth=-1")  # asks nothing: the answer was no
    page.click("#forget")
    page.wait_for_selector("#forgotten:has-text('Removed: 1')")
    assert not {"Mine to give", "Mine to keep"} & kept()
    page.evaluate("localStorage.removeItem('consent')")
    asked = []
    page.once("dialog", lambda dialog: (asked.append(dialog.message), dialog.dismiss()))
    page.click("text=Bad >> nth=-1")
    assert "may be kept" in asked[0]
    page.click("text=Bad >> nth=-1")  # asked once
    assert len(asked) == 1


@pytest.mark.browser
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize(("width", "language"), [(1280, "en"), (360, "zh")])
def test_it_fits_in_both_languages(chromium, running, scheme, width, language, tmp_path) -> None:
    context = chromium.new_context(
        viewport={"width": width, "height": 800}, color_scheme=scheme, locale=f"{language}-US"
    )
    page = context.new_page()
    page.goto(running.url)
    page.wait_for_selector("#model option", state="attached")
    presets = page.locator("#preset option").all_inner_texts()
    assert (
        presets[1:]
        == {
            "en": ["Question answering", "Dialogue", "Summarisation", "Translation"],
            "zh": ["问答", "对话", "摘要", "翻译"],
        }[language]
    )
    page.select_option("#preset", "4")
    page.click("#open-settings")
    assert page.input_value("#system").startswith({"en": "Translate", "zh": "翻译"}[language])
    page.fill("#max-tokens", "20")
    page.check("#compare")
    ask(page, "Hello 你好 " * 12)
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert page.get_attribute("html", "lang") == language
    page.screenshot(path=tmp_path / "page.png")
    context.close()
