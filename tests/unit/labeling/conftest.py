"""A label page that runs on a free port, on a store of a few tasks."""

from __future__ import annotations

import asyncio
import json
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx2
import pytest
import uvicorn

from instructgpt.labeling.page.app import create_app
from instructgpt.labeling.page.guard import SESSION_COOKIE, csrf_token
from instructgpt.storage.annotation import Annotation
from instructgpt.storage.label_access import LabelAccess
from instructgpt.storage.label_answers import LabelAnswers
from instructgpt.storage.label_desk import LabelDesk
from instructgpt.storage.label_store import LabelStore
from instructgpt.web.listening import bind

HOSTILE = "<script>document.title='hacked'</script><img src=x onerror=\"document.title='hacked'\">"
TASKS = [
    ("Say hello", ["Good day to you.", "Hello!", HOSTILE, "Go away."]),
    ("'\"><script>document.title='hacked'</script>", ["one", "two", "three"]),
    ("猫是什么？", ["猫是一种动物。", "不知道。", ""]),
]


@dataclass
class Page:
    """A running label page and its store."""

    store: LabelStore
    url: str
    tokens: dict[str, str] = field(default_factory=dict)
    clients: list[Client] = field(default_factory=list)
    numbers: list[int] = field(default_factory=list)  # of what lies on the lead's desk

    def link(self, name: str) -> str:
        return f"{self.url}/join#{self.tokens[name]}"

    def client(self, name: str) -> Client:
        self.clients.append(Client(self.url, self.tokens[name]))
        return self.clients[-1]

    def order(self, task: str) -> list[int]:
        """In which the completions of the task at this path of the page are shown."""
        with self.store.transaction():
            found = self.store.execute(
                "SELECT order_json FROM assignments WHERE id = :number",
                number=int(task.rpartition("/")[2]),
            )
            order: list[int] = json.loads(found.scalar_one())
        return order

    def rankings(self) -> list[dict[str, Any]]:
        return list(self.store.rankings())


class Client:
    """What the page's scripts send, without a browser."""

    def __init__(self, url: str, token: str) -> None:
        self.http = httpx2.Client(base_url=url, headers={"Accept-Language": "en"})
        assert self.http.post("/join", json={"token": token}).status_code == 200
        self.headers = {"X-CSRF-Token": csrf_token(self.http.cookies[SESSION_COOKIE])}

    def get(self, path: str) -> httpx2.Response:
        return self.http.get(path)

    def post(self, path: str, body: Any = None, **more: Any) -> httpx2.Response:
        return self.http.post(path, json=body or {}, headers=self.headers, **more)

    def put(self, path: str, body: Any) -> httpx2.Response:
        return self.http.put(path, json=body, headers=self.headers)

    def next(self) -> str:
        """The path of the next task, or / when there is none."""
        return str(self.post("/next").json()["url"])


@contextmanager
def running(address: str, port: int = 0, ratings: bool = False) -> Iterator[Page]:
    with LabelStore(address) as store, bind("127.0.0.1", port) as listening:
        app = create_app(store, ratings=ratings)
        server = uvicorn.Server(uvicorn.Config(app, log_level="warning"))
        thread = threading.Thread(target=lambda: asyncio.run(server.serve([listening])))
        thread.start()
        try:
            until = time.monotonic() + 20
            while not server.started:
                assert time.monotonic() < until, "the page never started"
                time.sleep(0.005)
            found = Page(store, f"http://127.0.0.1:{listening.getsockname()[1]}")
            yield found
        finally:
            for client in found.clients:
                client.http.close()
            server.should_exit = True
            thread.join()


def fill(page: Page, wanted: int = 2) -> None:
    """Three tasks, and the people who work on them."""
    access = LabelAccess(page.store)
    for prompt, completions in TASKS:
        page.store.add_task(
            {"prompt": [{"role": "user", "content": prompt}]},
            [{"text": text, "model": f"secret-model-{i}"} for i, text in enumerate(completions)],
            wanted=wanted,
        )
    for name in ("ann", "bob"):
        page.tokens[name] = access.invite(name)
    page.tokens["lea"] = access.invite("lea", "lead")


