"""What the lead sees and does: progress, agreement, conflicts, people, exports."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from typing import Annotated, Any

from fastapi import FastAPI, Request
from pydantic import BaseModel, Field
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse, RedirectResponse, Response, StreamingResponse

from instructgpt.labeling import statistics
from instructgpt.labeling.exchange import exported_demonstrations, exported_rankings
from instructgpt.labeling.page.guard import checked_person, person_of
from instructgpt.labeling.page.rendering import page
from instructgpt.labeling.screening import AGREEMENT_CUTOFF, SCORE_CUTOFF, screening_of
from instructgpt.storage.label_access import LabelAccess, Person, record_event
from instructgpt.storage.label_desk import LabelDesk
from instructgpt.storage.label_review import LabelReview

_Number = Annotated[int, Field(ge=0, lt=1 << 63)]  # what a store can count


class _Labeler(BaseModel):
    labeler: _Number


class _TaskOfLabeler(_Labeler):
    task: _Number


class _Score(_TaskOfLabeler):
    score: Annotated[int, Field(ge=1, le=7)]


def add_lead(app: FastAPI, access: LabelAccess, desk: LabelDesk) -> None:
    """The routes below /lead; to everybody else they do not exist."""
    review = LabelReview(desk.store)
    _add_overview(app, access, review)
    _add_review(app, access, review)
    _add_decisions(app, access, desk, review)
    _add_exports(app, access, review)


def _add_overview(app: FastAPI, access: LabelAccess, review: LabelReview) -> None:
    @app.get("/lead")
    def overview(request: Request) -> Response:
        """Progress, agreement, people, conflicts, tasks."""
        person = _reader(request, access)
        if person is None:
            return RedirectResponse("/join", 303)
        store = review.store
        tasks, people = review.tasks(), review.people()
        tested = any(task["screening"] for task in tasks)
        rows = list(store.rankings(screening=False))
        shared, resolved = statistics.of_tasks(rows), review.resolutions()
        return page(
            request,
            "lead.html.j2",
            person,
            people=people,
            screened={p["name"]: screening_of(store, p["name"]) for p in people} if tested else {},
            cutoffs=(AGREEMENT_CUTOFF, SCORE_CUTOFF),
            tasks=tasks,
            shared=shared,
            conflicts={
                task: numbers.lowest_tau
                for task, numbers in shared.items()
                if numbers.is_conflict and task not in resolved
            },
            agreement=statistics.agreement(rows),
            labelers=statistics.of_labelers(rows),
            kappas=statistics.kappa_of_pairs(rows),
        )


def _add_review(app: FastAPI, access: LabelAccess, review: LabelReview) -> None:
    @app.get("/lead/task/{number}")
    def one_task(request: Request, number: _Number) -> Response:
        """One task with everybody's answers."""
        person = _reader(request, access)
        if person is None:
            return RedirectResponse("/join", 303)
        found = review.tasks(task=number)
        if not found:
            raise HTTPException(404)
        people = review.people()
        rankings = list(review.store.rankings(task=number))
        return page(
            request,
            "review.html.j2",
            person,
            task=found[0],
            completions=rankings[0]["completions"] if rankings else [],
            rankings=rankings,
            raised={row["labeler"]: _raised(row["meta"]["flags"]) for row in rankings},
            demonstrations=list(review.demonstrations(task=number)),
            history=review.history(number),
            people=people,
            ids={p["name"]: p["id"] for p in people},
            counts=review.resolutions().get(number),
        )


def _add_decisions(app: FastAPI, access: LabelAccess, desk: LabelDesk, review: LabelReview) -> None:
    @app.post("/lead/assign")
    def assign(request: Request, body: _TaskOfLabeler) -> Response:
        """Put a task on somebody's desk."""
        desk.assign(body.task, body.labeler, _decider(request, access).name)
        return JSONResponse({})

    @app.post("/lead/admit")
    def admit(request: Request, body: _Labeler) -> Response:
        """Let a labeler work, whatever the test says."""
        review.decide("admitted", _decider(request, access).name, body.labeler)
        return JSONResponse({})

    @app.post("/lead/decline")
    def decline(request: Request, body: _Labeler) -> Response:
        """Do not let a labeler work."""
        review.decide("declined", _decider(request, access).name, body.labeler)
        return JSONResponse({})

    @app.post("/lead/resolve")
    def resolve(request: Request, body: _TaskOfLabeler) -> Response:
        """Say whose ranking of a task counts."""
        review.decide("resolved", _decider(request, access).name, body.labeler, body.task)
        return JSONResponse({})

    @app.post("/lead/score")
    def score(request: Request, body: _Score) -> Response:
        """Score a demonstration, 1 to 7."""
        lead = _decider(request, access)
        review.decide("scored", lead.name, body.labeler, body.task, score=body.score)
        name = next(p["name"] for p in review.people() if p["id"] == body.labeler)
        undecided = desk.verdict(body.labeler) is None
        if undecided and screening_of(desk.store, name).passed:
            record_event(desk.store, "admitted", "screening test", body.labeler)
        return JSONResponse({})


def _add_exports(app: FastAPI, access: LabelAccess, review: LabelReview) -> None:
    exports: dict[str, Callable[[], Iterable[dict[str, Any]]]] = {
        "rankings": lambda: exported_rankings(review.store),
        "demonstrations": lambda: exported_demonstrations(review.store),
        "history": review.history,
    }

    @app.get("/lead/export/{name}.jsonl")
    def export(request: Request, name: str) -> Response:
        """A file of rows."""
        if _reader(request, access) is None:
            return RedirectResponse("/join", 303)
        if name not in exports:
            raise HTTPException(404)
        lines = (json.dumps(row, ensure_ascii=False) + "\n" for row in exports[name]())
        return StreamingResponse(
            lines,
            media_type="application/jsonl; charset=utf-8",
            headers={"Content-Disposition": f'attachment; filename="{name}.jsonl"'},
        )


def _raised(flags: Mapping[str, Any]) -> dict[str, list[int]]:
    """What a labeler flagged: name -> numbers of the answers, none for the instruction's flags."""
    found = {}
    for name, value in flags.items():
        numbers = (
            [n for n, given in enumerate(value, 1) if given] if isinstance(value, list) else []
        )
        if numbers or value is True:
            found[name] = numbers
    return found


def _reader(request: Request, access: LabelAccess) -> Person | None:
    person = person_of(request, access)
    if person is not None and not person.leads:
        raise HTTPException(404)
    return person


def _decider(request: Request, access: LabelAccess) -> Person:
    person = checked_person(request, access)
    if not person.leads:
        raise HTTPException(404)
    return person
