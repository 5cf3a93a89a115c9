"""Who may label: personal links, sessions, and the log of what was decided about whom.

A link and a session are random tokens; the store knows only their hashes. A new link for the same
person ends the old one and its sessions.
"""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Literal

from instructgpt import __version__
from instructgpt.errors import LabelError
from instructgpt.storage.fingerprint import canonical_json
from instructgpt.storage.label_store import LabelStore

Role = Literal["labeler", "lead"]
SESSION_LASTS = timedelta(days=90)
_LONGEST_NAME = 64


@dataclass(frozen=True, slots=True)
class Person:
    """Somebody who has signed in."""

    id: int
    name: str
    role: Role

    @property
    def leads(self) -> bool:
        return self.role == "lead"


class LabelAccess:
    """Sign-in for the people of one label store."""

    def __init__(self, store: LabelStore) -> None:
        self.store = store

    def invite(self, name: str, role: Role = "labeler") -> str:
        """A fresh token for a personal link; whoever holds it is `name`. Errors: LabelError."""
        if not name.strip() or len(name) > _LONGEST_NAME or not name.isprintable():
            raise LabelError(
                f"'{name}' is no name for a labeler; take 1 to {_LONGEST_NAME} printable characters"
            )
        token = secrets.token_urlsafe(32)
        with self.store.transaction():
            labeler = self.store.add_labeler(name)
            kind = self.store.execute(
                "SELECT kind FROM labelers WHERE id = :labeler", labeler=labeler
            ).scalar_one()
            if kind != "person":
                raise LabelError(f"'{name}' is a {kind} labeler here; take another name")
            self.store.execute("DELETE FROM sessions WHERE labeler_id = :labeler", labeler=labeler)
            self.store.execute(
                "INSERT INTO access (labeler_id, role, token_hash, created_at) "
                "VALUES (:labeler, :role, :token_hash, :now) "
                "ON CONFLICT (labeler_id) DO UPDATE SET role = excluded.role, "
                "token_hash = excluded.token_hash, created_at = excluded.created_at",
                labeler=labeler,
                role=role,
                token_hash=_hash(token),
                now=self.store.now(),
            )
            record_event(self.store, "invited", "command line", labeler, detail={"role": role})
        return token

    def sign_in(self, token: str) -> str | None:
        """A session for the holder of a link's token; None when it opens nothing (any more)."""
        session = secrets.token_urlsafe(32)
        with self.store.transaction():
            row = self.store.execute(
                "SELECT labeler_id, name FROM access JOIN labelers l ON l.id = labeler_id "
                "WHERE token_hash = :token_hash",
                token_hash=_hash(token),
            ).first()
            if row is None:
                return None
            self.store.execute(
                "INSERT INTO sessions (token_hash, labeler_id, created_at) "
                "VALUES (:token_hash, :labeler, :now)",
                token_hash=_hash(session),
                labeler=row.labeler_id,
                now=self.store.now(),
            )
            record_event(self.store, "signed in", row.name, row.labeler_id)
        return session

    def who(self, session: str) -> Person | None:
        """Whose session it is; None for no session of ours, or one that is too old."""
        with self.store.transaction():
            row = self.store.execute(
                "SELECT l.id, l.name, a.role, s.created_at FROM sessions s "
                "JOIN labelers l ON l.id = s.labeler_id JOIN access a ON a.labeler_id = l.id "
                "WHERE s.token_hash = :token_hash",
                token_hash=_hash(session),
            ).first()
        if row is None or self._is_over(row.created_at):
            return None
        return Person(row.id, row.name, row.role)

    def _is_over(self, began: str) -> bool:
        now = datetime.fromisoformat(self.store.now())
        return now - datetime.fromisoformat(began) > SESSION_LASTS

    def sign_out(self, session: str) -> None:
        """End one session."""
        with self.store.transaction():
            self.store.execute(
                "DELETE FROM sessions WHERE token_hash = :token_hash", token_hash=_hash(session)
            )


def record_event(
    store: LabelStore,
    kind: str,
    actor: str,
    labeler_id: int | None = None,
    task_id: int | None = None,
    detail: Mapping[str, Any] | None = None,
) -> None:
    """Add to the history of who did what, when, under which version of the program."""
    with store.transaction():
        store.execute(
            "INSERT INTO events (kind, actor, labeler_id, task_id, detail_json, program, "
            "created_at) VALUES (:kind, :actor, :labeler, :task, :detail, :program, :now)",
            kind=kind,
            actor=actor,
            labeler=labeler_id,
            task=task_id,
            detail=canonical_json(detail or {}),
            program=__version__,
            now=store.now(),
        )


def _hash(token: str) -> str:
    # 256 random bits need no salt and no slow hash: there is nothing to guess
    return hashlib.sha256(token.encode("utf-8", "replace")).hexdigest()
