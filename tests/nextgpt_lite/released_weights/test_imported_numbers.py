"""Imported folders compute what the published code computed: the golden cases through AnyToAny.from_pretrained."""

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch.nn import functional
from transformers import AutoModelForCausalLM, CLIPVisionModel

from adapters import mix
from encoders import load_encoder
from nextgpt_lite.any_to_any import AnyToAny
from nextgpt_lite.cli import main
from nextgpt_lite.released_weights.vocabulary import EMBEDDING
from tests.nextgpt_lite.released_weights import published
from tests.nextgpt_lite.released_weights.published import Given, adapter_chat, adapter_v1, adapter_v2, golden
from tests.parity.cases import Comparison, faults
from tests.parity.llama_adapter import OUTPUT, greedy, stepped, trained


def imported(name: str, given: Given, folder) -> AnyToAny:
    out = folder / "model"
    assert main(given.words(name, given.write(folder / "published"), out)) == 0
    return AnyToAny.from_pretrained(out, "cpu")


def check(comparisons) -> None:
    assert not (wrong := faults(list(comparisons))), "\n".join(wrong)


def test_llama_adapter_v1(tmp_path):
    case, core = golden("v1"), imported("llama_adapter_v1", adapter_v1(tmp_path), tmp_path).core
    check(trained(case, core, case.group("outputs/")))


@pytest.mark.parametrize("name", ["v2_bias", "v2_lora"])
def test_llama_adapter_v2(name, tmp_path):
    case, model = golden(name), imported("llama_adapter_v2", adapter_v2(tmp_path, name), tmp_path)
    outputs, core, tower = case.group("outputs/"), model.core, model.encoder
    with torch.no_grad():
        features = tower(case.group("inputs/")["images"])
    media = {"media_embeddings": features[:, None], "media_mask": torch.ones(len(features), 1, dtype=torch.bool)}
    check([Comparison("clip_feats", features, outputs["clip_feats"], OUTPUT)])
    check(trained(case, core, outputs, **media))
    check([Comparison("steps", stepped(case, core, **media), outputs["prefill_plus_step_logits"], OUTPUT)])
    check(greedy(case, core, outputs, **media))


@pytest.mark.parametrize("name", ["v2_chat65b_prompt", "v2_chat65b_plain"])
def test_llama_adapter_v2_chat(name, tmp_path):
    case, core = golden(name), imported("llama_adapter_v2_chat", adapter_chat(tmp_path, name), tmp_path).core
    outputs = case.group("outputs/")
    check(trained(case, core, outputs))
    check([Comparison("steps", stepped(case, core), outputs["prefill_plus_step_logits"], OUTPUT)])


@torch.no_grad()
def test_imagebind_llm(tmp_path):
    """The image alone through the bind network, then a mixture by way of the imported cache, in half precision."""
    case = golden("imagebind_llm_rms")
    model = imported("imagebind_llm", published.imagebind_llm(tmp_path), tmp_path)
    core, outputs, given = model.core, case.group("outputs/"), case.group("inputs/")
    image = mix([given["emb_vision"]], [1.0])[:, None]
    seen = torch.ones(len(image), 1, dtype=torch.bool)
    logits = core(given["tokens"], media_embeddings=image, media_mask=seen).logits
    check([Comparison("logits", logits[..., : core.table.first], outputs["logits"], 2e-5)])
    names, weights = {"Image": "emb_vision", "Audio": "emb_audio", "Point": "emb_point"}, case.config["mix"]
    cache = model.cache
    assert cache is not None and (cache.neighbours, cache.temperature, cache.blend) == (10, 20.0, 0.5)
    mixed = cache(mix([given[names[name]] for name in weights], list(weights.values())))[:, None]
    media = {"media_embeddings": mixed, "media_mask": seen}
    check([Comparison("steps", stepped(case, core, **media), outputs["mix_prefill_plus_step_logits"], 1e-3)])


