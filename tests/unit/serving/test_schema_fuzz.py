"""The API's own description, filled with whatever fits it and much that does not."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings

schemathesis = pytest.importorskip("schemathesis", reason="the extra `dev` brings it")

_ERROR_FIELDS = {"message", "type", "param", "code"}


# (has a body, fits the description) -> requests; enough for every field, and few seconds
_EXAMPLES = {(True, True): 25, (True, False): 10, (False, True): 5}
_OPERATIONS = (
    "POST /v1/chat/completions",
    "POST /v1/completions",
    "POST /v1/embeddings",
    "POST /v1/rewards",
    "POST /v1/feedback",
    "GET /v1/feedback",
    "DELETE /v1/feedback",
    "GET /v1/models",
    "GET /v1/models/{name}",
    "GET /v1/loop",
    "GET /health",
    "GET /metrics",
)


@pytest.fixture(scope="module")
def operations(running):
    """Every operation that /openapi.json describes, read from the running server."""
    schema = schemathesis.openapi.from_url(f"{running.url}/openapi.json")
    return {found.ok().label: found.ok() for found in schema.get_all_operations()}


def test_all_operations_are_tried(operations):
    pages = {label for label in operations if not label.split()[1].startswith(("/v1/", "/health"))}
    assert set(operations) - pages == set(_OPERATIONS) - {"GET /metrics"}


@pytest.mark.parametrize(
    ("label", "valid"),
    [(label, True) for label in _OPERATIONS]
    + [(label, False) for label in _OPERATIONS if label.startswith("POST")],
)
def test_no_request_breaks_the_server_or_the_form_of_its_answers(operations, running, label, valid):
    """Below 500 always; an error has OpenAI's envelope, a stream its end, the rest is JSON."""
    operation = operations[label]
    mode = schemathesis.GenerationMode.POSITIVE if valid else schemathesis.GenerationMode.NEGATIVE

    @settings(
        max_examples=_EXAMPLES[label.startswith("POST"), valid],
        deadline=None,
        derandomize=True,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(operation.as_strategy(generation_mode=mode))
    def requests(case):
        case.body = _reachable(case.body)
        _check(case, case.call(timeout=60))

    requests()
    running.wait(lambda: running.sequences() == 0)
    assert running.host.healthy


def _check(case: Any, response: Any) -> None:
    assert response.status_code < 500, (case.body, response.text)
    kind = response.headers.get("content-type", [""])[0]
    if response.status_code >= 400:
        error = json.loads(response.text)["error"]
        assert set(error) == _ERROR_FIELDS
        assert isinstance(error["message"], str)
        assert error["message"]
    elif kind.startswith("text/event-stream"):
        events = [line for line in response.text.split("\n\n") if line]
        assert events[-1] == "data: [DONE]"
        for event in events[:-1]:
            assert json.loads(event.removeprefix("data: "))["object"]
    elif kind.startswith("application/json"):
        json.loads(response.text, parse_constant=_no_constant)


def _reachable(body: Any) -> Any:
    """The same with a model that is served, a short answer and roles that exist.

    Every second one keeps its roles: otherwise hardly a made-up request would get past them.
    """
    if not isinstance(body, dict):
        return body
    body = {**body, **({"model": "tiny"} if isinstance(body.get("model"), str) else {})}
    for name in ("max_tokens", "max_completion_tokens"):
        if type(body.get(name, 9)) is int and (name == "max_tokens" or name in body):
            body[name] = min(body.get(name, 9), 9)
    for messages in (body.get("messages"), *_lists(body.get("conversations"))):
        for turn in messages if isinstance(messages, list) else ():
            if isinstance(turn, dict) and len(str(body)) % 2:
                turn["role"] = "user"
    return body


def _lists(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _no_constant(name: str) -> Any:
    raise AssertionError(f"{name} is no JSON")
