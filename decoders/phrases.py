"""Captions as phrases: what is shown, where each of it is, how many, and where it all is, each embedded by itself.

    "a small red cat at the top left and a green dog on the right, in a meadow"
    -> red cat | small at the top left | green dog | on the right |  |  |  | in a meadow

    "a cat on the left that spins" -> cat | on the left spins
    "three high notes on a piano, quick and loud" -> piano | high notes |  |  |  |  | three | quick and loud

A sentence encoder gives each phrase one vector: what a thing is as a whole, all else as the mean of its words, since
"at the top left" and "at the top right" as wholes are nearly the same to it. So a condition is a few vectors, which an
output projection can hit; words that no training caption had lie near those that some had; and what is asked for can be
looked up among pictures.
Shapes: B captions, L = SLOTS phrases, E width of the sentence encoder.
"""

import re
from collections.abc import Callable, Sequence

import torch
from torch.nn import functional

#: Of each of THINGS things what it is, and where or what it does; then how many there are of the first, or how often it
#: is heard, and the background, or how a sound is played.
THINGS, SLOTS = 3, 8
NUMBER, BACKGROUND = 2 * THINGS, 2 * THINGS + 1
#: What is in an image of a background alone: an empty caption leaves open what there is.
NOTHING = "nothing"
#: A phrase that is shorter is not said. What is not said is hardly longer than .1; where a projection is not sure of a
#: name, it gives something between those that it may be, which is short as well, but hardly ever under .3.
LEAST_LENGTH = 0.25
_PLACE = re.compile(
    r" ((?:on|at|in|to|near) the (?:far )?(?:left|right|top|bottom|cent(?:er|re)|middle)"
    r"(?: (?:left|right|corner|side|half|edge))*)$"
)
_BACKGROUND = re.compile(r",? ((?:in|on|at|under|over|by|against|in front of) (?:an?|the) (?:(?! that | and )[^,])+)$")
_NUMBER = re.compile(r"^(one|two|three|four|five|six|seven|eight|nine|ten|\d+) ", re.IGNORECASE)
_NOTES = re.compile(r"^(.*?)(\b[a-z]* ?[a-z]* ?notes?) (?:on|by) ((?:an?|some) .+)$", re.IGNORECASE)
_TIMES = re.compile(r" ?\b(once|twice|(?:three|four|five|six|\d+) times)$", re.IGNORECASE)
_MANNER = re.compile(r", ((?:quick|slow|high|low|soft|loud)(?:(?:, | and )(?:quick|slow|high|low|soft|loud))*)$")
_SIZE = re.compile(r"^(tiny|small|little|big|large|huge) (?=.)", re.IGNORECASE)
#: Words that tell no phrase from another.
_EMPTY = {"a", "an", "and", "at", "in", "is", "its", "of", "on", "some", "that", "the", "times", "to"}
_ARTICLE = re.compile(r"^(?:an?|the|some) ", re.IGNORECASE)
_BETWEEN = re.compile(r", and | and |, ")

#: Texts -> float32 unit vectors (B, E).
Embed = Callable[[list[str]], torch.Tensor]


def split_caption(caption: str) -> list[str]:
    """The L phrases of a caption, "" where it says nothing. Things beyond the third are left out."""
    phrases = [""] * SLOTS
    rest, phrases[BACKGROUND] = _background(" ".join(caption.strip().rstrip(".").split()))
    for thing, words in enumerate(part for part in _BETWEEN.split(rest)[:THINGS] if part):
        words, number, does = _number_and_deed(words)
        if thing == 0:
            phrases[NUMBER] = number.lower()
        place = _PLACE.search(words)
        words = _ARTICLE.sub("", words[: place.start()] if place else words)
        size = _SIZE.match(words)
        phrases[2 * thing] = words[size.end() :] if size else words
        how = size.group(1) if size else "", place.group(1) if place else "", does
        phrases[2 * thing + 1] = " ".join(each for each in how if each)
    return phrases


def _number_and_deed(words: str) -> tuple[str, str, str]:
    """What a thing is, how many or how often, and what it does; "" where nothing is said of it.

    "three high notes on a piano" -> ("a piano", "three", "high notes"), "a dog that barks twice" -> ("a dog", "twice",
    "barks").
    """
    number = _NUMBER.match(words)
    count, words = (number.group(1), words[number.end() :]) if number else ("", words)
    if notes := _NOTES.match(words):
        return notes.group(3), count or "one", _ARTICLE.sub("", notes.group(2).strip())
    words, _, does = words.partition(" that ")
    if times := _TIMES.search(does):
        count, does = times.group(1), does[: times.start()]
    return words, count, does


def embed_captions(captions: Sequence[str], embed: Embed) -> torch.Tensor:
    """Conditions (B, L, E): each phrase's vector, zeros where a caption says nothing."""
    split = [_texts(phrase, slot) for caption in captions for slot, phrase in enumerate(split_caption(caption))]
    return _means(split, embed).unflatten(0, (len(captions), SLOTS))


def embed_phrases(phrases: Sequence[str], slot: int, embed: Embed) -> torch.Tensor:
    """What each of these N phrases is in a slot of a caption: (N, E), zeros for ""."""
    return _means([_texts(phrase, slot) for phrase in phrases], embed)


def _means(split: list[list[str]], embed: Embed) -> torch.Tensor:
    """N lists of texts -> the direction of each one's mean (N, E), zeros for an empty list."""
    said = sorted({text for texts in split for text in texts})
    vectors = dict(zip(said, embed(said), strict=True)) if said else {}
    nothing = torch.zeros_like(next(iter(vectors.values()))) if vectors else embed(["nothing"])[0] * 0
    sums = torch.stack([sum((vectors[text] for text in texts), nothing) for texts in split])
    return functional.normalize(sums, dim=-1)


def _texts(phrase: str, slot: int) -> list[str]:
    """What is embedded of a phrase: a thing as a whole, of others each word that says something."""
    if slot < NUMBER and slot % 2 == 0:
        return [phrase] if phrase else []
    words = phrase.lower().split()
    return [word for word in words if word not in _EMPTY] or words


def clear_phrases(condition: torch.Tensor) -> torch.Tensor:
    """Conditions (B, L, E) as training has them: each phrase of unit length, or zeros where it is short.

    Phrases are unit vectors, or zeros where nothing is said; output projections give what is near.
    """
    length = condition.norm(dim=-1, keepdim=True)
    return torch.where(length > LEAST_LENGTH, condition / length.clamp_min(LEAST_LENGTH), 0.0)


def _background(caption: str) -> tuple[str, str]:
    """The caption without its background or the way a sound is played, and that; a place within the image is none."""
    if manner := _MANNER.search(caption):
        return caption[: manner.start()], manner.group(1)
    if _NOTES.match(caption):
        return caption, ""
    found = _BACKGROUND.search(caption)
    if not found or found.start() == 0 or _PLACE.search(f" {found.group(1)}"):
        return caption, ""
    if " that " in caption[: found.start()] and caption[found.start()] != ",":
        return caption, ""  # "moves in a circle"
    return caption[: found.start()], found.group(1)
