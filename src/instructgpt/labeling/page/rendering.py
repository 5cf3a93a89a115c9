"""Templates filled in the reader's language; every value is escaped."""

from __future__ import annotations

from functools import cache
from typing import Any

from fastapi import Request
from jinja2 import Environment, PackageLoader, StrictUndefined
from starlette.responses import HTMLResponse, Response

from instructgpt.labeling.page.guard import SESSION_COOKIE, csrf_token
from instructgpt.labeling.page.interface import INSTRUCTION_FLAGS, LETTERS, OUTPUT_FLAGS, USE_CASES
from instructgpt.labeling.page.words import LANGUAGES, preferred_language, words_of
from instructgpt.storage.label_access import Person

_LANGUAGE_COOKIE = "instructgpt_language"
_YEAR = 365 * 24 * 3600


def page(
    request: Request, template: str, person: Person | None, status: int = 200, **values: Any
) -> Response:
    """A page; `?lang=zh` chooses the language and is remembered."""
    asked = request.query_params.get("lang")
    language = next(
        (
            candidate
            for candidate in (asked, request.cookies.get(_LANGUAGE_COOKIE))
            if candidate in LANGUAGES
        ),
        preferred_language(request.headers.get("accept-language", "")),
    )
    words = words_of(language)
    session = request.cookies.get(SESSION_COOKIE)
    html = (
        _templates()
        .get_template(template)
        .render(
            t=words,
            lang=language,
            other=LANGUAGES[1 - LANGUAGES.index(language)],
            person=person,
            csrf=csrf_token(session) if session and person else "",
            letters=LETTERS,
            use_cases=USE_CASES,
            instruction_flags=INSTRUCTION_FLAGS,
            output_flags=OUTPUT_FLAGS,
            path=request.url.path,
            **values,
        )
    )
    response = HTMLResponse(html, status_code=status)
    if asked in LANGUAGES:
        response.set_cookie(_LANGUAGE_COOKIE, language, max_age=_YEAR, samesite="strict")
    return response


@cache
def _templates() -> Environment:
    return Environment(
        loader=PackageLoader("instructgpt.labeling.page"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
