"""What is refused and how: the error envelope, keys, sizes, queues, rates, and who leaves."""

from __future__ import annotations

import http.client
import json
import socket
import urllib.error
import urllib.parse
import urllib.request
from typing import Any

import openai
import pytest

from instructgpt.errors import ConfigError
from instructgpt.serving.errors import ApiError
from instructgpt.serving.limits import RateLimiter
from instructgpt.serving.served_model import named_sources
from instructgpt.serving.server import read_keys
from instructgpt.web.listening import bind

HELLO: list[Any] = [{"role": "user", "content": "Hello there"}]
LONG = {"max_tokens": 200, "extra_body": {"ignore_eos": True}}


def post(url: str, body: Any, path: str = "/v1/chat/completions", **headers: str) -> Any:
    """(status, headers, JSON) of one request with raw bytes or a JSON body."""
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    request = urllib.request.Request(
        url + path, data, {"Content-Type": "application/json", **headers}
    )
    try:
        with urllib.request.urlopen(request, timeout=30) as response:
            return response.status, response.headers, json.load(response)
    except urllib.error.HTTPError as error:
        return error.code, error.headers, json.load(error)


@pytest.mark.parametrize(
    ("change", "param", "code"),
    [
        ({"temperature": -1}, "temperature", "invalid_value"),
        ({"top_p": 0}, "top_p", "invalid_value"),
        ({"n": 0}, "n", "invalid_value"),
        ({"max_tokens": 0}, "max_tokens", "invalid_value"),
        ({"stop": ["a", "b", "c", "d", "e"]}, "stop", "invalid_value"),
        ({"stop": ""}, "stop", "invalid_value"),
        ({"top_logprobs": 3}, "top_logprobs", "invalid_value"),
        ({"logprobs": True, "top_logprobs": 21}, "top_logprobs", "invalid_value"),
        ({"messages": []}, "messages", "invalid_value"),
        ({"messages": [{"role": "tool", "content": "x"}]}, "messages[0].role", "invalid_value"),
        (
            {"messages": [{"role": "user", "content": "\ud800"}]},
            "messages[0].content",
            "invalid_value",
        ),
        (
            {"messages": [{"role": "user", "content": [{"type": "text", "text": "\ud800"}]}]},
            "messages[0].content",
            "invalid_value",
        ),
        ({"messages": [{"role": "user"}]}, "messages[0].content", "invalid_value"),
        (
            {"messages": [{"role": "user", "content": [{"type": "image_url"}]}]},
            "messages[0].content",
            "invalid_value",
        ),
        ({"messages": [{"role": "system", "content": "x"}]}, "messages", "invalid_value"),
        ({"tools": [{"type": "function"}]}, "tools", "unsupported_parameter"),
        ({"response_format": {"type": "json_object"}}, "response_format", "unsupported_parameter"),
        ({"min_p": 0.1}, "min_p", "unsupported_parameter"),
        ({"logit_bias": {"100000": 1}}, "logit_bias", "invalid_value"),
    ],
)
def test_wrong_and_unsupported_settings_are_refused_by_name(running, change, param, code) -> None:
    status, _headers, body = post(running.url, {"messages": HELLO, **change})
    assert status == 400
    assert body["error"]["param"] == param
    assert body["error"]["code"] == code
    assert body["error"]["type"] == "invalid_request_error"
    assert param.split(".")[0].split("[")[0] in body["error"]["message"]
    assert running.sequences() == 0


def test_what_does_not_change_the_answer_is_accepted_and_said_to_be_ignored(running) -> None:
    settings = {
        "user": "me",
        "a\r\nb: 世": 1,
        "generation_config": "{}",
        "tools": [],
        "min_p": 0,
        "max_tokens": 1,
    }
    status, headers, _body = post(running.url, {"messages": HELLO, **settings})
    assert status == 200
    assert headers["x-ignored-parameters"] == "generation_config, user"


def test_parts_of_text_and_the_developer_role_are_read(running) -> None:
    parts = [{"type": "text", "text": "Hello "}, {"type": "text", "text": "there"}]
    usage = [
        post(running.url, {"messages": messages, "max_tokens": 1})[2]["usage"]["prompt_tokens"]
        for messages in (
            [{"role": "developer", "content": "x"}, {"role": "user", "content": parts}],
            [{"role": "system", "content": "x"}, *HELLO],
        )
    ]
    assert usage[0] == usage[1]


