"""The label page over HTTP: who may do what, and that every answer is there once."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import httpx2
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from instructgpt import __version__
from instructgpt.data.records import Demonstration, Ranking
from instructgpt.labeling.exchange import exported_demonstrations, exported_rankings
from instructgpt.storage.label_access import LabelAccess

UUID = "0123456789abcdef"


def ranked(count: int, uuid: str = UUID, **more):
    return {"client_uuid": uuid, "ranks": list(range(1, count + 1)), **more}


def test_ranks_given_in_the_order_shown_come_back_in_the_task_s_order(page):
    ann = page.client("ann")
    task = ann.next()
    assert ann.post(f"{task}/ranking", ranked(4)).status_code == 200
    (row,) = page.rankings()
    order = row["meta"]["order"]
    assert sorted(order) == [0, 1, 2, 3]
    assert order != [0, 1, 2, 3]  # ann sees this task shuffled
    assert [row["ranks"][shown] for shown in order] == [1, 2, 3, 4]
    assert Ranking.from_dict(row).labeler == "ann"


def test_models_are_never_sent_and_texts_are_never_markup(page):
    ann = page.client("ann")
    for path in ("/", ann.next()):
        html = ann.get(path).text
        assert "secret-model" not in html
        assert "<script>document" not in html
        assert "<img" not in html
    assert "&lt;script&gt;document.title=" in html


def test_headers_let_no_foreign_script_run(page):
    for path in ("/join", "/static/task.js", "/nothing"):
        headers = httpx2.get(page.url + path).headers
        policy = headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "script-src 'self';" in policy
        assert "unsafe" not in policy
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["referrer-policy"] == "no-referrer"


def test_a_gap_between_ranks_is_an_empty_column(page):
    ann = page.client("ann")
    body = {"client_uuid": UUID, "ranks": [4, 2, 2, 1]}
    assert ann.post(f"{ann.next()}/ranking", body).status_code == 200
    assert sorted(page.rankings()[0]["ranks"]) == [1, 2, 2, 3]


def test_a_repeated_submission_is_one_row_and_another_answer_a_revision(page):
    ann = page.client("ann")
    task = ann.next()
    for _ in range(3):
        assert ann.post(f"{task}/ranking", ranked(4)).status_code == 200
    assert page.store.counts()["annotations"] == 1
    changed = {"client_uuid": "f" * 16, "ranks": [1, 1, 1, 1]}
    ann.post(f"{task}/ranking", changed)
    assert [(r["ranks"], r["meta"]["revision"]) for r in page.rankings()] == [([1, 1, 1, 1], 2)]
    stolen = ann.post(f"{task}/ranking", {"client_uuid": UUID, "ranks": [2, 1, 1, 1]})
    assert stolen.status_code == 400


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({"client_uuid": UUID, "ranks": [1, 2]}, "ranks: 2 given"),
        ({"client_uuid": UUID, "ranks": [0, 1, 2, 3]}, "whole number"),
        ({"client_uuid": "short", "ranks": [1, 2, 3, 4]}, "client_uuid"),
        ({"client_uuid": UUID, "ranks": [1, 2, 3, "x"]}, "ranks.3"),
        (ranked(4, flags={"sexual": [True]}), "flag 'sexual': 1 given"),
        (ranked(4, ratings=[1, 2, 3, 9]), "1 to 7"),
        (ranked(4, seconds=-1), "seconds"),
        (ranked(4, flags={"pretty": True}), "no flag 'pretty'"),
        (ranked(4, flags={"pii": [True] * 4}), "'pii' is one value"),
        (ranked(4, flags={"sexual": True}), "one of each answer"),
        (ranked(4, use_case="cheating"), "no use case 'cheating'"),
    ],
)
def test_a_wrong_answer_is_refused_with_its_reason(page, body, message):
    ann = page.client("ann")
    answer = ann.post(f"{ann.next()}/ranking", body)
    assert answer.status_code == 400
    assert message in answer.json()["error"]
    assert page.store.counts()["annotations"] == 0


def test_drafts_stay_and_the_page_that_knows_less_is_told(page):
    ann = page.client("ann")
    task = ann.next()
    assert ann.put(f"{task}/draft", {"draft": {"notes": "mine"}, "version": 0}).json() == {
        "version": 1
    }
    assert ann.put(f"{task}/draft", {"draft": {"notes": "old"}, "version": 0}).status_code == 409
    assert "mine" in ann.get(task).text
    assert ann.next() == task  # begun is taken up again


def test_somebody_else_s_task_does_not_exist(page):
    ann, bob = page.client("ann"), page.client("bob")
    task = ann.next()
    assert bob.get(task).status_code == 404
    assert bob.put(f"{task}/draft", {"draft": {}, "version": 0}).status_code == 404
    assert bob.post(f"{task}/ranking", ranked(4)).status_code == 404
    assert bob.post(f"{task}/skip").status_code == 404
    assert bob.get("/task/99").status_code == 404
    assert page.store.counts()["annotations"] == 0


def test_only_the_lead_sees_what_is_the_lead_s(page):
    ann, lea = page.client("ann"), page.client("lea")
    for path in ("/lead", "/lead/task/1", "/lead/export/rankings.jsonl"):
        assert ann.get(path).status_code == 404
        assert lea.get(path).status_code == 200
    for path in ("assign", "admit", "decline", "resolve"):
        body = {"labeler": 1, "task": 1}
        assert ann.post(f"/lead/{path}", body).status_code == 404


def test_a_forged_request_changes_nothing(page):
    ann = page.client("ann")
    task = ann.next()
    session = ann.http
    wrong = [
        session.post(f"{task}/ranking", json=ranked(4)),
        session.post(f"{task}/ranking", json=ranked(4), headers={"X-CSRF-Token": "0" * 64}),
        ann.http.post(
            f"{task}/ranking",
            json=ranked(4),
            headers={**ann.headers, "Origin": "https://elsewhere.example"},
        ),
    ]
    assert [answer.status_code for answer in wrong] == [403, 403, 403]
    assert page.store.counts()["annotations"] == 0
    cookie = httpx2.post(f"{page.url}/join", json={"token": page.tokens["ann"]}).headers
    assert "HttpOnly" in cookie["set-cookie"]
    assert "SameSite=strict" in cookie["set-cookie"]


def test_forged_and_replaced_links_open_nothing(page, address, outside):
    for token in ("", "x", page.tokens["ann"][:-1], page.tokens["ann"] + "x"):
        assert httpx2.post(f"{page.url}/join", json={"token": token}).status_code == 403
    ann = page.client("ann")
    LabelAccess(page.store).invite("ann")
    assert httpx2.post(f"{page.url}/join", json={"token": page.tokens["ann"]}).status_code == 403
    assert ann.get("/").headers["location"] == "/join"  # the old session has ended, too
    assert ann.post("/next").status_code == 401
    tables = ("access", "sessions", "labelers", "events")
    stored = repr([outside(f"SELECT * FROM {table}") for table in tables])
    assert "'lea'" in stored
    secrets = (*page.tokens.values(), ann.http.cookies["instructgpt_session"])
    assert not any(secret in stored for secret in secrets)
    if "://" not in address:
        files = list(Path(address).parent.glob("labels.sqlite*"))
        assert len(files) == 3  # the file, its log and its index
        assert not any(s.encode() in file.read_bytes() for file in files for s in secrets)


@pytest.mark.parametrize(
    "path",
    [
        "/static/../app.py",
        "/static/..%2fapp.py",
        "/static/%2e%2e/%2e%2e/labels.sqlite",
        "/static//etc/passwd",
        "/static/label.css%00",
        "/lead/export/..%2f..%2fhistory.jsonl",
        "/lead/task/99999999999999999999999",
        "/task/99999999999999999999999",
        "/task/-1",
        "/task/x",
        "/docs",
        "/openapi.json",
    ],
)
def test_there_is_nothing_beside_the_page(page, path):
    answer = page.client("lea").get(path)
    assert answer.status_code == 404
    assert "There is no such page" in answer.text


TEXT = st.text(st.characters(exclude_categories=()), max_size=8)  # half characters, too
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | TEXT,
    lambda inner: (
        st.lists(inner, max_size=5) | st.dictionaries(st.text(max_size=5), inner, max_size=3)
    ),
    max_leaves=8,
)
FIELDS = ("client_uuid", "ranks", "ratings", "flags", "use_case", "notes", "seconds", "text",
          "draft", "version", "labeler", "task", "score", "reason", "token")  # fmt: skip


@settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(data=st.data())
def test_nothing_that_is_sent_breaks_the_server(page, data):
    """Wrong, or right by chance: refused or taken, never a crash."""
    if not page.clients:
        page.client("lea").next()
    client, task = page.clients[0], "/task/1"
    route = data.draw(st.sampled_from(
        [f"{task}/ranking", f"{task}/demonstration", f"{task}/skip", f"{task}/draft", "/join",
         "/lead/assign", "/lead/resolve", "/lead/score", "/lead/admit"]
    ))  # fmt: skip
    good = {"client_uuid": UUID, "ranks": [1, 2, 3, 4], "version": 0, "labeler": 1, "task": 1}
    odd = data.draw(st.dictionaries(st.sampled_from(FIELDS), JSON, max_size=4))
    body = json.dumps({**good, **odd})  # with NaN and half characters, which JSON does not have
    send = client.http.put if route.endswith("draft") else client.http.post
    headers = {**client.headers, "Content-Type": "application/json"}
    assert send(route, content=body, headers=headers).status_code < 500


def test_twenty_people_at_once_lose_nothing(page):
    """Every click is answered, and every answer is there once, whoever else is clicking."""
    names = [f"labeler {i}" for i in range(20)]
    for name in names:
        page.tokens[name] = LabelAccess(page.store).invite(name)
    for number in range(40):
        prompt = {"prompt": [{"role": "user", "content": f"more {number}"}]}
        page.store.add_task(prompt, ["a", "b", "c"], wanted=2)
    sent: list[tuple[str, str]] = []

    def work(name: str) -> None:
        client = page.client(name)
        while (task := client.next()) != "/":
            count = client.get(task).text.count('class="card"')
            for _ in range(2):  # an answer that got lost is sent again
                answer = client.post(
                    f"{task}/ranking", ranked(count, f"{name}{task}".encode().hex())
                )
                assert answer.status_code == 200
            sent.append((name, task))

    threads = [threading.Thread(target=work, args=(name,)) for name in names]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    rows = page.rankings()
    assert len(rows) == len(sent) == page.store.counts()["annotations"] == 43 * 2
    assert all(row["meta"]["revision"] == 1 for row in rows)


@pytest.mark.parametrize("address", ["postgresql"], indirect=True)
def test_a_server_killed_among_clicks_loses_no_answer_that_was_confirmed(revived):
    """With SIGKILL, between the clicks of ten people; of SQLite a browser's test shows it."""
    page, kill, revive = revived
    for number in range(40):
        prompt = {"prompt": [{"role": "user", "content": f"more {number}"}]}
        page.store.add_task(prompt, ["a", "b"])
    names = [f"labeler {i}" for i in range(10)]
    clients = []
    for name in names:
        page.tokens[name] = LabelAccess(page.store).invite(name)
        clients.append(page.client(name))
    confirmed: list[str] = []

    def until_answered(send: Callable[..., httpx2.Response], *what: Any) -> httpx2.Response:
        while True:
            try:
                return send(*what)
            except httpx2.TransportError:  # it is dead, or dies now: again, as the page does
                time.sleep(0.05)

    def work(name: str, client: Any) -> None:
        while (task := until_answered(client.post, "/next").json()["url"]) != "/":
            count = until_answered(client.get, task).text.count('class="card"')
            uuid = f"{name}{task}".encode().hex()
            answer = until_answered(client.post, f"{task}/ranking", ranked(count, uuid))
            assert answer.status_code == 200
            confirmed.append(uuid)

    threads = [
        threading.Thread(target=work, args=pair) for pair in zip(names, clients, strict=True)
    ]
    for thread in threads:
        thread.start()
    while len(confirmed) < 15:
        time.sleep(0.005)
    kill()
    revive()
    for thread in threads:
        thread.join()
    for client in clients:
        client.http.close()
    with page.store.transaction():
        stored = page.store.execute("SELECT client_uuid FROM annotations").scalars().all()
    assert sorted(stored) == sorted(confirmed)
    rows = page.rankings()
    assert len(rows) == len(confirmed) == 40 + 3 * 2  # three of the tasks are wanted twice
    assert all(row["meta"]["revision"] == 1 for row in rows)


