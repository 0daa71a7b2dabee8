"""Checkpoints in Meta's layout: rows, shards, scalar gates, refusals. Whole models are held by tests/parity."""

import pickle

import pytest
import torch
from safetensors.torch import save_file
from transformers import LlamaConfig
from transformers.models.llama.modeling_llama import apply_rotary_pos_emb

from nextgpt_lite.checkpoint import CheckpointError
from nextgpt_lite.config import CoreConfig
from nextgpt_lite.core_checkpoint import add_bias_tuning
from nextgpt_lite.model import AnyToAnyCore
from nextgpt_lite.released_weights.meta_llama import LINEARS, clip_weights, half_split, load, read_shards, translate

LAYERS, HEADS, WIDTH, INNER, VOCABULARY, ADAPTED, PROMPTS = 3, 4, 16, 24, 40, 2, 5


def base_weights(scale="scale"):
    """A Llama in Meta's layout with biases and scales on every linear."""
    torch.manual_seed(0)
    state = {
        "tok_embeddings.weight": (VOCABULARY, WIDTH),
        "norm.weight": (WIDTH,),
        "output.weight": (VOCABULARY, WIDTH),
    }
    for i in range(LAYERS):
        for name in LINEARS:
            inputs, outputs = {"w1": (WIDTH, INNER), "w3": (WIDTH, INNER), "w2": (INNER, WIDTH)}.get(
                name[-2:], (WIDTH, WIDTH)
            )
            state[f"layers.{i}.{name}.weight"] = (outputs, inputs)
            state[f"layers.{i}.{name}_bias"] = (outputs,)
            state[f"layers.{i}.{name}_{scale}"] = (inputs,)
        state |= {f"layers.{i}.{norm}.weight": (WIDTH,) for norm in ("attention_norm", "ffn_norm")}
        state[f"layers.{i}.attention.gate"] = (1, HEADS, 1, 1)
    state["adapter_query.weight"] = (ADAPTED * PROMPTS, WIDTH)
    return {name: torch.randn(shape) for name, shape in state.items()}


def make_core():
    text = LlamaConfig(
        vocab_size=VOCABULARY, hidden_size=WIDTH, intermediate_size=INNER, num_hidden_layers=LAYERS,
        num_attention_heads=HEADS, num_key_value_heads=HEADS, tie_word_embeddings=False,
    )  # fmt: skip
    prompts = {"media_tokens": 0, "static_tokens": PROMPTS, "static_layers": ADAPTED}
    core = AnyToAnyCore(
        CoreConfig(text_config=text, first_added_token=VOCABULARY, signal_tokens={"image": 1}, prompts=prompts)
    ).eval()
    add_bias_tuning(core, {"scale": "input"})
    return core


def translated(state, **more):
    return translate(state, layers=LAYERS, heads=HEADS, prompt_tokens=PROMPTS, **more)


def test_rotary_on_pairs_is_rotary_on_halves_of_the_reordered_rows():
    torch.manual_seed(0)
    heads, width, length = 2, 8, 5
    weight, x = torch.randn(heads * width, 6), torch.randn(1, length, 6)
    angles = torch.arange(length)[:, None] / 10000 ** (torch.arange(0, width, 2) / width)  # (T, width / 2)
    pairs = (x @ weight.T).view(1, length, heads, width // 2, 2)
    turned = torch.view_as_complex(pairs) * torch.polar(torch.ones_like(angles), angles)[:, None]
    query = (x @ half_split(weight, heads).T).view(1, length, heads, width).transpose(1, 2)
    both = torch.cat([angles, angles], dim=-1)[None]
    ours, _ = apply_rotary_pos_emb(query, query, both.cos(), both.sin())
    reference = torch.cat([turned.real, turned.imag], dim=-1).transpose(1, 2)
    torch.testing.assert_close(ours, reference)


def test_biases_turn_with_their_weights_and_scales_do_not():
    state = base_weights()
    found = translated(state)
    own = "language_model.model.layers.1.self_attn.k_proj"
    assert torch.equal(found[f"{own}.bias"], half_split(state["layers.1.attention.wk_bias"], HEADS))
    assert torch.equal(found[f"{own}.scale"], state["layers.1.attention.wk_scale"])
    value = "language_model.model.layers.1.self_attn.v_proj"
    assert torch.equal(found[f"{value}.bias"], state["layers.1.attention.wv_bias"])


def test_grouped_queries_turn_by_their_own_number_of_heads():
    state = {"layers.0.attention.wk.weight": torch.randn(2 * 4, WIDTH)}
    found = translated(state, key_value_heads=2)["language_model.model.layers.0.self_attn.k_proj.weight"]
    assert torch.equal(found, half_split(state["layers.0.attention.wk.weight"], 2))
    assert not torch.equal(found, half_split(state["layers.0.attention.wk.weight"], 1))


def test_one_scalar_gate_serves_all_heads_and_only_adapted_layers_count():
    state = base_weights()
    for i in range(LAYERS):
        state[f"layers.{i}.attention.gate"] = torch.tensor([float(i)])
    assert translated(state)["gated_prompts.static_gate"].tolist() == [[1.0] * HEADS, [2.0] * HEADS]


def test_adapter_weights_alone_go_on_any_base():
    core, state = make_core(), base_weights()
    tuned = {
        n: v for n, v in translated(state).items() if n.endswith((".bias", ".scale")) or "norm" in n or "gated" in n
    }
    before = core.language_model.lm_head.weight.clone()
    load(core, tuned)
    assert torch.equal(core.language_model.lm_head.weight, before)
    assert torch.equal(core.language_model.model.norm.weight, state["norm.weight"])
    assert torch.equal(core.gated_prompts.static_prompt.flatten(0, 1), state["adapter_query.weight"])


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda s: s.pop("layers.0.attention.wq_bias"), r"lacks the key '.*layers\.0\.self_attn\.q_proj\.bias'"),
        (lambda s: s.update({"layers.0.attention.wz.weight": torch.zeros(1)}), r"unknown key 'attention\.wz\.weight'"),
        (lambda s: s.update({"nose.weight": torch.zeros(1)}), r"unknown key 'nose\.weight'"),
        (lambda s: s.update({"norm.weight": torch.zeros(3)}), r"norm\.weight' has shape \(3,\), expected \(16,\)"),
        (lambda s: s.pop("layers.2.attention.gate"), "layer 2 has prompts but no gate"),
    ],
    ids=["missing", "unknown in a layer", "unknown", "wrong shape", "no gate"],
)  # fmt: skip
def test_what_does_not_fit_is_named(change, said):
    state = base_weights()
    change(state)
    with pytest.raises(CheckpointError, match=said):
        load(make_core(), translated(state), base=True)


