"""The composed model, every component real: one conversation or many, streaming, progress, seeds, mending."""

import itertools
import json

import numpy as np
import pytest
import torch

from nextgpt_lite import AnyToAny
from nextgpt_lite.checkpoint import read_manifest
from nextgpt_lite.conversation import ConversationError
from nextgpt_lite.media_slots import batch_media
from tests.tiny_model import medium, saying


def user(*parts):
    return [{"role": "user", "content": [{"type": "text", "text": p} if isinstance(p, str) else p for p in parts]}]


DRAW = user(medium("image"), "Draw this and let me hear it.")
PLAY = user("Play a bell.")


def test_one_by_one_equals_a_batch(tiny_model):
    talks = [DRAW, PLAY, user(medium("points"), medium("audio"), "And now?")]
    wanted = [("image", "audio"), ("audio",), ()]
    with saying(tiny_model, talks, wanted):
        together = tiny_model.chat_batch(talks, seeds=[3, 4, 5])
        alone = [tiny_model.chat(t, seed=s) for t, s in zip(talks, (3, 4, 5), strict=True)]
    for one, other, modalities in zip(together, alone, wanted, strict=True):
        assert one.text == other.text == "Here."
        assert one.repaired == other.repaired == 0
        assert tuple(m.modality for m in one.media) == tuple(m.modality for m in other.media) == modalities
        for first, second in zip(one.media, other.media, strict=True):
            tolerance = 1 if first.modality == "image" else 1e-3
            np.testing.assert_allclose(first.array.astype(float), second.array.astype(float), atol=tolerance)


def test_streamed_text_grows_to_the_reply(tiny_model):
    seen = []
    with saying(tiny_model, [DRAW], [("image",)], words="Here is a small red 铃铛 in the snow."):
        reply = tiny_model.chat(DRAW, steps=1, on_text=seen.append)
    assert seen[-1] == reply.text == "Here is a small red 铃铛 in the snow."
    assert len(seen) > 3
    assert all(later.startswith(sooner) for sooner, later in itertools.pairwise(seen))
    assert "<image_00>" not in reply.text
    assert reply.seconds.keys() == {"text", "image"}


def test_without_a_decoder_the_reply_comes_without_its_medium(tiny_copy, caplog):
    manifest = read_manifest(tiny_copy)
    del manifest["components"]["audio_decoder"]
    (tiny_copy / "manifest.json").write_text(json.dumps(manifest))
    model = AnyToAny.from_pretrained(tiny_copy)
    with saying(model, [PLAY], [("audio", "image")]):
        reply = model.chat(PLAY, steps=1)
    assert reply.text == "Here." and [made.modality for made in reply.media] == ["image"]
    assert "has no audio_decoder: the reply comes without the audio" in caplog.text


def test_progress_is_told_step_by_step(tiny_model):
    told = []
    with saying(tiny_model, [PLAY], [("audio", "image")]):
        tiny_model.chat(PLAY, steps=2, on_progress=lambda *step: told.append(step))
    assert told == [("audio", 1, 2), ("audio", 2, 2), ("image", 1, 2), ("image", 2, 2)]


@pytest.mark.parametrize("modality", ["image", "video", "audio"])
def test_between_blocks_there_is_time_for_other_work_and_to_stop(tiny_model, modality):
    condition = torch.randn(1, *tiny_model.core.config.conditions[modality], generator=torch.Generator().manual_seed(0))
    calls = []

    def work():
        calls.append(len(calls))
        if len(calls) == 3:
            tiny_model.chat(user("Hello"), max_new_tokens=2, allowed_media=())

    [plain] = tiny_model.decode(modality, condition, [0], steps=2)
    [worked] = tiny_model.decode(modality, condition, [0], steps=2, on_block=work)
    np.testing.assert_array_equal(worked.array, plain.array)
    assert len(calls) >= 2 * 4  # two steps of two blocks down and two up

    def stop():
        raise InterruptedError

    with pytest.raises(InterruptedError):
        tiny_model.decode(modality, condition, [0], steps=2, on_block=stop)
    before = len(calls)
    tiny_model.decode(modality, condition, [0], steps=2)
    assert len(calls) == before


def test_an_exception_cancels_and_leaves_the_model_usable(tiny_model):
    class Cancelled(Exception):
        pass

    def cancel(modality, step, steps):
        if step == 2:
            raise Cancelled

    with saying(tiny_model, [PLAY], [("image",)]):
        with pytest.raises(Cancelled):
            tiny_model.chat(PLAY, steps=4, on_progress=cancel)
        assert len(tiny_model.chat(PLAY, steps=2).media) == 1


