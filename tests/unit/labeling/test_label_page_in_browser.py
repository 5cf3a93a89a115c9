"""The label page as people meet it: mouse, keyboard, reloads, a server that dies."""

from __future__ import annotations

import pytest

axe = pytest.importorskip(
    "axe_playwright_python.sync_playwright", reason="the extra `dev` brings it"
)
pytestmark = pytest.mark.browser

# Everything that axe-core knows of WCAG 2.2 A and AA, and its best practices.
AXE = {
    "runOnly": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"],
    "resultTypes": ["violations"],
}


@pytest.fixture
def visit(chromium):
    """Open a personal link in a browser of its own and sign in; no page may complain."""
    contexts, complaints = [], []

    def sign_in(page, name, **settings):
        context = chromium.new_context(locale="en-US", **settings)
        contexts.append(context)
        tab = context.new_page()
        tab.on("pageerror", lambda error: complaints.append(str(error)))
        tab.on("console", lambda m: complaints.append(m.text) if "Policy" in m.text else None)
        tab.goto(page.link(name))
        tab.get_by_role("button", name="Sign in").click()
        tab.wait_for_url(f"{page.url}/")
        return tab

    yield sign_in
    for context in contexts:
        context.close()
    assert complaints == []


def take_task(tab) -> None:
    tab.get_by_role("button", name="Next task").click()
    tab.wait_for_url("**/task/*")
    tab.wait_for_selector(".card[aria-label]")


def ranks(tab) -> list[int]:
    return tab.eval_on_selector_all(".card select", "all => all.map(s => Number(s.value))")


def shown_ranks(row) -> list[int]:
    return [row["ranks"][i] for i in row["meta"]["order"]]


@pytest.fixture
def address(tmp_path) -> str:
    """A file alone: what a browser does is the same whatever the store."""
    return str(tmp_path / "labels.sqlite")


def test_a_ranking_by_keyboard_alone_with_tie_undo_and_reload(page, visit):
    tab = visit(page, "ann")
    tab.wait_for_function("() => document.activeElement.dataset.post")  # the button has the focus
    tab.keyboard.press("Enter")
    tab.wait_for_url("**/task/*")
    tab.wait_for_selector(".card[aria-label]")
    for key in ("2", "ArrowRight", "="):
        tab.keyboard.press(key)
    cards = sorted(ranks(tab))
    assert cards == [0, 0, 2, 2]
    tab.keyboard.press("u")
    assert sorted(ranks(tab)) == [0, 0, 0, 2]
    tab.keyboard.press("n")
    tab.keyboard.type("as 1 said")  # letters and digits are text here
    tab.keyboard.press("Escape")
    tab.keyboard.press("u")
    tab.keyboard.press("a")
    tab.keyboard.press("2")
    assert tab.input_value("#notes") == "as 1 said"  # undo is about ranks
    tab.wait_for_function("() => document.getElementById('saved').textContent")
    tab.reload()
    tab.wait_for_selector(".card[aria-label]")
    assert sorted(ranks(tab)) == [0, 0, 0, 2]
    before = page.store.counts()["annotations"]
    with tab.expect_response("**/draft"):
        tab.keyboard.press("Enter")
    tab.wait_for_timeout(100)  # having saved the draft does not take the reason away
    assert "Rank every answer first" in tab.inner_text("#banner")
    for letter, rank in zip("abcd", "1224", strict=True):
        tab.keyboard.press(letter)
        tab.keyboard.press(rank)
    tab.keyboard.press("a")
    tab.keyboard.press("ArrowDown")
    assert ranks(tab) == [2, 2, 2, 4]
    tab.keyboard.press("ArrowUp")
    first = tab.url
    tab.keyboard.press("Enter")
    tab.wait_for_url(lambda url: url != first)
    assert page.store.counts()["annotations"] == before + 1
    assert shown_ranks(page.rankings()[0]) == [1, 2, 2, 3]


