"""Explanations are the numbers that the model itself computes."""

import numpy as np
import pytest
import torch
from torch.nn import functional

from nextgpt_lite.any_to_any import Reply, ReplyMedium
from nextgpt_lite.inspection.explain import _observed_pass, caption_of, explain, gates, neighbours
from tests.teacher_forced import forced_conditions
from tests.tiny_model import medium

ASKED = [
    {"role": "user", "content": [medium("image"), medium("audio", 1), {"type": "text", "text": "what are these?"}]}
]


def replied(text: str, *modalities: str) -> Reply:
    nothing = np.zeros((4, 4, 3), np.uint8)
    return Reply(text, [ReplyMedium(modality, nothing, None, 2, 0.0) for modality in modalities])


@pytest.fixture(scope="module")
def seen(tiny_model):
    return explain(tiny_model, ASKED, replied("Here is a red bell.", "image", "audio"))


def test_attention_is_shared_out_among_text_and_media(tiny_model, seen):
    reply_tokens = len(seen.tokens) - seen.reply_start
    assert seen.attention.shape == (reply_tokens, 3)
    np.testing.assert_allclose(seen.attention.sum(1), 1.0, atol=1e-5)
    assert (seen.attention > 0).all()


@torch.no_grad()
def test_attention_equals_that_of_eager_attention(tiny_model):
    """The same question without prompts and observer: transformers' own attention weights."""
    reply, messages = replied("Here."), [{"role": "user", "content": "hello"}]
    seen = explain(tiny_model, messages, reply)
    core = tiny_model.core
    ids, _, _ = tiny_model.prepare(messages)
    full = torch.tensor([[*ids, *tiny_model.tokenizer(reply.text)["input_ids"]]])
    language_model = core.language_model
    name = language_model.config._attn_implementation
    language_model.set_attn_implementation("eager")
    try:
        weights = language_model(input_ids=full, output_attentions=True).attentions
    finally:
        language_model.set_attn_implementation(name)
    _, _, record = _observed_pass(tiny_model, full, [])
    torch.testing.assert_close(torch.stack(record.weights), torch.cat([w.mean(1) for w in weights]))
    assert seen.attention.shape == (full.shape[1] - len(ids), 1) and seen.media == () and seen.conditions == ()


def test_media_stand_where_their_placeholders_stand(tiny_model, seen):
    names = {"image": "<image>", "audio": "<audio>"}
    assert [part.modality for part in seen.media] == ["image", "audio"]
    for part in seen.media:
        assert [seen.tokens[at].strip() for at in part.positions] == [names[part.modality]] * 2


def test_only_placeholders_hear_the_gated_prompts(seen):
    at = [position for part in seen.media for position in part.positions]
    others = np.delete(np.arange(len(seen.tokens)), at)
    assert (seen.prompt_share[at] > 0).all() and (seen.prompt_share <= 1).all()
    assert (seen.prompt_share[others] == 0).all()


def test_gates_are_those_of_the_module(tiny_model):
    found = gates(tiny_model)
    assert [(gate.layer, gate.kind) for gate in found] == [(0, "media"), (1, "media")]
    expected = torch.tanh(tiny_model.core.gated_prompts.media_gate).detach().numpy()
    np.testing.assert_array_equal(np.stack([gate.values for gate in found]), expected)


@torch.no_grad()
def test_neighbours_blend_to_what_the_model_embeds(tiny_model, seen):
    cache, part = tiny_model.cache, ASKED[0]["content"][0]
    mixed = sum(near.weight * cache.prototypes[near.index] for near in seen.media[0].neighbours)
    retrieved = functional.normalize(mixed, dim=-1)
    blended = (1 - cache.blend) * tiny_model.encode(part) + cache.blend * retrieved
    torch.testing.assert_close(functional.normalize(blended, dim=-1), tiny_model.embed(part))
    weights = [near.weight for near in seen.media[0].neighbours]
    assert len(weights) == 4 and weights == sorted(weights, reverse=True)
    assert sum(weights) == pytest.approx(1.0)
    assert neighbours(tiny_model, {"type": "image", "embedding": tiny_model.encode(part)}) == ()