@pytest.mark.parametrize("address", ["postgresql"], indirect=True)
def test_a_database_that_is_away_is_tried_again_and_loses_nothing(page, postgres, caplog):
    ann = page.client("ann")
    task = ann.next()
    with closing(postgres.master()) as master:
        master.execute("ALTER ROLE labels NOLOGIN")
        try:
            master.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                           "WHERE usename = 'labels'")  # fmt: skip
            away = ann.post(f"{task}/ranking", ranked(4))
        finally:
            master.execute("ALTER ROLE labels LOGIN")
    assert (away.status_code, away.json()["error"][:9]) == (503, "the store")
    assert "not permitted to log in" in caplog.text
    assert ann.post(f"{task}/ranking", ranked(4)).status_code == 200
    assert page.store.counts()["annotations"] == 1


def test_a_body_that_is_too_large_is_refused(page):
    ann = page.client("ann")
    answer = ann.put(f"{ann.next()}/draft", {"draft": {"notes": "x" * (1 << 20)}, "version": 0})
    assert answer.status_code == 413


def test_a_task_goes_to_as_many_people_as_it_wants(page):
    for name in ("ann", "bob", "lea"):
        client = page.client(name)
        while (task := client.next()) != "/":
            count = client.get(task).text.count('class="card"')
            client.post(f"{task}/ranking", ranked(count, f"{name}{task}".encode().hex()))
    by_task = [(row["meta"]["task"], row["labeler"]) for row in page.rankings()]
    assert by_task == [(task, name) for task in (1, 2, 3) for name in ("ann", "bob")]


