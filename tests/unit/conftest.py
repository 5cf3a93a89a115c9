"""Stages that do next to nothing, a server that speaks OpenAI's protocol as a test wants, and a
PostgreSQL server.
"""

from __future__ import annotations

import json
import re
import shutil
import socket
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import count
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlencode

import pytest

from instructgpt.config.base import Config
from instructgpt.config.judges import AIJudgeConfig
from instructgpt.errors import DataError
from instructgpt.pipeline.stages import STAGES, Stage

if TYPE_CHECKING:
    import psycopg


class Inner(Config):
    """A section."""

    lr: float = 0.5
    """A rate."""
    steps: int = 3
    """A count."""


class CopyConfig(Config):
    """Settings of the stage `copy`."""

    seed: int = 0
    """Its seed."""
    text: str = ""
    """What it writes."""
    source: str | None = None
    """A file whose content it writes after that."""
    optim: Inner = Inner(lr=0.25)
    """A section."""


@dataclass
class Calls:
    """Which stages ran, in order, with what; and which of them are to fail."""

    names: list[str] = field(default_factory=list)
    configs: dict[str, CopyConfig] = field(default_factory=dict)
    failing: dict[str, BaseException] = field(default_factory=dict)


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> Iterator[Calls]:
    """Registers the kinds `copy` and `gather`; `gather` reads all earlier stages."""
    made = Calls()

    def run(config: CopyConfig, run_dir: Any) -> dict[str, Any]:
        name = run_dir.root.name
        made.names.append(name)
        made.configs[name] = config
        if name in made.failing:
            raise made.failing.pop(name)
        content = config.text
        if config.source is not None:
            with open(config.source, encoding="utf-8") as file:
                content += file.read()
        run_dir.path("out.txt").write_text(content, encoding="utf-8")
        return {"characters": len(content), "text": content}

    module = ModuleType("dummy_stages")
    module.CopyConfig = CopyConfig  # type: ignore[attr-defined]
    module.run = run  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "dummy_stages", module)
    for stem, reads_all in (("copy", False), ("gather", True)):
        stage = Stage(
            stem, "For tests.", "dummy_stages:CopyConfig", "dummy_stages:run", reads_all=reads_all
        )
        monkeypatch.setitem(STAGES, stem, stage)
    yield made
    assert not made.failing, "a stage that was to fail never ran"


@pytest.fixture
def broken_row() -> DataError:
    """A mistake of the user, as a stage reports it."""
    return DataError("rows.jsonl:3: not JSON")


Script = Callable[[str], Any]
"""script(question) -> text of the reply, or (status, body, headers) as they are sent."""


class Endpoint:
    """What was asked and how; `script` may be changed between requests."""

    def __init__(self) -> None:
        self.script: Script = lambda question: "A > B"
        self.asked: list[str] = []
        self.headers: list[dict[str, str]] = []
        self.bodies: list[dict[str, Any]] = []
        self.paths: list[str] = []
        self.piece = 0  # bytes of a reply that are sent together, 0: all; then comes a pause
        self.busy = self.busiest = 0
        self.guard = threading.Lock()
        self.url = ""

    def config(self, **changes: Any) -> AIJudgeConfig:
        """Settings of a judge behind this endpoint."""
        values = {"type": "ai", "base_url": self.url, "model": "m", "timeout": 5.0}
        return AIJudgeConfig(**{**values, **changes})

    @staticmethod
    def answer(text: str | None, usage: Any = None) -> str:
        """A chat completion; 100 tokens in and 7 out unless `usage` says otherwise."""
        counts = {"prompt_tokens": 100, "completion_tokens": 7} if usage is None else usage
        choice = {"index": 0, "message": {"role": "assistant", "content": text}}
        return json.dumps({"choices": [choice], "usage": counts})

    @staticmethod
    def shown(question: str) -> list[str]:
        """The answers of a question in the order shown, found by its marks."""
        found = re.findall(
            r"\[begin answer ([A-I]) ([0-9a-f]{16})\]\n(.*?)\n\[end answer \1 \2\]", question, re.S
        )
        assert [letter for letter, _, _ in found] == list("ABCDEFGHI"[: len(found)])
        return [text for _, _, text in found]

    @classmethod
    def prefers(cls, value: Callable[[str], float]) -> Script:
        """A judge for whom a text of higher `value` is better, wherever it is shown."""

        def script(question: str) -> str:
            letters = dict(zip("ABCDEFGHI", cls.shown(question), strict=False))
            levels = sorted({value(text) for text in letters.values()}, reverse=True)
            groups = [
                " = ".join(letter for letter, text in letters.items() if value(text) == level)
                for level in levels
            ]
            return "I compared them.\n" + " > ".join(groups)

        return script


