"""The phrases by which an encoder names what it reads in media of the world of things, and their vectors."""

from collections.abc import Callable
from typing import Any

import numpy as np

from data.things import COLOURS
from data.things.captions import BACKGROUNDS
from data.things.catalogue import catalogue
from data.things.dialogues.wording import LANGUAGES, Wording
from data.things.points.kinds import model_kinds
from data.things.sounds.kinds import kinds
from data.things.words import usual_name
from decoders.phrases import NUMBER, embed_phrases, split_caption
from encoders.description import Vocabulary
from encoders.lexicon import THINGS
from encoders.trunk_encoder import TrunkEncoder
from train.foundations.pools import TRAIN_SEED
from train.worlds.things_world import MAKING

#: Modality -> name -> what has ``names`` in both languages.
NAMED: dict[str, Callable[[], dict[str, Any]]] = {
    "image": catalogue,
    "video": catalogue,
    "audio": kinds,
    "points": model_kinds,
}
#: Media whose captions are looked through for phrases other than names.
CAPTIONS = 6000


def give_words(encoder: TrunkEncoder, modality: str) -> None:
    """Let the encoder name what it reads in media of this modality."""
    vocabulary = things_vocabulary(modality)
    vectors = {THINGS: encoder.text([name["en"] for name in vocabulary.things])}
    for slot, phrases in vocabulary.others.items():
        vectors[slot] = embed_phrases([phrase["en"] for phrase in phrases], int(slot), encoder.text)
    encoder.add_words(modality, vocabulary, vectors)


def things_vocabulary(modality: str) -> Vocabulary:
    """What captions of this modality say, the names of all things in the order of the tables."""
    things = [{each: usual_name(entry, each) for each in LANGUAGES} for entry in NAMED[modality]().values()]
    if modality != "image":
        return Vocabulary(things, _others(modality))
    words = Wording("zh", np.random.default_rng(0))
    colours = [{"en": colour, "zh": words.first(f"colour.{colour}")} for colour in COLOURS]
    backgrounds = [{"en": said, "zh": words.first(f"background.{place}")} for place, said in BACKGROUNDS.items()]
    return Vocabulary(things, colours=colours, backgrounds=backgrounds)


def _others(modality: str) -> dict[str, list[dict[str, str]]]:
    """The phrases of all slots but those of things, as a stream of captions says them."""
    making = MAKING[modality]
    found: dict[int, set[str]] = {}
    for index in range(CAPTIONS):
        for slot, phrase in enumerate(split_caption(making.caption(making.sample(TRAIN_SEED, index)))):
            if phrase and not (slot < NUMBER and slot % 2 == 0):
                found.setdefault(slot, set()).add(phrase)
    return {str(slot): [{"en": phrase} for phrase in sorted(found[slot])] for slot in sorted(found)}