def test_an_incomplete_span_is_completed_and_counted(tiny_model):
    with saying(tiny_model, [PLAY], [("video",)]) as tokens:
        whole = tiny_model.chat(PLAY, steps=1)
        cut = tiny_model.chat(PLAY, max_new_tokens=tokens - 3, steps=1)  # two of the span and the end are missing
    assert (whole.repaired, cut.repaired) == (0, 2)
    assert [m.modality for m in cut.media] == ["video"]
    difference = whole.media[0].array.astype(int) - cut.media[0].array  # of tokens read one by one, and at once
    assert abs(difference).max() <= 1


@pytest.mark.parametrize("modality", ["image", "audio"])
def test_seeds_decide_media(tiny_model, modality):
    with saying(tiny_model, [PLAY], [(modality, modality)]):
        first, same, other = (tiny_model.chat(PLAY, seed=s, steps=2).media for s in (1, 1, 2))
    assert np.array_equal(first[0].array, same[0].array)
    assert not np.array_equal(first[0].array, other[0].array)
    assert not np.array_equal(first[0].array, first[1].array), "two media of one reply have noise of their own"


def test_only_allowed_media_are_made(tiny_model):
    with saying(tiny_model, [PLAY], [("image", "audio")]):
        reply = tiny_model.chat(PLAY, steps=1, allowed_media=["audio"])
    assert [m.modality for m in reply.media] == ["audio"]


def test_a_reply_goes_on_as_a_message(tiny_model):
    with saying(tiny_model, [PLAY], [("audio",)]):
        reply = tiny_model.chat(PLAY, steps=1)
    talk = [*PLAY, reply.as_message(), *user("What did you play?")]
    ids, media, dropped = tiny_model.prepare(talk)
    own = f"<own>{tiny_model.table.placeholders_of('audio')}"
    assert f"{own}what did you play?" in tiny_model.tokenizer.decode(ids)
    assert [tuple(one.shape) for one in media] == [(tiny_model.encoder.width,)] and dropped == 0
    tiny_model.chat(talk, max_new_tokens=2)


def test_embeddings_are_unit_vectors_through_the_cache(tiny_model):
    part = medium("image")
    embedding = tiny_model.embed(part)
    plain = tiny_model.encoder.embed("image", tiny_model.encoder.preprocess("image", part["array"])[None])
    torch.testing.assert_close(embedding, tiny_model.cache(plain)[0])
    assert not torch.allclose(embedding, plain[0])
    torch.testing.assert_close(embedding.norm(), torch.tensor(1.0))
    given = tiny_model.embed({"type": "image", "embedding": [1.0] * len(embedding)})
    assert given.tolist() == [1.0] * len(embedding)


def test_what_is_shown_matters(tiny_model):
    with torch.no_grad():
        states = [
            tiny_model.core(torch.tensor([ids]), **batch_media([media])).last_hidden_state[0, -1]
            for ids, media, _ in (tiny_model.prepare(user(medium("image", i), "What is this?")) for i in (0, 1))
        ]
    assert not torch.equal(*states)


def test_sampling_follows_its_seed(tiny_model):
    texts = [tiny_model.chat(PLAY, temperature=1.5, seed=s, max_new_tokens=8, allowed_media=[]).text for s in (1, 1, 2)]
    assert texts[0] == texts[1] != texts[2]


@pytest.mark.parametrize(
    ("messages", "said"),
    [
        ([], "the last message must be the user's"),
        ([{"role": "assistant", "content": "hello"}], "the last message must be the user's"),
        (user({"type": "image"}), "a part of type 'image' has no array"),
        (user({"type": "audio", "array": np.full(16_000, np.nan), "rate": 16_000.0}), "values that are not finite"),
        (user({"type": "image", "array": np.zeros((4, 4, 7), np.uint8)}), "the image cannot be read"),
        (user({"type": "points", "array": np.zeros((0, 3))}), "the points cannot be read"),
        (user("word " * 2000), "more than the 576"),
    ],
)
def test_bad_messages_are_refused_in_a_sentence(tiny_model, messages, said):
    with pytest.raises(ConversationError, match=said):
        tiny_model.chat(messages)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"embedding": [1.0] * 5}, r"the embedding of the image has shape \(5,\), expected \(24,\)"),
        ({"embedding": [[1.0] * 24]}, r"has shape \(1, 24\), expected \(24,\)"),
        ({"embedding": [float("nan")] * 24}, "holds values that are not finite"),
        ({"embedding": [1.0] * 24, "encoder": "another"}, "is of encoder another, this model's is"),
    ],
    ids=["width", "axes", "nan", "encoder"],
)
def test_an_embedding_that_does_not_fit_is_refused(tiny_model, changes, said):
    with pytest.raises(ConversationError, match=said):
        tiny_model.embed({"type": "image", **changes})
