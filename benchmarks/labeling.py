"""Clicks of many labelers at once on `instructgpt label serve`: how long each takes, none lost.

    python benchmarks/labeling.py                    # 200 labelers, 3 tasks each
    python benchmarks/labeling.py --labelers 50 --tasks 10 --kill
    python benchmarks/labeling.py --chats 64         # and 64 chats that stream at the same time
    python benchmarks/labeling.py --store postgresql://labels@localhost/empty

Every labeler signs in, takes a task, saves three drafts, submits (twice, as a browser does that has
not heard of the first), and goes on. With `--kill` the server is killed with SIGKILL halfway and
started again; a labeler whose request fails sends it again. With `--chats` a second server, with a
random model of 4 layers, streams answers all the while; afterwards the last answer of every chat is
asked for alone and must be the same. The last line is JSON.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx2
from serving import wait_until_healthy
from workloads.chats import TOKENS, Chat, lost_answers, random_model, talk

from instructgpt.labeling.page.guard import SESSION_COOKIE, csrf_token
from instructgpt.storage.label_access import LabelAccess
from instructgpt.storage.label_store import LabelStore

K = 4


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--labelers", type=int, default=200)
    parser.add_argument("--tasks", type=int, default=3, help="of each labeler")
    parser.add_argument("--kill", action="store_true", help="kill the server halfway")
    parser.add_argument("--chats", type=int, default=0, help="chats that stream meanwhile")
    parser.add_argument("--store", help="an empty one; default: a file of its own")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        address = options.store or str(Path(folder) / "labels.sqlite")
        tokens = fill(address, options)
        chats = [Chat(number) for number in range(options.chats)]
        with chat_server(Path(folder), options.chats) as chat_url:
            seconds, lasted, answered = asyncio.run(both(address, tokens, chats, chat_url, options))
            different = lost_answers(chat_url, chats)
        with LabelStore(address) as store:
            options.store = store.where  # as it may be shown
            rows = list(store.rankings())
            stored = store.counts()["annotations"]
    lost = len(answered) - len(rows)
    found = {
        "clicks": len(seconds),
        "clicks_per_second": round(len(seconds) / lasted, 1),
        "median_ms": round(1000 * sorted(seconds)[len(seconds) // 2]),
        "p99_ms": round(1000 * sorted(seconds)[int(0.99 * len(seconds))]),
        "answers": len(answered),
        "stored": stored,
        "lost": lost,
    }
    if chats:
        waits = sorted(wait for chat in chats for wait in chat.first_piece)
        found["chat_answers"] = len(waits)
        found["chat_tokens_per_second"] = round(len(waits) * TOKENS / lasted)
        found["chat_first_piece_median_ms"] = round(1000 * waits[len(waits) // 2])
        found["chats_with_another_answer"] = different
    print(json.dumps({"settings": vars(options), **found}))
    if lost or stored != len(answered):
        sys.exit(f"{len(answered)} answers were confirmed, {stored} are stored")
    if different:
        sys.exit(f"chats {different} got another answer than they get alone")


@contextmanager
def chat_server(folder: Path, chats: int) -> Iterator[str]:
    """Where a random model answers; nothing is started for no chats."""
    if not chats:
        yield ""
        return
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "instructgpt", "serve", f"model={random_model(folder / 'm')}"]
    command += ["--port", str(port), "--dtype", "float32", "--queue", str(chats)]
    server = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    try:
        url = f"http://127.0.0.1:{port}"
        wait_until_healthy(url, server)
        yield url
    finally:
        server.terminate()
        server.wait()


async def both(
    address: str, tokens: dict[str, str], chats: list[Chat], url: str, options: argparse.Namespace
) -> tuple[list[float], float, set[tuple[str, str]]]:
    """Labelers and chats at once: (seconds of every click, how long it lasted, confirmed answers).

    It lasts until the labelers are done and every chat has had two answers.
    """
    done = asyncio.Event()
    began = time.perf_counter()
    talking = asyncio.create_task(talk(url, chats, done, least=2))
    seconds, answered = await crowd(address, tokens, options)
    done.set()
    await talking
    return seconds, time.perf_counter() - began, answered


def fill(address: str, options: argparse.Namespace) -> dict[str, str]:
    """Enough tasks for everybody; name -> token."""
    with LabelStore(address) as store:
        with store.transaction():
            for number in range(options.labelers * options.tasks):
                prompt = {"prompt": [{"role": "user", "content": f"prompt {number}"}]}
                store.add_task(prompt, [f"answer {k} to {number}" for k in range(K)])
        access = LabelAccess(store)
        return {name: access.invite(name) for name in map(str, range(options.labelers))}


async def crowd(
    address: str, tokens: dict[str, str], options: argparse.Namespace
) -> tuple[list[float], set[tuple[str, str]]]:
    """(seconds of every click, labeler and address of every answer that was confirmed)."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    url = f"http://127.0.0.1:{port}"
    server = start(address, port)
    seconds: list[float] = []
    answered: set[tuple[str, str]] = set()
    limits = httpx2.Limits(max_connections=None)
    try:
        async with httpx2.AsyncClient(base_url=url, limits=limits, timeout=120) as http:
            people = [
                asyncio.create_task(labeler(http, name, token, options.tasks, seconds, answered))
                for name, token in tokens.items()
            ]
            if options.kill:
                while len(answered) < options.labelers * options.tasks // 2:
                    await asyncio.sleep(0.01)
                server.send_signal(signal.SIGKILL)
                server.wait()
                server = start(address, port)
            await asyncio.gather(*people)
    finally:
        server.terminate()
        server.wait()
    return seconds, answered


async def labeler(
    http: httpx2.AsyncClient,
    name: str,
    token: str,
    tasks: int,
    seconds: list[float],
    answered: set[tuple[str, str]],
) -> None:
    """One person's session."""

    async def click(method: str, to: str, headers: dict[str, str], **body: Any) -> httpx2.Response:
        while True:
            began = time.perf_counter()
            try:
                answer = await http.request(method, to, json=body or None, headers=headers)
            except httpx2.TransportError:  # the server was away
                await asyncio.sleep(0.2)
                continue
            seconds.append(time.perf_counter() - began)
            if answer.status_code != 409:  # a draft that was saved, and its receipt lost
                answer.raise_for_status()
            return answer

    joined = await click("POST", "/join", {}, token=token)
    session = joined.headers["set-cookie"].partition(f"{SESSION_COOKIE}=")[2].partition(";")[0]
    headers = {"X-CSRF-Token": csrf_token(session), "Cookie": f"{SESSION_COOKIE}={session}"}
    where = (await click("POST", "/next", headers)).json()["url"]
    for _ in range(tasks):
        if where == "/":
            return
        await click("GET", where, headers)
        for version in range(3):
            draft = {"ranks": [0] * K, "step": version}
            await click("PUT", f"{where}/draft", headers, draft=draft, version=version)
        body = {"client_uuid": f"{name}{where}".encode().hex(), "ranks": [1, 2, 2, 3]}
        for _ in range(2):
            told = await click("POST", f"{where}/ranking", headers, **body)
        answered.add((name, where))
        where = told.json()["url"]


def start(address: str, port: int) -> subprocess.Popen[bytes]:
    """The server, once it listens."""
    command = [sys.executable, "-m", "instructgpt", "label", "serve", "--no-ratings"]
    server = subprocess.Popen(
        [*command, "--store", address, "--port", str(port)], stdout=subprocess.PIPE
    )
    assert server.stdout is not None
    assert b"label page at" in server.stdout.readline()
    return server


if __name__ == "__main__":
    main()