def test_errors_of_every_kind_have_the_envelope_that_clients_know(running) -> None:
    client = running.client()
    with pytest.raises(openai.NotFoundError) as missing:
        client.chat.completions.create(model="gpt-5", messages=HELLO)
    assert missing.value.code == "model_not_found"
    messages: list[Any] = [{"role": "user", "content": "Hello there, " * 200}]
    with pytest.raises(openai.BadRequestError) as too_long:
        client.chat.completions.create(model="tiny", messages=messages)
    assert too_long.value.code == "context_length_exceeded"
    with pytest.raises(openai.BadRequestError) as echo:
        client.completions.create(model="tiny", prompt="x", echo=True, logprobs=1)
    assert echo.value.param == "echo"
    assert post(running.url, b"{", path="/v1/completions")[0] == 400
    status, _headers, body = post(running.url, {}, path="/v1/nothing")
    assert (status, body["error"]["message"]) == (404, "POST /v1/nothing: Not Found")
    assert post(running.url, {}, path="/v1/models")[0] == 405
    assert post(running.url, {"input": []}, path="/v1/embeddings")[0] == 400
    conversations = {"conversations": [HELLO]}
    assert post(running.url, conversations, path="/v1/rewards")[2]["error"]["param"] == (
        "conversations[0]"
    )


def test_only_the_holders_of_a_key_may_ask(start) -> None:
    with start(keys=("first", "second")) as running:
        for wrong in ("third", "firs", ""):
            status, headers, body = post(running.url, b"{", Authorization=f"Bearer {wrong}")
            assert (status, body["error"]["code"]) == (401, "invalid_api_key")
            assert headers["WWW-Authenticate"] == "Bearer"
        assert post(running.url, b"{", Authorization="Basic first")[0] == 401
        assert [m.id for m in running.client("second").models.list()] == ["tiny"]
        with pytest.raises(urllib.error.HTTPError) as refused:
            urllib.request.urlopen(f"{running.url}/metrics")
        refused.value.close()
        with urllib.request.urlopen(f"{running.url}/health") as health:
            assert health.status == 200


def test_a_body_over_the_limit_is_not_read(start) -> None:
    with start(max_body_bytes=1000) as running:
        status, _headers, body = post(running.url, b"x" * 1001)
        assert (status, body["error"]["code"]) == (413, "request_too_large")
        address = running.url.removeprefix("http://").split(":")
        with socket.create_connection((address[0], int(address[1])), timeout=20) as raw:
            raw.sendall(
                b"POST /v1/completions HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
                b"Transfer-Encoding: chunked\r\n\r\n"
                + b"258\r\n"
                + b"x" * 600
                + b"\r\n" * 1
                + b"258\r\n"
                + b"x" * 600
                + b"\r\n"
            )
            assert raw.recv(100).startswith(b"HTTP/1.1 413")


def test_a_full_queue_is_a_429_and_whoever_leaves_frees_the_place(start) -> None:
    with start(max_slots=1, max_queue=1) as running:
        client = running.client()
        streams = [
            client.chat.completions.create(model="tiny", messages=HELLO, stream=True, **LONG)
            for _ in range(2)
        ]
        status, headers, body = post(running.url, {"messages": HELLO})
        assert (status, body["error"]["code"]) == (429, "queue_full")
        assert int(headers["Retry-After"]) >= 1
        assert post(running.url, {"messages": HELLO, "n": 3})[0] == 400  # it could never fit
        next(streams[0])
        for stream in streams:
            stream.close()
        running.wait(lambda: running.sequences() == 0)
        engine = running.host.model("tiny").loop
        running.wait(lambda: engine._live.idle)
        assert engine.stats.generated_tokens < 400  # it did not go on for nobody
        assert post(running.url, {"messages": HELLO, "max_tokens": 1})[0] == 200


def test_a_client_that_does_not_wait_for_its_answer_frees_the_slot(start) -> None:
    with start(max_slots=1) as running:
        address = urllib.parse.urlsplit(running.url).netloc
        connection = http.client.HTTPConnection(address)
        body = {"messages": HELLO, "n": 16, "max_tokens": 200, "ignore_eos": True}
        headers = {"Content-Type": "application/json"}
        connection.request("POST", "/v1/chat/completions", json.dumps(body), headers)
        running.wait(lambda: running.sequences() > 0)
        connection.close()
        running.wait(lambda: running.sequences() == 0)
        assert running.host.metrics.disconnected == 1
        assert running.host.model("tiny").loop.stats.generated_tokens < 16 * 200


