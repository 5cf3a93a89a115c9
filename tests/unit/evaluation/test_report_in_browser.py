"""The report as people meet it: a file opened in a browser that has no network."""

from __future__ import annotations

import pytest

from instructgpt.config.report import ReportConfig
from instructgpt.evaluation import report
from instructgpt.storage.run_dir import RunDir

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def url(recipe_root):
    with RunDir.open(recipe_root / "seen", "report", {}, 0, {}) as run:
        report.run(ReportConfig(title="Seen <in> a browser"), run)
    return (recipe_root / "seen" / "report.html").as_uri()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 390], ids=["desk", "phone"])
def test_opens_offline_without_errors_and_fits(chromium, url, width, scheme):
    context = chromium.new_context(
        viewport={"width": width, "height": 900}, color_scheme=scheme, offline=True
    )
    page = context.new_page()
    asked, complaints = [], []
    page.on("request", lambda request: asked.append(request.url))
    page.on("console", lambda message: complaints.append(message.text))
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.goto(url)
    assert asked == [url]
    assert complaints == []
    assert page.title() == "Seen <in> a browser: report"
    # wide tables scroll inside their own frame; the page itself does not
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    background = page.evaluate("getComputedStyle(document.body).backgroundColor")
    red = int(background.removeprefix("rgb(").split(",")[0])
    assert (red > 200) == (scheme == "light")
    drawn = page.evaluate(
        "[...document.querySelectorAll('svg')].map(s => s.getBoundingClientRect().width)"
    )
    assert len(drawn) > 5
    assert all(w > 100 for w in drawn)
    context.close()


def test_links_and_folds_work(chromium, url):
    page = chromium.new_page()
    page.goto(url)
    for link in page.locator("nav a").all():
        link.click()
        target = link.get_attribute("href")
        assert page.evaluate(f"document.querySelector('{target}') !== null"), target
    fold = page.locator("details").first
    was_open = fold.evaluate("e => e.open")
    fold.locator("summary").first.click()
    assert fold.evaluate("e => e.open") != was_open
    page.close()