@torch.no_grad()
def test_imagebind_with_points(tiny_huge, tmp_path):
    given = published.imagebind()
    folder = given.write(tmp_path / "published")
    assert main(given.words("imagebind_huge", folder, tmp_path / "encoder")) == 0
    encoder, original = load_encoder(tmp_path / "encoder"), published.seeded_encoder()
    image = original.preprocess("image", np.random.default_rng(0).integers(0, 255, (40, 50, 3), np.uint8))[None]
    torch.testing.assert_close(encoder.embed("image", image), original.embed("image", image), atol=2e-3, rtol=0)
    assert encoder.modalities == original.modalities


@torch.no_grad()
def test_meta_llama(tmp_path):
    """At gates of zero V1 is the language model itself."""
    case, model = golden("v1"), imported("meta_llama", published.meta_llama(tmp_path), tmp_path)
    logits = model.core(case.group("inputs/")["tokens"]).logits[..., : model.core.table.first]
    check([Comparison("logits", logits, case.group("outputs/")["logits_gate0"], OUTPUT)])
    assert (model.core.config.text_config.max_position_embeddings, len(model.tokenizer)) == (2048, 129)


@torch.no_grad()
def test_llava_projector_and_lora(tmp_path):
    """By hand: CLIP's layer before the last without its class token, two layers, at the places of the placeholders."""
    given = published.llava_lora(tmp_path)
    model = imported("llava_lora", given, tmp_path)
    pixels = model.encoder.preprocess("image", np.random.default_rng(1).integers(0, 255, (40, 50, 3), np.uint8))[None]
    tower = CLIPVisionModel.from_pretrained(tmp_path / "clip")
    features = tower(pixel_values=pixels, output_hidden_states=True).hidden_states[-2][:, 1:]
    trainables, adapter = given.files["non_lora_trainables.bin"], given.files["adapter_model.bin"]
    weights = {name.rpartition("mm_projector.")[2]: value for name, value in trainables.items()}
    inner = functional.gelu(features @ weights["0.weight"].T + weights["0.bias"])
    visual = inner @ weights["2.weight"].T + weights["2.bias"]  # (1, 16, D)
    plain = AutoModelForCausalLM.from_pretrained(tmp_path / "llama")
    for name, value in adapter.items():
        if ".lora_A." in name:
            change = 6 / 2 * adapter[name.replace("lora_A", "lora_B")] @ value
            plain.get_submodule(name.removeprefix("base_model.model.").partition(".lora_A")[0]).weight += change
    words = torch.tensor([[5, 6, 7]])
    embedded = plain.get_input_embeddings()(words)
    expected = plain(inputs_embeds=torch.cat([embedded[:, :1], visual, embedded[:, 1:]], 1)).logits
    place = model.table.placeholders["image"]
    ids = torch.tensor([[5, *[place] * visual.shape[1], 6, 7]])
    found = model.core(ids, media_embeddings=model.encoder.patches("image", pixels)[0][None, None]).logits
    check([Comparison("logits", found[..., : model.table.first], expected, 2e-5)])


@torch.no_grad()
def test_longlora(tmp_path):
    """LoRA merged, embeddings and norms replaced, a padding token's row added, positions scaled."""
    given = published.longlora(tmp_path)
    model = imported("longlora", given, tmp_path)
    state = load_file(tmp_path / "model/language_model/model.safetensors")
    whole = given.files["trainable_params.bin"]
    base = load_file(tmp_path / "llama/model.safetensors")
    torch.testing.assert_close(state[EMBEDDING], whole[f"base_model.model.{EMBEDDING}"])
    torch.testing.assert_close(state["lm_head.weight"][128], base["lm_head.weight"].mean(0))
    name = "model.layers.1.self_attn.q_proj"
    first, second = (given.files["adapter_model.bin"][f"base_model.model.{name}.lora_{part}.weight"] for part in "AB")
    expected = base[f"{name}.weight"] + 3 * second @ first
    torch.testing.assert_close(state[f"{name}.weight"], expected, atol=1e-5, rtol=1e-5)
    config = model.core.config.text_config
    assert config.rope_parameters["factor"] == 2.0 and config.vocab_size == 129
    assert model.tokenizer.pad_token_id == 128 and model.table.first == 129