def test_a_skipped_task_goes_to_others_and_can_be_taken_up_again(page):
    ann = page.client("ann")
    first = ann.next()
    second = ann.post(f"{first}/skip", {"reason": "too hard"}).json()["url"]
    assert second not in (first, "/")
    assert "skipped" in ann.get("/").text
    assert ann.post(f"{first}/ranking", ranked(4)).status_code == 200
    assert page.rankings()[0]["meta"]["task"] == 1


def test_chinese_is_a_click_or_a_browser_setting_away(page):
    chinese = httpx2.get(f"{page.url}/join", headers={"Accept-Language": "zh-CN,en;q=0.5"}).text
    assert '<html lang="zh">' in chinese
    assert "登录" in chinese
    ann = page.client("ann")
    assert "我的工作台" in ann.get("/?lang=zh").text
    assert "我的工作台" in ann.get("/").text  # remembered
    assert "My desk" in ann.get("/?lang=en").text


def test_demonstrations_are_written_and_exported(page):
    page.store.add_demonstration_task({"prompt": [{"role": "user", "content": "Write"}]})
    ann = page.client("ann")
    for _ in range(3):
        task = ann.next()
        count = ann.get(task).text.count('class="card"')
        ann.post(f"{task}/ranking", ranked(count, task.encode().hex() + UUID))
    task = ann.next()
    assert ann.post(f"{task}/ranking", ranked(2)).status_code == 400
    empty = {"client_uuid": UUID, "text": " \n"}
    assert ann.post(f"{task}/demonstration", empty).status_code == 400
    for text, uuid in (("First", UUID), ("First", UUID), ("Better", "a" * 16)):
        body = {"client_uuid": uuid, "text": text, "seconds": 3.5}
        assert ann.post(f"{task}/demonstration", body).status_code == 200
    (row,) = exported_demonstrations(page.store)
    assert Demonstration.from_dict(row).completion == "Better"
    assert (row["labeler"], row["meta"]["revision"], row["meta"]["seconds"]) == ("ann", 2, 3.5)


