"""The frozen requests: as many as they should be, for media that the world holds, and not of the training's wording."""

import pytest

from data.things import COLOURS, MOTIONS, catalogue, held_out_things, sounds
from data.things.dialogues import dialogue
from evaluation.things.requests import free_requests
from tests.data.things.dialogues.caption_parsing import read_caption


@pytest.mark.parametrize(("language", "count"), [("en", 120), ("zh", 40)])
def test_they_ask_for_what_can_be_made(language, count):
    requests = free_requests(language)
    assert len({request.say for request in requests}) == count
    assert 0.05 < sum(not request.media for request in requests) / count < 0.2
    for modality, caption in [medium for request in requests for medium in request.media]:
        if modality == "image":
            read = read_caption(caption)
            assert not {thing for thing, _ in read.nouns} & set(held_out_things())
            assert {colour for _, colour in read.nouns} <= {None, *COLOURS}
        elif modality == "video":
            assert any(f" that {motion['en']}" in caption for motion in MOTIONS.values())
            assert any(f" {name} that " in caption for name in catalogue())
        else:
            assert modality == "audio" and any(name in caption for name in sounds.kinds())


def test_training_never_says_them():
    said = {turn.text.lower().rstrip(".?!。？！") for index in range(400) for turn in dialogue(21, index).turns}
    assert not said & {
        request.say.lower().rstrip(".?!。？！") for language in ("en", "zh") for request in free_requests(language)
    }
