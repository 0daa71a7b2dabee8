"""What a reply denies does not count as said: "This is not a bell, it is a drum." names a drum."""

import re

#: From a word that denies to the end of its clause, or to what the reply holds against it.
_DENIED = re.compile(
    r"\b(?:not|no|never|neither|nor|without|isn't|aren't|wasn't|can't|cannot|don't|doesn't)\b"
    r".*?(?=\bbut\b|\brather\b|[.,;:!?]|$)"
    r"|(?:不是|没有|并非|绝非|不像).*?(?=而是|[。，；：！？]|$)",
    re.IGNORECASE | re.DOTALL,
)


def without_denials(text: str) -> str:
    """The text without its denied clauses."""
    return _DENIED.sub("", text)
