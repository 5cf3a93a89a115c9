"""LangChain, a framework that many applications are built on, as a client of our server."""

from __future__ import annotations

import pytest

langchain_openai = pytest.importorskip("langchain_openai", reason="the extra `dev` brings it")
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning:langchain_core.*")


@pytest.fixture
def chat(running):
    return langchain_openai.ChatOpenAI(
        base_url=f"{running.url}/v1", api_key="none", model="tiny", temperature=0.9, seed=5,
        max_tokens=12, max_retries=0, stop=["###"],
    )  # fmt: skip


TURNS = [("system", "Be brief."), ("human", "Hello there"), ("ai", "Hi."), ("human", "你好")]


def test_an_answer_with_its_usage_and_reason(chat, running):
    answer = chat.invoke(TURNS)
    messages = [
        {"role": role, "content": content}
        for role, content in (
            ("system", "Be brief."), ("user", "Hello there"), ("assistant", "Hi."), ("user", "你好")
        )
    ]  # fmt: skip
    ours = running.client().chat.completions.create(
        model="tiny", messages=messages, temperature=0.9, seed=5, max_tokens=12
    )
    assert answer.content == ours.choices[0].message.content
    assert answer.usage_metadata["output_tokens"] == ours.usage.completion_tokens
    assert answer.usage_metadata["input_tokens"] == ours.usage.prompt_tokens
    assert answer.response_metadata["finish_reason"] == ours.choices[0].finish_reason


def test_a_stream_and_a_batch(chat):
    whole = chat.invoke(TURNS).content
    assert "".join(piece.content for piece in chat.stream(TURNS)) == whole
    assert [answer.content for answer in chat.batch([TURNS, TURNS])] == [whole, whole]


def test_log_probs(chat):
    answer = chat.bind(logprobs=True, top_logprobs=2).invoke(TURNS)
    content = answer.response_metadata["logprobs"]["content"]
    assert content
    assert all(len(token["top_logprobs"]) == 2 for token in content)


def test_embeddings(running):
    embeddings = langchain_openai.OpenAIEmbeddings(
        base_url=f"{running.url}/v1", api_key="none", model="tiny", check_embedding_ctx_length=False
    )
    first, second = embeddings.embed_documents(["Hello there", "你好"])
    assert embeddings.embed_query("Hello there") == pytest.approx(first, abs=1e-5)
    assert sum(x * x for x in second) == pytest.approx(1.0, abs=1e-3)


def test_what_is_not_supported_is_said_by_name(chat):
    """Tools would change the answer: LangChain gets an error that names them, not a plain text."""
    tool = {"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}
    with pytest.raises(Exception, match="'tools': this server does not support it"):
        chat.bind(tools=[tool]).invoke(TURNS)