def test_an_adapter_for_another_base_is_refused():
    """Silent babble on a wrong base model is what people met most."""
    state = base_weights()
    with pytest.raises(CheckpointError, match=r"the checkpoint has the unknown key .*layers\.3"):
        load(make_core(), translated({**state, "layers.3.attention.wq_bias": torch.zeros(WIDTH)}), base=True)


def test_shards_are_put_together(tmp_path):
    state = base_weights()
    rows, columns = ("wq", "wk", "wv", "w1", "w3", "output"), ("wo", "w2", "tok_embeddings")
    paths = []
    for shard in range(2):
        own = {}
        for name, value in state.items():
            module = name.rpartition(".")[0].rpartition(".")[2] if name.endswith(".weight") else ""
            linear, _, beside = name.rpartition(".")[2].rpartition("_")
            if module in rows or (beside == "bias" and linear in rows):
                value = value.chunk(2, 0)[shard]
            elif module in columns:
                value = value.chunk(2, 1)[shard]
            elif (beside == "scale" and linear in columns) or name == "":
                value = value.chunk(2, 0)[shard]
            elif name.endswith(".gate"):
                value = value.chunk(2, 1)[shard]
            own[name] = value.contiguous()
        paths.append(tmp_path / f"consolidated.{shard:02}.pth")
        torch.save({"model": own} if shard == 0 else own, paths[-1])
    joined = read_shards(paths)
    assert joined.keys() == state.keys()
    assert [name for name in state if not torch.equal(joined[name], state[name])] == []


class Trap:
    def __reduce__(self):
        return exec, ("raise SystemExit('a pickle was opened')",)


def test_files_that_hold_no_weights(tmp_path):
    path = tmp_path / "adapter.pth"
    path.write_bytes(pickle.dumps(Trap(), protocol=2))
    with pytest.raises(CheckpointError, match="cannot be read as weights"):
        read_shards([path])
    torch.save({"model": {"layers": 3}}, path)
    with pytest.raises(CheckpointError, match="no state dict of tensors"):
        read_shards([path])
    with pytest.raises(CheckpointError, match="cannot be read as weights"):
        read_shards([tmp_path / "nothing.pth"])
    save_file({"norm.weight": torch.ones(2)}, tmp_path / "a.safetensors")
    save_file({"output.weight": torch.ones(2)}, tmp_path / "b.safetensors")
    assert read_shards([tmp_path / "a.safetensors"]).keys() == {"norm.weight"}
    with pytest.raises(CheckpointError, match=r"'norm\.weight' is in 1 of 2 shards"):
        read_shards([tmp_path / "a.safetensors", tmp_path / "b.safetensors"])


def test_the_tower_of_clip_is_kept_apart():
    state = {"clip.visual.proj": torch.ones(2, 2), "clip.logit_scale": torch.ones(()), "norm.weight": torch.ones(2)}
    assert clip_weights(state).keys() == {"proj"}
    assert translated(state).keys() == {"language_model.model.norm.weight"}
