"""LLaMA-Adapter V2 in the core: pictures as tokens of a tower, seen by all tokens, tuned biases; saved and loaded."""

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from nextgpt_lite.checkpoint import CheckpointError
from nextgpt_lite.config import CoreConfig
from nextgpt_lite.core_checkpoint import load_core, new_core, save_core, trained_state
from nextgpt_lite.media_slots import batch_media
from nextgpt_lite.model import AnyToAnyCore

BASE, WIDTH, FEATURES = 64, 32, 6
VISUAL = {"tokens": 2, "inner_width": 12, "blocks": 1, "heads": 2}
#: The forms of V2: the paper's and what was released for 7B and 65B.
FORMS = {
    "paper": {
        "prompts": {"media_tokens": 2, "media_layers": 1, "static_tokens": 3, "static_layers": 2, "keys": True},
        "visual": VISUAL,
        "bias_tuning": {"scale": "output"},
    },
    "multimodal_7b": {
        "prompts": {
            "media_tokens": 0, "static_tokens": 2, "static_layers": 2, "media_added": True, "gate_scale": True,
        },
        "visual": VISUAL,
        "bias_tuning": {"scale": "none", "targets": ["q_proj", "o_proj", "up_proj"]},
        "lora": {"r": 2, "lora_alpha": 2, "target_modules": ["q_proj", "k_proj", "v_proj", "down_proj"]},
    },
    "chat_65b": {
        "prompts": {"media_tokens": 0, "static_tokens": 3, "static_layers": 2},
        "bias_tuning": {"scale": "input"},
    },
}  # fmt: skip


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    """A language model as a folder."""
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("base")
    config = LlamaConfig(
        vocab_size=BASE, hidden_size=WIDTH, intermediate_size=48, num_hidden_layers=3, num_attention_heads=4,
        max_position_embeddings=128, tie_word_embeddings=False,
    )  # fmt: skip
    LlamaForCausalLM(config).save_pretrained(folder)
    return folder


def make_core(base, form, disturbed=True, reach="row") -> AnyToAnyCore:
    torch.manual_seed(1)
    settings = dict(FORMS[form])
    settings["prompts"] = settings["prompts"] | {"reach": reach}
    config = CoreConfig(
        text_config=LlamaConfig.from_pretrained(base),
        first_added_token=BASE,
        signal_tokens={"image": 1},
        embedding_width=FEATURES,
        **settings,
    )
    core = new_core(config, base).eval()
    if disturbed:
        with torch.no_grad():
            for parameter in trained_state(core).values():
                parameter.add_(0.1 * torch.randn_like(parameter)).copy_(parameter.half())
    return core


def media_of(form, rows=1, media=1):
    torch.manual_seed(2)
    if "visual" not in FORMS[form]:
        return {}
    return {
        "media_embeddings": torch.randn(rows, media, 4, FEATURES),
        "media_mask": torch.ones(rows, media, dtype=torch.bool),
    }


@pytest.mark.parametrize("form", FORMS)
@torch.no_grad()
def test_untrained_it_is_the_base_model_bit_for_bit(base, form):
    core = make_core(base, form, disturbed=False)
    ids = torch.arange(10)[None]
    plain = LlamaForCausalLM.from_pretrained(base, attn_implementation="sdpa").eval()
    assert torch.equal(core(ids, **media_of(form)).logits[..., :BASE], plain(ids).logits)


@pytest.mark.parametrize("form", FORMS)
@torch.no_grad()
def test_saved_and_loaded_it_says_the_same(base, form, tmp_path):
    core = make_core(base, form)
    save_core(core, tmp_path / "core")
    again = load_core(tmp_path / "core", base)
    ids = torch.arange(10)[None]
    assert torch.equal(core(ids, **media_of(form)).logits, again(ids, **media_of(form)).logits)
    stored = trained_state(again)
    assert any(name.endswith("q_proj.bias") or name.endswith("q_proj.base_layer.bias") for name in stored)
    assert "language_model.model.norm.weight" in stored
    assert "language_model.lm_head.weight" not in stored


@torch.no_grad()
def test_another_form_is_refused_by_name(base, tmp_path):
    save_core(make_core(base, "paper"), tmp_path / "core")
    config = (tmp_path / "core/config.json").read_text()
    (tmp_path / "core/config.json").write_text(config.replace('"scale": "output"', '"scale": "none"'))
    with pytest.raises(CheckpointError, match=r"unknown key 'language_model\.model\.layers\.\d.*\.scale'"):
        load_core(tmp_path / "core", base)


@pytest.mark.parametrize("form", FORMS)
def test_generation_with_a_cache_equals_the_full_pass(base, form):
    core, ids, media = make_core(base, form), torch.arange(3, 9)[None], media_of(form)
    settings = {"max_new_tokens": 6, "do_sample": False, "eos_token_id": None, "pad_token_id": 0}
    out = core.generate(input_ids=ids, attention_mask=torch.ones_like(ids), **media, **settings)
    for position in range(ids.shape[1], out.shape[1]):
        with torch.no_grad():
            full = core(out[:, :position], **media).logits[0, -1]
        assert int(full.argmax()) == int(out[0, position])


@pytest.mark.parametrize("form", ["paper", "multimodal_7b"])
@torch.no_grad()
def test_pictures_reach_every_token_and_rows_do_not_mix(base, form):
    """A batch of two pictures, one, and none equals row by row; what a row does not have has no effect."""
    core = make_core(base, form)
    ids, media = torch.randint(0, BASE, (3, 7)), media_of(form, rows=3, media=2)["media_embeddings"]
    counts = torch.tensor([2, 1, 0])
    together = core(ids, media_embeddings=media, media_mask=torch.arange(2) < counts[:, None]).logits
    for row, count in enumerate(counts.tolist()):
        alone = core(ids[row : row + 1], **batch_media([media[row, :count]])).logits
        torch.testing.assert_close(together[row], alone[0], atol=1e-5, rtol=1e-4)
    plain = core(ids).logits
    assert (together[0, :, :BASE] - plain[0, :, :BASE]).abs().amax(-1).min() > 1e-4
    torch.testing.assert_close(together[2], plain[2], atol=1e-5, rtol=1e-4)


def test_gradient_reaches_what_is_trained(base):
    core = make_core(base, "paper").train()
    core.requires_grad_(False)
    wanted = {n: p for n, p in trained_state(core).items() if "added_" not in n and "output_proj" not in n}
    for parameter in wanted.values():
        parameter.requires_grad_(True)
    ids = torch.arange(10)[None]
    core(ids, labels=ids, **media_of("paper")).loss.backward()
    assert [
        name for name, parameter in wanted.items() if parameter.grad is None or not parameter.grad.abs().sum()
    ] == []


def test_media_of_another_shape_are_refused(base):
    core = make_core(base, "paper")
    with pytest.raises(ValueError, match=r"media of shape \(6,\): this model's encoder gives \(-1, 6\)"):
        core(torch.arange(3)[None], media_embeddings=torch.zeros(1, 2, 6))
    with pytest.raises(ValueError, match="not finite"):
        core(torch.arange(3)[None], **batch_media([torch.full((1, 4, FEATURES), torch.inf)]))
    with pytest.raises(ValueError, match=r"media of shape \(4, 5\): this model's encoder gives \(-1, 6\)"):
        core(torch.arange(3)[None], media_embeddings=torch.zeros(1, 1, 4, 5))
    with pytest.raises(ValueError, match="reach must be one of placeholders, row, not 'some'"):
        make_core(base, "paper", reach="some")
