"""What clients may send, and which of it is refused by name because it would change the answer."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, field_validator

from instructgpt.data.records import Message
from instructgpt.serving.errors import invalid, unsupported

MAX_SAMPLES = 16
MAX_STOPS = 4
MAX_TOP_LOGPROBS = 20

# Settings that change the meaning of an answer, with the values that do not.
_NEUTRAL: dict[str, tuple[Any, ...]] = {
    "audio": (None,),
    "best_of": (None, 1),
    "chat_template": (None,),
    "chat_template_kwargs": (None, {}),
    "continue_final_message": (None, False),
    "dimensions": (None,),
    "function_call": (None, "none", "auto"),
    "functions": (None, []),
    "guided_choice": (None,),
    "guided_grammar": (None,),
    "guided_json": (None,),
    "guided_regex": (None,),
    "length_penalty": (None, 1),
    "logits_processors": (None, []),
    "min_p": (None, 0),
    "min_tokens": (None, 0),
    "modalities": (None, [], ["text"]),
    "prediction": (None,),
    "repetition_penalty": (None, 1),
    "response_format": (None, {"type": "text"}),
    "stop_token_ids": (None, []),
    "structured_outputs": (None,),
    "suffix": (None, ""),
    "tool_choice": (None, "none", "auto"),
    "tools": (None, []),
    "use_beam_search": (None, False),
    "web_search_options": (None,),
}


def _whole_characters(text: str) -> str:
    """JSON can spell half of a surrogate pair, which no tokenizer can read."""
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise ValueError("holds half of a surrogate pair, which is no text") from error
    return text


Text = Annotated[str, AfterValidator(_whole_characters)]


class TextPart(BaseModel):
    """A part of a message; other kinds than text cannot be read."""

    type: Literal["text"]
    text: Text


class ApiRequest(BaseModel):
    """Fields that are not named here are ignored, and the response's header says which."""

    model_config = ConfigDict(extra="allow", protected_namespaces=())

    model: str | None = None

    def ignored(self) -> list[str]:
        """Names that were sent and have no effect. Errors: ApiError 400 when one should have."""
        extra = self.model_extra or {}
        for name, value in extra.items():
            if name in _NEUTRAL and value not in _NEUTRAL[name]:
                raise unsupported(name)
        # they end up in a header, where not every character may stand
        return sorted(n for n in extra if n not in _NEUTRAL and n.isascii() and n.isidentifier())


class StreamOptions(BaseModel):
    """Whether a stream ends with a chunk of token counts."""

    include_usage: bool = False


class SamplingRequest(ApiRequest):
    """How to generate; None is the default everywhere, as clients send it."""

    temperature: Annotated[float, Field(ge=0, le=2)] | None = None
    top_p: Annotated[float, Field(gt=0, le=1)] | None = None
    top_k: Annotated[int, Field(ge=-1)] | None = None
    n: Annotated[int, Field(ge=1, le=MAX_SAMPLES)] | None = None
    max_tokens: Annotated[int, Field(ge=1)] | None = None
    stop: str | list[str] | None = None
    seed: int | None = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    frequency_penalty: Annotated[float, Field(ge=-2, le=2)] | None = None
    presence_penalty: Annotated[float, Field(ge=-2, le=2)] | None = None
    logit_bias: dict[int, Annotated[float, Field(ge=-100, le=100)]] | None = None
    ignore_eos: bool = False
    task: str | None = None

    @field_validator("stop")
    @classmethod
    def _few_stops(cls, stop: str | list[str] | None) -> str | list[str] | None:
        stops = [stop] if isinstance(stop, str) else stop or []
        if len(stops) > MAX_STOPS:
            raise ValueError(f"at most {MAX_STOPS} stop strings are possible")
        if "" in stops:
            raise ValueError("an empty string cannot be a stop string")
        return stop

    @property
    def stops(self) -> tuple[str, ...]:
        return (self.stop,) if isinstance(self.stop, str) else tuple(self.stop or ())


class ChatMessage(BaseModel):
    """One turn: `content` is text, or a list of text parts."""

    model_config = ConfigDict(extra="allow")

    role: str
    content: Text | list[TextPart] | None = None

    def to_message(self, index: int) -> Message:
        """Our own record. Errors: ApiError 400 for roles and parts that the model cannot read."""
        where = f"messages[{index}]"
        role = "system" if self.role == "developer" else self.role
        if role not in ("system", "user", "assistant"):
            raise invalid(f"{where}.role", f"'{self.role}' is not system, user or assistant")
        for name in ("tool_calls", "function_call", "audio"):
            if (self.model_extra or {}).get(name):
                raise unsupported(f"{where}.{name}")
        if self.content is None:
            raise invalid(f"{where}.content", "is missing")
        if isinstance(self.content, str):
            return Message(role, self.content)
        return Message(role, "".join(part.text for part in self.content))


class ChatRequest(SamplingRequest):
    """POST /v1/chat/completions."""

    messages: Annotated[list[ChatMessage], Field(min_length=1)]
    max_completion_tokens: Annotated[int, Field(ge=1)] | None = None
    logprobs: bool | None = None
    top_logprobs: Annotated[int, Field(ge=0, le=MAX_TOP_LOGPROBS)] | None = None

    @property
    def top(self) -> int | None:
        """How many likely tokens to report; None when no log-probs are wanted."""
        if not self.logprobs:
            if self.top_logprobs:
                raise invalid("top_logprobs", "needs logprobs=true")
            return None
        return self.top_logprobs or 0


class CompletionRequest(SamplingRequest):
    """POST /v1/completions: text, several texts, token ids, or several lists of them."""

    prompt: Text | list[int] | list[Text] | list[list[int]]
    echo: bool = False
    logprobs: Annotated[int, Field(ge=0, le=MAX_TOP_LOGPROBS)] | None = None


class EmbeddingRequest(ApiRequest):
    """POST /v1/embeddings."""

    input: Text | list[int] | list[Text] | list[list[int]]
    encoding_format: Literal["float", "base64"] = "float"


class RewardRequest(ApiRequest):
    """POST /v1/rewards: conversations that end with the answer to be scored."""

    conversations: Annotated[list[list[ChatMessage]], Field(min_length=1)]