def test_a_key_pressed_while_a_draft_is_on_its_way_survives_a_reload(page, visit):
    """The server had the draft before the key and the page no receipt of it: the key was lost."""
    tab = visit(page, "ann")
    take_task(tab)
    stored = []
    tab.route("**/draft", lambda route: stored.append(route.fetch().status))  # no reply comes back
    for key in "a1":
        tab.keyboard.press(key)
    while not stored:
        tab.wait_for_timeout(20)
    for key in "b2":
        tab.keyboard.press(key)
    tab.unroute("**/draft")
    tab.reload()
    tab.wait_for_selector(".card[aria-label]")
    assert stored == [200]
    assert sorted(ranks(tab)) == [0, 0, 1, 2]


def test_a_draft_whose_receipt_is_lost_is_no_other_page(page, visit):
    """Sent again, it was refused as open elsewhere, and what followed was lost."""
    tab = visit(page, "ann")
    take_task(tab)
    sent = []

    def lose_the_first_receipt(route):
        sent.append(route.fetch().status)
        route.abort() if len(sent) == 1 else route.fulfill(status=200, body='{"version": 2}')

    tab.route("**/draft", lose_the_first_receipt)
    for key in "a1":
        tab.keyboard.press(key)
    tab.wait_for_function("() => document.getElementById('saved').textContent")
    assert sent == [200, 200]
    assert tab.inner_text("#banner") == ""


def test_cards_are_dragged_into_ranks_and_texts_run_nothing(page, visit):
    tab = visit(page, "ann", viewport={"width": 1280, "height": 1000})
    take_task(tab)
    assert "hacked" not in tab.title()
    for index in range(4):
        grip = tab.locator(f"[data-card='{index}'] .grip b").bounding_box()
        column = tab.locator(f"[data-rank='{1 + index // 2}'] h3").bounding_box()
        tab.mouse.move(grip["x"] + 5, grip["y"] + 5)
        tab.mouse.down()
        tab.mouse.move(grip["x"] + 30, grip["y"] + 30, steps=3)
        tab.mouse.move(column["x"] + 40, column["y"] + 10, steps=5)
        tab.mouse.up()
    assert ranks(tab) == [1, 1, 2, 2]
    tab.get_by_role("button", name="Submit").click()
    tab.wait_for_url("**/task/2")
    assert shown_ranks(page.rankings()[0]) == [1, 1, 2, 2]
    assert "hacked" not in tab.title()


def test_instruction_ratings_flags_then_ranking(full_page, visit):
    tab = visit(full_page, "bob")
    tab.get_by_role("button", name="Next task").click()
    tab.wait_for_url("**/task/*")
    assert "built-in" not in tab.inner_text("body")
    tab.get_by_label("What it asks for").select_option("chat")
    tab.get_by_label("states an explicit constraint").check()
    tab.keyboard.press("Enter")
    for index, rating in enumerate("7551"):
        tab.keyboard.press(rating)
        assert tab.locator(f"[name='rating-{index}']:checked").get_attribute("value") == rating
        if index == 0:
            tab.locator("section:visible").get_by_label("satisfies the constraint").check()
        tab.keyboard.press("Enter")
    tab.get_by_role("button", name="Order by my ratings").click()
    assert ranks(tab) == [1, 2, 2, 3]
    tab.get_by_role("button", name="Submit").click()
    tab.wait_for_url("**/task/2")
    (row,) = full_page.rankings()
    meta = row["meta"]
    assert shown_ranks(row) == [1, 2, 2, 3]
    assert [meta["ratings"][i] for i in meta["order"]] == [7, 5, 5, 1]
    assert meta["use_case"] == "chat"
    assert meta["flags"]["constraint"] is True
    satisfied = meta["flags"]["satisfies_constraint"]
    assert [satisfied[i] for i in meta["order"]] == [True, False, False, False]
    assert meta["flags"]["hallucination"] == [None] * 4  # not a closed domain: not asked


