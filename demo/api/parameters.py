"""What becomes of each parameter of OpenAI's API, by route.

Those that are obeyed are fields of the route's request. The others are in the tables here: refused unless they have a
value that changes nothing, or ignored on purpose. Null changes nothing anywhere. What is in no table is refused by
name. docs/server.md shows the tables.
"""

from typing import Any, ClassVar, Self

from pydantic import BaseModel, model_validator

from data.text_files import check_texts
from demo.api.errors import ApiError, repr_of

#: Ignored: who asks and why, and where and how fast a reply is computed elsewhere.
IGNORED = frozenset(
    ("user", "metadata", "store", "safety_identifier", "moderation", "service_tier", "prompt_cache_key",
     "prompt_cache_options", "prompt_cache_retention", "reasoning_effort", "verbosity", "parallel_tool_calls")
)  # fmt: skip
#: Route -> parameter -> values that change nothing; any other is refused.
NEUTRAL: dict[str, dict[str, tuple[Any, ...]]] = {
    "chat/completions": {
        "n": (1,),
        "frequency_penalty": (0,),
        "presence_penalty": (0,),
        "logit_bias": ({},),
        "logprobs": (False,),
        "top_logprobs": (0,),
        "stop": ([],),
        "response_format": ({"type": "text"},),
        "tools": ([],),
        "tool_choice": ("none", "auto"),
        "functions": ([],),
        "function_call": ("none", "auto"),
        "prediction": (),
        "web_search_options": (),
    },
    "images/generations": {
        "background": ("auto", "opaque"),
        "output_format": ("png",),
        "output_compression": (100,),
        "quality": ("auto", "standard"),
        "style": ("vivid",),
        "partial_images": (0,),
        "stream": (False,),
    },
    "audio/speech": {"speed": (1,), "instructions": ("",), "stream_format": ("audio",)},
    "videos": {"seconds": ("4", 4), "size": ("720x1280",), "input_reference": ()},
    "embeddings": {},
}


class ApiRequest(BaseModel):
    """A request of a route: its fields are obeyed. ApiError for any other parameter that would have an effect."""

    route: ClassVar[str]
    model_config = {"extra": "allow"}

    @model_validator(mode="before")
    @classmethod
    def check_words(cls, values: Any) -> Any:
        """No text of the request is broken."""
        check_texts(values)
        return values

    @model_validator(mode="after")
    def check_parameters(self) -> Self:
        for name, value in (self.model_extra or {}).items():
            if value is None or name in IGNORED:
                continue
            if name not in NEUTRAL[self.route]:
                raise ApiError(400, f"{name[:40]!r} is no parameter of /v1/{self.route}", "unknown_parameter")
            allowed = NEUTRAL[self.route][name]
            if value not in allowed:
                expected = " or ".join(map(repr, allowed)) or "none"
                raise ApiError(400, f"{name} is {repr_of(value)}: expected {expected}, others are not supported")
        return self