def test_signals_are_named_with_their_probability(tiny_model, seen):
    assert [signal.name for signal in seen.signals] == ["<image_00>", "<image_01>", "<audio_00>", "<audio_01>"]
    assert all(0 < signal.probability < 1 for signal in seen.signals)
    assert [seen.tokens[signal.position] for signal in seen.signals] == [signal.name for signal in seen.signals]


def test_conditions_are_those_that_drive_the_decoders(tiny_model, seen):
    words = tiny_model.tokenizer("Here is a red bell.")["input_ids"]
    spans = tiny_model.table.spans
    ids = [*words, *spans["image"], *spans["audio"]]
    prompt, media, _ = tiny_model.prepare(ASKED)
    expected = forced_conditions(tiny_model.core, prompt, media, ids)
    assert [check.modality for check in seen.conditions] == ["image", "audio"]
    for check in seen.conditions:
        np.testing.assert_allclose(check.condition, expected[check.modality][0].numpy(), atol=1e-5)


def test_gold_conditions_are_the_text_encoders(tiny_model, seen):
    check = seen.conditions[0]
    assert check.caption == "bell red one" and seen.conditions[1].caption == "bell"
    gold = tiny_model.decoders["image"].encode_caption(["bell red one"])[0].numpy()
    np.testing.assert_array_equal(check.gold, gold)
    lengths = np.linalg.norm(check.condition, axis=-1) * np.linalg.norm(gold, axis=-1)
    expected = (check.condition * gold).sum(-1) / lengths
    np.testing.assert_allclose(check.cosine, expected, rtol=1e-4)


def test_captions_that_are_given_count(tiny_model):
    messages = [{"role": "user", "content": "draw"}]
    reply = replied("There you are.", "image", "image")
    unread, given = explain(tiny_model, messages, reply, [None, "car blue"]).conditions
    assert unread.gold is None and unread.cosine is None and unread.caption is None
    assert given.caption == "car blue" and given.cosine.shape == (6,)
    np.testing.assert_raises(AssertionError, np.testing.assert_array_equal, unread.condition, given.condition)
    with pytest.raises(ValueError, match="1 captions for 2 media"):
        explain(tiny_model, messages, reply, ["bell"])


@pytest.mark.parametrize(
    ("text", "modality", "caption"),
    [
        ("Here is a large yellow car, on a meadow.", "image", "car yellow one large - meadow"),
        ("Watch: a green frog, on a meadow, moving left.", "video", "frog green - - - meadow moving-left"),
        ("听：一个铃铛。", "audio", "bell"),
        ("Hello.", "image", None),
    ],
)
def test_captions_are_read_from_the_words(text, modality, caption):
    assert caption_of(text, modality) == caption


def test_words_and_signals_are_read_in_the_order_of_the_reply(tiny_model):
    """A second medium has words of its own in front of it; the first one's signals stand before those."""
    messages = [{"role": "user", "content": "draw a bell and let me hear a dog"}]
    reply = replied("Here is a red bell. Listen: a dog.", "image", "audio")
    reply.media[0].position = len("Here is a red bell.")
    seen = explain(tiny_model, messages, reply)
    text = "".join(seen.tokens[seen.reply_start :])
    assert text == "Here is a red bell.<image_00><image_01>Listen: a dog.<audio_00><audio_01>"
    assert [check.caption for check in seen.conditions] == ["bell red one", "dog"]
    ids = tiny_model.tokenizer(text)["input_ids"]
    prompt, media, _ = tiny_model.prepare(messages)
    expected = forced_conditions(tiny_model.core, prompt, media, ids)
    for check in seen.conditions:
        np.testing.assert_allclose(check.condition, expected[check.modality][0].numpy(), atol=1e-5)
    with pytest.raises(ValueError, match="broken text"):
        explain(tiny_model, messages, reply, ["\ud83d", None])