def test_two_people_at_once_do_not_see_each_other(page, visit):
    ann, bob = visit(page, "ann"), visit(page, "bob")
    take_task(ann)
    take_task(bob)
    assert ann.url != bob.url
    ann.keyboard.press("a")
    ann.keyboard.press("1")
    assert sorted(ranks(bob)) == [0, 0, 0, 0]


def problems(tab) -> str:
    found = axe.Axe().run(tab, options=AXE)
    return found.generate_report() if found.violations_count else ""


@pytest.mark.parametrize(
    ("language", "scheme", "width"),
    [("en", "light", 1280), ("zh", "dark", 390)],
    ids=["desk", "phone"],
)
def test_every_page_passes_axe_and_fits(busy_page, visit, language, scheme, width):
    size = {"width": width, "height": 900}
    tab = visit(busy_page, "lea", viewport=size, color_scheme=scheme)
    ranking, writing = (f"/task/{number}" for number in busy_page.numbers)
    for path in ("/", ranking, writing, "/lead", "/lead/task/1", "/lead/task/4", "/join", "/x"):
        tab.goto(f"{busy_page.url}{path}?lang={language}")
        assert tab.get_attribute("html", "lang") == language
        assert problems(tab) == "", path
        assert tab.evaluate("document.documentElement.scrollWidth") <= width, path
    tab.goto(busy_page.url + ranking)
    for step in range(6):
        assert step in (2, 3, 4) or problems(tab) == ""  # the instruction, an answer, the ranking
        assert tab.evaluate("document.documentElement.scrollWidth") <= width
        tab.keyboard.press("5")
        tab.keyboard.press("Enter")
    tab.keyboard.press("?")
    assert problems(tab) == ""


def test_the_server_dies_in_the_middle_of_a_drag(revived, visit):
    """What was ranked before, while and after the server is away is there, and there once."""
    page, kill, revive = revived
    tab = visit(page, "ann", viewport={"width": 1280, "height": 1000})
    take_task(tab)
    for letter, rank in zip("abc", "123", strict=True):
        tab.keyboard.press(letter)
        tab.keyboard.press(rank)
    grip = tab.locator("[data-card='3'] .grip b").bounding_box()
    tab.mouse.move(grip["x"] + 5, grip["y"] + 5)
    tab.mouse.down()
    tab.mouse.move(grip["x"] + 40, grip["y"] + 40, steps=3)
    kill()
    column = tab.locator("[data-rank='4'] h3").bounding_box()
    tab.mouse.move(column["x"] + 40, column["y"] + 10, steps=5)
    tab.mouse.up()
    tab.wait_for_selector("#banner:visible")
    tab.keyboard.press("Enter")
    first = tab.url
    revive()
    tab.wait_for_url(lambda url: url != first)
    assert [shown_ranks(row) for row in page.rankings()] == [[1, 2, 3, 4]]
    assert page.store.counts()["annotations"] == 1


def test_an_answer_whose_receipt_got_lost_is_stored_once(page, visit):
    """The server stores it and dies before it says so; the clock of the page goes on meanwhile."""
    tab = visit(page, "ann")
    take_task(tab)
    for letter, rank in zip("abcd", "1234", strict=True):
        tab.keyboard.press(letter)
        tab.keyboard.press(rank)
    lost = []

    def lose(route):
        lost.append(route.fetch().status)  # stored, and nobody hears of it
        if len(lost) < 3:
            route.abort()
        else:
            route.continue_()

    tab.route("**/ranking", lose)
    first = tab.url
    tab.keyboard.press("Enter")
    tab.wait_for_selector("#banner:visible")
    tab.keyboard.press("1")  # what is being sent is what stays
    tab.reload()  # even by somebody who does not want to wait
    tab.wait_for_selector(".card[aria-label]")
    tab.wait_for_function("() => document.getElementById('timer').textContent !== '0:00'")
    tab.wait_for_timeout(1100)  # one second more than the answer that was sent
    assert ranks(tab) == [1, 2, 3, 4]
    tab.keyboard.press("Enter")
    tab.wait_for_url(lambda url: url != first)
    assert lost == [200, 200, 200]
    assert page.store.counts()["annotations"] == 1