@pytest.fixture
def endpoint() -> Iterator[Endpoint]:
    """A server on a free port of this machine, in this process."""
    found = Endpoint()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            question = body["messages"][-1]["content"]
            with found.guard:
                found.asked.append(question)
                found.bodies.append(body)
                found.headers.append(dict(self.headers))
                found.paths.append(self.path)
                found.busy += 1
                found.busiest = max(found.busiest, found.busy)
            said = found.script(question)
            with found.guard:
                found.busy -= 1
            self._send(*(said if isinstance(said, tuple) else (200, found.answer(said), {})))

        def _send(self, status: int, text: str, headers: dict[str, str]) -> None:
            payload = text.encode()
            try:
                self.send_response(status)
                for name, value in {"Content-Length": str(len(payload)), **headers}.items():
                    self.send_header(name, value)
                self.end_headers()
                size = found.piece or len(payload)
                for start in range(0, len(payload), max(1, size)):
                    self.wfile.write(payload[start : start + size])
                    self.wfile.flush()
                    time.sleep(0.02 if found.piece else 0)
            except (BrokenPipeError, ConnectionResetError):
                self.close_connection = True  # the judge has given up

        def log_message(self, *_args: Any) -> None:
            """Nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    found.url = f"http://127.0.0.1:{server.server_address[1]}/v1"
    yield found
    server.shutdown()
    server.server_close()
    thread.join()


@dataclass
class Postgres:
    """A server of our own, on a free port of this machine."""

    port: int
    folder: Path
    schemas: Iterator[int] = field(default_factory=count)
    password = "p@ss/w:rd"  # of a role that owns the database and may nothing else
    masters_password = "master"

    def url(self, database: str = "labels", **options: str) -> str:
        """The address of one of its databases, for the role that labels."""
        options = {"sslmode": "disable", **options}
        return (
            f"postgresql://labels:{quote(self.password, safe='')}@127.0.0.1:{self.port}/{database}"
            f"?{urlencode(options, quote_via=quote)}"
        )

    def master(self, database: str = "postgres") -> psycopg.Connection[Any]:
        """A connection that may do everything, outside transactions."""
        import psycopg

        return psycopg.connect(
            host="127.0.0.1",
            port=self.port,
            user="postgres",
            password=self.masters_password,
            dbname=database,
            autocommit=True,
        )

    def fresh(self) -> str:
        """The address of an empty schema: of what is seen, a database, and made faster."""
        name = f"test_{next(self.schemas)}"
        with closing(self.master("labels")) as master:
            master.execute(f"CREATE SCHEMA {name} AUTHORIZATION labels")
        return self.url(options=f"-csearch_path={name}")

    def fresh_database(self, name: str) -> str:
        """The address of an empty database."""
        with closing(self.master()) as master:
            master.execute(f"CREATE DATABASE {name} OWNER labels")
        return self.url(name)


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    """A real PostgreSQL, one for every worker; tests of it are skipped where there is none."""
    programs = _find_postgres()
    if programs is None:
        pytest.skip("no PostgreSQL here: apt install postgresql")
    memory = Path("/dev/shm")  # thousands of small files, which a disk takes seconds to unlink
    roomy = memory.is_dir() and shutil.disk_usage(memory).free > 1 << 30
    # pytest's own folders are closed to other users
    folder = Path(tempfile.mkdtemp(prefix="postgres-", dir=memory if roomy else None))
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    script = Path(__file__).with_name("run_postgres.py")
    with subprocess.Popen(
        [sys.executable, script, folder, programs, str(port), Postgres.masters_password],
        stdin=subprocess.PIPE,
        start_new_session=True,  # Ctrl+C is for the tests, whose end it waits for
    ) as keeper:
        found = Postgres(port, folder)
        _wait_for(found, keeper)
        yield found


def _find_postgres() -> Path | None:
    """The folder of its programs; Debian keeps them off PATH."""
    found = shutil.which("initdb")
    if found is not None:
        return Path(found).resolve().parent
    versions = Path("/usr/lib/postgresql").glob("*/bin/initdb")
    return max((path.parent for path in versions), default=None)


def _wait_for(server: Postgres, keeper: subprocess.Popen[bytes]) -> None:
    import psycopg

    until = time.monotonic() + 60
    while True:
        try:
            with closing(server.master()) as master:
                password = server.password
                master.execute(f"CREATE ROLE labels LOGIN PASSWORD '{password}'")
                master.execute("CREATE DATABASE labels OWNER labels")
                return
        except psycopg.OperationalError:
            assert keeper.poll() is None, "initdb failed, and has said why"
            assert time.monotonic() < until, (server.folder / "log").read_text()
            time.sleep(0.05)


@pytest.fixture(params=["sqlite", "postgresql"])
def address(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Of an empty store of either kind."""
    if request.param == "sqlite":
        return str(tmp_path / "labels.sqlite")
    server: Postgres = request.getfixturevalue("postgres")
    return server.fresh()


def _connect_without_us(address: str) -> Any:
    if "://" not in address:
        return sqlite3.connect(address, isolation_level=None)
    import psycopg

    return psycopg.connect(address, autocommit=True)


@pytest.fixture
def outside(address: str) -> Callable[[str], list[tuple[Any, ...]]]:
    """What a statement finds in the store at `address`, run without our code."""

    def run(sql: str) -> list[tuple[Any, ...]]:
        with closing(_connect_without_us(address)) as connection:
            found = connection.execute(sql)
            return list(found.fetchall()) if found.description else []

    return run