def test_the_lead_resolves_a_conflict_and_the_export_follows(page):
    ids = {}
    for name, ranks in (("ann", [1, 2, 3, 4]), ("bob", [4, 3, 2, 1])):
        client = page.client(name)
        task = client.next()
        ids[name] = page.store.add_labeler(name)
        order = page.order(task)
        body = {"client_uuid": name.encode().hex() + UUID, "ranks": [ranks[i] for i in order]}
        client.post(f"{task}/ranking", body)
    lea = page.client("lea")
    assert "task 1</a> τ -1.00" in lea.get("/lead").text
    assert len(list(exported_rankings(page.store))) == 2
    assert lea.post("/lead/resolve", {"task": 1, "labeler": ids["bob"]}).status_code == 200
    assert [row["labeler"] for row in exported_rankings(page.store)] == ["bob"]
    assert "τ -1.00" not in lea.get("/lead").text
    assert lea.post("/lead/resolve", {"task": 2, "labeler": ids["bob"]}).status_code == 400
    exported = lea.get("/lead/export/rankings.jsonl").text
    assert exported.count("\n") == 1
    events = [json.loads(line) for line in lea.get("/lead/export/history.jsonl").text.splitlines()]
    assert [(e["kind"], e["actor"], e["labeler"]) for e in events if e["task_id"] == 1] == [
        ("assigned", "ann", "ann"),
        ("ranked", "ann", "ann"),
        ("assigned", "bob", "bob"),
        ("ranked", "bob", "bob"),
        ("resolved", "lea", "bob"),
    ]
    assert all(e["program"] == __version__ and e["created_at"] for e in events)


def test_the_lead_assigns(page):
    lea, bob = page.client("lea"), page.client("bob")
    body = {"task": 3, "labeler": page.store.add_labeler("bob")}
    assert lea.post("/lead/assign", body).status_code == 200
    assert "猫是什么" in bob.get(bob.next()).text
    assert lea.post("/lead/assign", {"task": 99, "labeler": 1}).status_code == 400
