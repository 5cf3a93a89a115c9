"""The application: sign-in, the labeler's desk, and what the lead sees."""

from __future__ import annotations

import logging
from importlib.resources import files
from typing import Annotated, Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, Field
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse, RedirectResponse, Response

from instructgpt.errors import ConfigError, InstructGPTError, LabelError, RunDirError
from instructgpt.labeling.page.guard import (
    SESSION_COOKIE,
    Guard,
    checked_person,
    person_of,
    set_session,
)
from instructgpt.labeling.page.interface import check_labels
from instructgpt.labeling.page.lead import add_lead
from instructgpt.labeling.page.rendering import page
from instructgpt.labeling.screening import admit_who_passes
from instructgpt.storage.annotation import Annotation
from instructgpt.storage.label_access import LabelAccess, Person
from instructgpt.storage.label_answers import LabelAnswers
from instructgpt.storage.label_desk import Assignment, LabelDesk
from instructgpt.storage.label_store import LabelStore

logger = logging.getLogger(__name__)
_STATIC = {
    "label.css": "text/css",
    "draft.js": "text/javascript",
    "page.js": "text/javascript",
    "task.js": "text/javascript",
}
_Number = Annotated[int, Field(ge=0, lt=1 << 63)]  # what a store can count
_Uuid = Annotated[str, Field(min_length=16, max_length=64, pattern="^[0-9a-f-]+$")]
_Notes = Annotated[str, Field(max_length=10_000)]
_Seconds = Annotated[float, Field(ge=0, le=7 * 24 * 3600)]


class _Join(BaseModel):
    token: Annotated[str, Field(max_length=200)]


class _Draft(BaseModel):
    draft: dict[str, Any]
    version: _Number


class _RankingAnswer(BaseModel):
    client_uuid: _Uuid
    ranks: list[int]
    ratings: list[int] | None = None
    flags: dict[str, bool | list[bool | None]] = {}
    use_case: Annotated[str, Field(max_length=40)] | None = None
    notes: _Notes = ""
    seconds: _Seconds | None = None


class _DemonstrationAnswer(BaseModel):
    client_uuid: _Uuid
    text: Annotated[str, Field(max_length=200_000)]
    notes: _Notes = ""
    seconds: _Seconds | None = None


class _Skip(BaseModel):
    reason: Annotated[str, Field(max_length=1000)] = ""


def create_app(store: LabelStore, *, ratings: bool = True) -> Guard:
    """The ASGI application on `store`. Without `ratings` a task is its ranking page alone."""
    app = FastAPI(title="instructgpt labeling", docs_url=None, redoc_url=None, openapi_url=None)
    access, desk = LabelAccess(store), LabelDesk(store)
    _add_error_handlers(app, access)
    _add_sign_in(app, access)
    _add_desk(app, access, desk)
    _add_tasks(app, access, desk, ratings)
    _add_answers(app, access, desk, ratings)
    add_lead(app, access, desk)
    return Guard(app)


def _add_sign_in(app: FastAPI, access: LabelAccess) -> None:
    @app.get("/join")
    def join_page(request: Request) -> Response:
        """Where a personal link leads; its token stays behind the # and never gets into a log."""
        return page(request, "join.html.j2", None)

    @app.post("/join")
    def join(request: Request, body: _Join) -> Response:
        """Sign in."""
        session = access.sign_in(body.token)
        if session is None:
            raise HTTPException(403, "not a valid link")
        response = JSONResponse({"url": "/"})
        set_session(response, request, session)
        return response

    @app.post("/leave")
    def leave(request: Request) -> Response:
        """Sign out."""
        checked_person(request, access)
        access.sign_out(request.cookies[SESSION_COOKIE])
        response = JSONResponse({"url": "/join"})
        response.delete_cookie(SESSION_COOKIE)
        return response

    @app.get("/static/{name}")
    def static(name: str) -> Response:
        """Styles and scripts."""
        if name not in _STATIC:
            raise HTTPException(404)
        content = (files("instructgpt.labeling.page") / "static" / name).read_bytes()
        return Response(content, media_type=f"{_STATIC[name]}; charset=utf-8")


def _add_desk(app: FastAPI, access: LabelAccess, desk: LabelDesk) -> None:
    @app.get("/")
    def home(request: Request) -> Response:
        """The labeler's desk."""
        person = person_of(request, access)
        if person is None:
            return RedirectResponse("/join", 303)
        return page(
            request,
            "home.html.j2",
            person,
            progress=desk.progress(person),
            history=desk.history(person),
            verdict=desk.verdict(person.id),
            works=desk.may_work(person),
        )

    @app.post("/next")
    def next_task(request: Request) -> Response:
        """Take the next task."""
        return _next(desk, checked_person(request, access))


