"""A chat whose core reads the tokens of CLIP's tower (LLaMA-Adapter V2), composed and loaded as any other model."""

import json
import shutil

import pytest
import torch
from transformers import AutoConfig

from encoders.open_clip import OpenClipConfig, OpenClipVision
from nextgpt_lite import AnyToAny
from nextgpt_lite.checkpoint import CheckpointError, write_manifest
from nextgpt_lite.config import CoreConfig
from nextgpt_lite.conversation import ConversationError
from nextgpt_lite.core_checkpoint import new_core, save_core
from nextgpt_lite.generate import Sampling, generate
from nextgpt_lite.inspection.mixtures import mixture
from nextgpt_lite.media_slots import batch_media
from tests.tiny_model import medium


@pytest.fixture(scope="module")
def folder(tiny_folder, tmp_path_factory):
    """Language model and tokenizer of the tiny model, a tower of one block, V2's core with open gates."""
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("visual") / "model"
    for name in ("language_model", "tokenizer"):
        shutil.copytree(tiny_folder / name, folder / name)
    tower = OpenClipVision(OpenClipConfig(size=16, patch=8, width=16, layers=1, heads=2, output_width=12))
    tower.save_pretrained(folder / "vision_tower")
    base = AutoConfig.from_pretrained(folder / "language_model")
    config = CoreConfig(
        text_config=base,
        first_added_token=base.vocab_size,
        embedding_width=tower.width,
        encoder_identity=tower.identity,
        visual={"tokens": 3, "inner_width": 16, "blocks": 1, "heads": 2},
        prompts={"media_tokens": 0, "static_tokens": 3, "static_layers": 1, "media_added": True, "reach": "row"},
        bias_tuning={"scale": "output"},
        signal_tokens={"image": 1},
        output_projection="linear",
        conditions={"image": [2, 4]},
    )
    core = new_core(config, folder / "language_model")
    with torch.no_grad():
        core.gated_prompts.static_gate.fill_(0.8)
    save_core(core, folder / "core")
    write_manifest(folder, "visual")
    return folder


@pytest.fixture(scope="module")
def model(folder):
    return AnyToAny.from_pretrained(folder)


def user(*parts):
    return [{"role": "user", "content": [{"type": "text", "text": p} if isinstance(p, str) else p for p in parts]}]


def test_pictures_come_in_as_tokens_and_matter(model):
    shown = [model.prepare(user(medium("image", i), "What is this?")) for i in (0, 1)]
    assert [tuple(tokens.shape) for tokens in shown[0][1]] == [(model.encoder.tokens, 12)]
    with torch.no_grad():
        states = [model.core(torch.tensor([ids]), **batch_media([m])).logits[0, -1] for ids, m, _ in shown]
    assert not torch.equal(*states)
    assert isinstance(model.chat(user(medium("image"), "What is this?"), max_new_tokens=3, allowed_media=[]).text, str)


def test_a_batch_with_and_without_pictures_equals_one_by_one(model):
    talks = [user(medium("image"), medium("image", 1), "Which?"), user("Hello"), user(medium("image", 2), "And this?")]
    prepared = [model.prepare(talk) for talk in talks]
    requests, end = [(one, Sampling(6)) for one in prepared], model.tokenizer.eos_token_id
    together = [row.ids for row in generate(model.core, end, requests)]
    alone = [generate(model.core, end, [one])[0].ids for one in requests]
    assert together == alone


def test_pictures_can_be_seen_larger(folder, tmp_path):
    """``image_size`` of the core: the tower gives more tokens, which the queries read like any."""
    larger = shutil.copytree(folder, tmp_path / "larger")
    config = json.loads((larger / "core/config.json").read_text())
    (larger / "core/config.json").write_text(json.dumps(config | {"image_size": 32}))
    write_manifest(larger, "larger")
    model = AnyToAny.from_pretrained(larger)
    _, [tokens], _ = model.prepare(user(medium("image"), "What is this?"))
    assert tokens.shape == (model.encoder.tokens, 12) == (17, 12)
    assert isinstance(model.chat(user(medium("image"), "What is this?"), max_new_tokens=3, allowed_media=[]).text, str)


def test_what_the_tower_does_not_read_is_refused(model):
    with pytest.raises(ConversationError, match="the audio cannot be read: this encoder reads image, not audio"):
        model.chat(user(medium("audio")))


def test_a_mixture_of_embeddings_is_refused(model):
    with pytest.raises(ValueError, match="a mixture is one unit embedding, and this model's core reads patches"):
        mixture(model, [medium("image"), medium("image", 1)])


def test_another_tower_is_refused(folder, tmp_path):
    other = shutil.copytree(folder, tmp_path / "other")
    torch.manual_seed(1)
    OpenClipVision(OpenClipConfig(size=16, patch=8, width=16, layers=1, heads=2, output_width=12)).save_pretrained(
        other / "vision_tower"
    )
    write_manifest(other, "other")
    with pytest.raises(CheckpointError, match="the core was trained on encoder"):
        AnyToAny.from_pretrained(other).chat(user(medium("image")))
