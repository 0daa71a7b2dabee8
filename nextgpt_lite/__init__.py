"""nextgpt_lite: any-to-any multimodal chat, training and evaluation."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from nextgpt_lite.any_to_any import AnyToAny
    from nextgpt_lite.conversation_media import Reply, ReplyMedium

__all__ = ["AnyToAny", "Reply", "ReplyMedium"]


def __getattr__(name: str) -> Any:
    """Import the model on first use: the command line must not wait for torch to say what it can do."""
    if name in __all__:
        from nextgpt_lite import any_to_any

        return getattr(any_to_any, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