@pytest.fixture
def page(address: str) -> Iterator[Page]:
    """The ranking page alone."""
    with running(address) as found:
        fill(found)
        yield found


@pytest.fixture
def revived(
    address: str, tmp_path: Path
) -> Iterator[tuple[Page, Callable[[], None], Callable[[], None]]]:
    """A page served by a process of its own, what kills that process, and what starts it again."""
    with LabelStore(address) as store, bind("127.0.0.1", 0) as listening:
        port = listening.getsockname()[1]
        listening.close()
        found = Page(store, f"http://127.0.0.1:{port}")
        fill(found)
        command = ["label", "serve", "--store", address, "--port", str(port), "--no-ratings"]
        log = tmp_path / "log.txt"
        processes: list[subprocess.Popen[bytes]] = []

        def revive() -> None:
            said = log.read_text().count("label page at") if log.exists() else 0
            with log.open("ab") as output:
                processes.append(
                    subprocess.Popen(
                        [sys.executable, "-m", "instructgpt", *command],
                        stdout=output,
                        stderr=output,
                    )
                )
            until = time.monotonic() + 60
            while log.read_text().count("label page at") == said:
                assert time.monotonic() < until, log.read_text()
                time.sleep(0.02)

        def kill() -> None:
            with processes[-1] as process:
                process.send_signal(signal.SIGKILL)

        revive()
        yield found, kill, revive
        kill()
        assert not any(token in log.read_text() for token in found.tokens.values())


@pytest.fixture
def full_page(address: str) -> Iterator[Page]:
    """With labels of the instruction, ratings and flags."""
    with running(address, ratings=True) as found:
        fill(found)
        yield found


@pytest.fixture
def busy_page(address: str) -> Iterator[Page]:
    """With a test, long texts, people who disagree, and both kinds of task on the lead's desk."""
    with running(address, ratings=True) as found:
        fill(found)
        crowd(found)
        yield found


def crowd(page: Page) -> None:
    """Tasks 1 to 3 are there; 4 is to be written, 5 is of the test, 6 is long and for the lead."""
    long = "很长的回答。A long answer. " * 60
    turns = [("system", "Be kind."), ("user", long), ("assistant", "Yes."), ("user", "Go on")]
    prompt = {"prompt": [{"role": role, "content": text} for role, text in turns]}
    page.store.add_demonstration_task(prompt, wanted=3)
    gold = {"ranks": [1, 2], "flags": {"pii": True, "sexual": [False, None]}}
    page.store.add_task(prompt, ["yes", "no"], gold=gold)
    page.store.add_task(prompt, [long, "Short", long[1:], "no"])
    access, desk = LabelAccess(page.store), LabelDesk(page.store)
    people = {name: access.who(access.sign_in(page.tokens[name]) or "") for name in page.tokens}
    answers = LabelAnswers(desk)
    ranks = {
        "ann": {1: [1, 2, 3, 4], 2: [1, 2, 2], 5: [1, 2]},
        "bob": {1: [4, 3, 1, 1], 2: [1, 2, 3]},
    }
    for name, given in ranks.items():
        person = people[name]
        assert person is not None
        for task, wanted in given.items():
            number = desk.assign(task, person.id, "lea")
            order = desk.open(person, number).order
            shown = [wanted[i] for i in order]
            said = Annotation(shown, shown, {"pii": True}, HOSTILE, 30.0)
            answers.submit_ranking(person, number, said, f"{name}-{task}")
        number = desk.assign(4, person.id, "lea")
        answers.submit_demonstration(person, number, HOSTILE, client_uuid=f"{name}-4")
    assert people["lea"] is not None
    for task in (6, 4):
        page.numbers.append(desk.assign(task, people["lea"].id, "lea"))