def test_a_minutes_requests_are_counted_per_key(start) -> None:
    with start(keys=("a", "b"), requests_per_minute=2) as running:
        for _ in range(2):
            running.client("a").models.list()
        with pytest.raises(openai.RateLimitError) as refused:
            running.client("a").models.list()
        assert refused.value.code == "rate_limit_exceeded"
        running.client("b").models.list()


def test_the_bucket_fills_up_again() -> None:
    now = [0.0]
    rates = RateLimiter(6, clock=lambda: now[0])
    for _ in range(6):
        rates.check("me")
    with pytest.raises(ApiError) as refused:
        rates.check("me")
    assert refused.value.headers == {"Retry-After": "10"}
    rates.check("you")
    now[0] = 10.0
    rates.check("me")
    with pytest.raises(ApiError):
        rates.check("me")


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_failed_engine_is_a_503_and_not_a_silence(start, monkeypatch) -> None:
    with start() as running:
        loop = running.host.model("tiny").loop

        def fail() -> Any:
            raise RuntimeError("the device is gone")

        monkeypatch.setattr(loop._live, "step", fail)
        with pytest.raises(openai.InternalServerError) as failed:
            running.client().chat.completions.create(model="tiny", messages=HELLO)
        assert failed.value.status_code == 503
        stream = running.client().chat.completions.create(model="tiny", messages=HELLO, stream=True)
        with pytest.raises(openai.APIError, match="not available"):
            list(stream)
        with pytest.raises(urllib.error.HTTPError, match="503") as unhealthy:
            urllib.request.urlopen(f"{running.url}/health")
        unhealthy.value.close()  # an error that keeps its connection
        assert running.sequences() == 0


def test_what_is_running_is_finished_before_the_server_ends(start) -> None:
    with start(max_slots=2) as running:
        streams = [
            running.client().chat.completions.create(
                model="tiny", messages=HELLO, stream=True, **LONG
            )
            for _ in range(3)  # one of them waits
        ]
        next(streams[0])
        running.server.should_exit = True
        for stream in streams:
            chunks = list(stream)
            assert chunks[-1].choices[0].finish_reason == "length"


def test_metrics_count(start) -> None:
    with start() as running:
        post(running.url, {"messages": HELLO, "max_tokens": 3, "ignore_eos": True})
        post(running.url, {"messages": []})
        with urllib.request.urlopen(f"{running.url}/metrics") as response:
            text = response.read().decode()
        path = 'path="/v1/chat/completions"'
        assert f'instructgpt_requests_total{{{path},status="200"}} 1' in text
        assert f'instructgpt_requests_total{{{path},status="400"}} 1' in text
        assert 'instructgpt_generated_tokens_total{model="tiny"} 3' in text
        # the first token came with the prompt
        assert 'instructgpt_decode_rows_total{model="tiny"} 2' in text
        assert 'instructgpt_running_sequences{model="tiny"} 0' in text
        assert 'instructgpt_request_seconds_bucket{le="+Inf"} 2' in text


def test_names_of_models_keys_and_ports(tmp_path) -> None:
    run = tmp_path / "ppo" / "model"
    run.mkdir(parents=True)
    assert named_sources([str(run), "a=gpt2", "me/gpt2"]) == {
        "ppo": str(run),
        "a": "gpt2",
        "me/gpt2": "me/gpt2",
    }
    with pytest.raises(ConfigError, match="two models are called 'ppo'"):
        named_sources([str(run), str(tmp_path / "ppo")])
    (tmp_path / "keys").write_text("one\ntwo\n")
    assert read_keys(["zero"], tmp_path / "keys") == ["zero", "one", "two"]
    with pytest.raises(ConfigError, match="cannot read the keys"):
        read_keys([], tmp_path / "none")
    with (
        bind("127.0.0.1", 0) as taken,
        pytest.raises(ConfigError, match="cannot listen"),
    ):
        bind("127.0.0.1", taken.getsockname()[1])