def _add_tasks(app: FastAPI, access: LabelAccess, desk: LabelDesk, ratings: bool) -> None:
    @app.get("/task/{number}")
    def task(request: Request, number: _Number) -> Response:
        """One task."""
        person = person_of(request, access)
        if person is None:
            return RedirectResponse("/join", 303)
        return page(
            request,
            "rank.html.j2"
            if (found := _own(desk, person, number)).kind == "rank"
            else "demonstrate.html.j2",
            person,
            task=found,
            ratings=ratings,
            progress=desk.progress(person),
            last=next((row["id"] for row in desk.history(person, 2) if row["id"] != number), None),
        )

    @app.put("/task/{number}/draft")
    def draft(request: Request, number: _Number, body: _Draft) -> Response:
        """Keep what is on the page."""
        person = checked_person(request, access)
        _own(desk, person, number)
        version = desk.save_draft(person, number, body.draft, body.version)
        if version is None:
            raise HTTPException(409, "open elsewhere")
        return JSONResponse({"version": version})

    @app.post("/task/{number}/skip")
    def skip(request: Request, number: _Number, body: _Skip) -> Response:
        """Leave the task to others."""
        person = checked_person(request, access)
        _own(desk, person, number)
        desk.skip(person, number, body.reason)
        return _next(desk, person)


def _add_answers(app: FastAPI, access: LabelAccess, desk: LabelDesk, ratings: bool) -> None:
    answers = LabelAnswers(desk)

    @app.post("/task/{number}/ranking")
    def ranking(request: Request, number: _Number, body: _RankingAnswer) -> Response:
        """Submit ranks and what belongs to them."""
        person = checked_person(request, access)
        _own(desk, person, number)
        if ratings and body.ratings is None:
            raise LabelError("every answer needs a rating here")
        check_labels(body.flags, body.use_case)
        shown = Annotation(
            body.ranks,
            body.ratings,
            dict(body.flags),
            body.notes,
            body.seconds,
            use_case=body.use_case,
        )
        answers.submit_ranking(person, number, shown, body.client_uuid)
        admit_who_passes(desk, person)
        return _next(desk, person)

    @app.post("/task/{number}/demonstration")
    def demonstration(request: Request, number: _Number, body: _DemonstrationAnswer) -> Response:
        """Submit a written answer."""
        person = checked_person(request, access)
        _own(desk, person, number)
        answers.submit_demonstration(
            person,
            number,
            body.text,
            client_uuid=body.client_uuid,
            notes=body.notes,
            seconds=body.seconds,
        )
        admit_who_passes(desk, person)
        return _next(desk, person)


def _add_error_handlers(app: FastAPI, access: LabelAccess) -> None:
    @app.exception_handler(LabelError)
    @app.exception_handler(ConfigError)  # what cannot be written as JSON
    def refused(_request: Request, error: InstructGPTError) -> Response:
        return JSONResponse({"error": str(error)}, 400)

    @app.exception_handler(RunDirError)
    def unavailable(_request: Request, error: InstructGPTError) -> Response:
        logger.warning("%s", error)  # of the disk or the database: for who runs the page
        return JSONResponse({"error": "the store cannot be reached; try again"}, 503)

    @app.exception_handler(RequestValidationError)
    def wrong_request(request: Request, error: RequestValidationError) -> Response:
        if request.method == "GET":
            return no_route(request, HTTPException(404))
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"][1:])
        return JSONResponse({"error": f"'{where}': {first['msg']}"}, 400)

    @app.exception_handler(HTTPException)
    def no_route(request: Request, error: HTTPException) -> Response:
        if request.method == "GET" and error.status_code in (403, 404, 405):
            return page(request, "missing.html.j2", person_of(request, access), error.status_code)
        return JSONResponse({"error": error.detail}, error.status_code)


def _own(desk: LabelDesk, person: Person, number: _Number) -> Assignment:
    """A task of this person; anybody else's looks as if it did not exist."""
    try:
        return desk.open(person, number)
    except LabelError as error:
        raise HTTPException(404, "no such task") from error


def _next(desk: LabelDesk, person: Person) -> Response:
    found = desk.next(person)
    return JSONResponse({"url": "/" if found is None else f"/task/{found.id}"})
