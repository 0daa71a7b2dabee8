"""Conversions: what is read equals what was written, and nothing of a pickle is executed."""

import io
import pickle
import struct
import zipfile

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    LlamaConfig,
    WhisperConfig,
    WhisperForConditionalGeneration,
)
from transformers.models.llama.modeling_llama import rotate_half

from nextgpt_lite.parts import ctranslate_whisper, gguf_llama
from nextgpt_lite.parts.convert import CONVERTERS, Wheels
from nextgpt_lite.parts.lock import read_lock
from nextgpt_lite.parts.pickled_tensors import read_pickled_tensors


def archive_of(value) -> bytes:
    buffer = io.BytesIO()
    torch.save(value, buffer)
    return buffer.getvalue()


def test_every_part_has_a_converter():
    assert list(read_lock()) == list(CONVERTERS)


def test_pickled_tensors_are_those_that_torch_reads():
    whole = torch.arange(24, dtype=torch.float32).reshape(4, 6)
    state = {"whole": whole, "view": whole[1:3, ::2], "turned": whole.T, "half": whole.half(), "steps": torch.tensor(7)}
    read, labels = read_pickled_tensors(archive_of((state, {"a name": np.int64(3)})))
    assert read.keys() == state.keys()
    for name, value in state.items():
        torch.testing.assert_close(read[name], value, rtol=0, atol=0)
    assert list(labels) == ["a name"]


class Harm:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return open, (str(self.path), "w")


@pytest.mark.parametrize("inside", [lambda harm: harm, lambda harm: ({"weight": torch.ones(2)}, harm)])
def test_a_pickle_that_asks_for_a_function_is_refused_and_not_run(inside, tmp_path):
    path = tmp_path / "written"
    with pytest.raises(ValueError, match=r"it asks for .*open, which is not read"):
        read_pickled_tensors(archive_of(inside(Harm(path))))
    assert not path.exists()


def test_what_is_no_archive_of_tensors_is_refused():
    with pytest.raises(ValueError, match="not a PyTorch archive of tensors"):
        read_pickled_tensors(pickle.dumps({"weight": 1}))
    cut = archive_of({"weight": torch.ones(1000)})[:2000]
    with pytest.raises(ValueError, match="not a PyTorch archive of tensors"):
        read_pickled_tensors(cut)


def test_a_storage_that_is_too_short_is_refused():
    whole = zipfile.ZipFile(io.BytesIO(archive_of({"weight": torch.ones(8)})))
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as damaged:
        for name in whole.namelist():
            damaged.writestr(name, whole.read(name)[: 8 if "/data/" in name else None])
    with pytest.raises(ValueError, match="not a PyTorch archive of tensors"):
        read_pickled_tensors(buffer.getvalue())


def test_the_trunk_for_sound_effects_is_taken_without_its_heads(tmp_path):
    state = {"embedding_net.conv.weight": torch.rand(2, 3), "fc.0.weight": torch.rand(4, 2)}
    with zipfile.ZipFile(tmp_path / "a.whl", "w") as wheel:
        wheel.writestr("aisfx/models/checkpoint.pth", archive_of((state, {"set": (np.int64(0), 4)})))
    CONVERTERS["aisfx"](Wheels(tmp_path), tmp_path)
    converted = load_file(tmp_path / "model.safetensors")
    assert converted.keys() == {"conv.weight"}
    assert converted["conv.weight"].equal(state["embedding_net.conv.weight"])


def test_rows_of_queries_and_keys_move_so_that_both_rotations_agree():
    """GGUF rotates channels 2i and 2i + 1 by angle i, transformers i and i + half."""
    torch.manual_seed(0)
    heads, head_width, width = 3, 8, 12
    weight, state, angles = torch.rand(heads * head_width, width), torch.rand(width), torch.rand(head_width // 2)
    pairs = (weight @ state).view(heads, -1, 2)
    even, odd = pairs[..., 0], pairs[..., 1]
    turned = torch.stack([even * angles.cos() - odd * angles.sin(), odd * angles.cos() + even * angles.sin()], -1)
    moved = gguf_llama.arrange("blk.0.attn_q.weight", weight, {"q": heads, "k": 1})
    halves = (moved @ state).view(heads, head_width)
    both = torch.cat([angles, angles])
    result = halves * both.cos() + rotate_half(halves) * both.sin()
    torch.testing.assert_close(result, torch.cat([turned[..., 0], turned[..., 1]], -1))
    assert gguf_llama.arrange("blk.0.attn_v.weight", weight, {"q": heads, "k": 1}) is weight


def test_names_of_a_llama_are_all_known():
    config = LlamaConfig(
        hidden_size=8, intermediate_size=8, num_hidden_layers=2, num_attention_heads=2, vocab_size=9,
        tie_word_embeddings=True,
    )  # fmt: skip
    own = set(AutoModelForCausalLM.from_config(config).state_dict()) - {"lm_head.weight"}
    names = ["token_embd.weight", "output_norm.weight"]
    names += [f"blk.{layer}.{name}.weight" for layer in range(2) for name in gguf_llama.BLOCK]
    assert {gguf_llama.rename(name) for name in names} == own
    assert gguf_llama.rename("output.weight") == "lm_head.weight"


def test_tokenizer_of_a_gguf_file(tmp_path):
    words = ["<|endoftext|>", "<|im_start|>", "<|im_end|>", "a", "b", "ab", "Ġ", "1", "2", "12", "ĠĠ"]
    values = {
        "tokenizer.ggml.pre": "smollm",
        "tokenizer.ggml.tokens": words,
        "tokenizer.ggml.token_type": [3, 3, 3] + [1] * 8,
        "tokenizer.ggml.merges": ["a b", "1 2", "Ġ Ġ"],
        "tokenizer.chat_template": "{% for message in messages %}{{ message['content'] }}{% endfor %}",
        "llama.context_length": 64,
    }
    tokens = {"bos": 1, "eos": 2, "padding": 2, "unknown": 0}
    gguf_llama._write_tokenizer(values, tokens, tmp_path)
    gguf_llama.write_object(tmp_path / "config.json", {"model_type": "llama"})
    tokenizer = AutoTokenizer.from_pretrained(tmp_path)
    assert tokenizer.tokenize("ab12  1<|im_end|>") == ["ab", "1", "2", "ĠĠ", "1", "<|im_end|>"], "digits stand alone"
    assert tokenizer.decode(tokenizer("ab 12").input_ids) == "ab 12"
    assert (tokenizer.bos_token, tokenizer.eos_token, tokenizer.pad_token) == (
        "<|im_start|>",
        "<|im_end|>",
        "<|im_end|>",
    )
    assert tokenizer.apply_chat_template([{"role": "user", "content": "ab"}], tokenize=False) == "ab"
    with pytest.raises(ValueError, match="unknown way to split text: 'gpt2'"):
        gguf_llama._write_tokenizer({**values, "tokenizer.ggml.pre": "gpt2"}, tokens, tmp_path)


@pytest.fixture
def whisper():
    torch.manual_seed(0)
    config = WhisperConfig(
        vocab_size=60, num_mel_bins=8, d_model=16, encoder_layers=2, decoder_layers=3, encoder_attention_heads=2,
        decoder_attention_heads=2, encoder_ffn_dim=24, decoder_ffn_dim=24, max_source_positions=20,
        max_target_positions=12, decoder_start_token_id=2, bos_token_id=1, eos_token_id=1, pad_token_id=1,
    )  # fmt: skip
    return WhisperForConditionalGeneration(config).half().eval()


def ctranslate(model) -> bytes:
    """The model in CTranslate2's layout: the inverse of the conversion, with fused projections."""
    state = {name.removeprefix("model."): value for name, value in model.state_dict().items()}
    variables = {"encoder/num_heads": torch.tensor(2, dtype=torch.int16), "decoder/pre_norm": torch.tensor(1).char()}
    for name, value in state.items():
        if name in ("proj_out.weight",) or "k_proj" in name or "v_proj" in name:
            continue
        key = name.replace("layers.", "layer_")
        if "self_attn.q_proj" in name or "encoder_attn.q_proj" in name:
            others = [name.replace("q_proj", "k_proj"), name.replace("q_proj", "v_proj")]
            parts = [state.get(other, torch.zeros_like(value)) for other in others]
            attention = name.split(".")[3]
            if attention == "self_attn":
                key, value = key.replace("self_attn.q_proj", "self_attention/linear_0"), torch.cat([value, *parts])
            else:
                fused = key.replace("encoder_attn.q_proj", "attention/linear_1").replace(".", "/")
                variables[fused] = torch.cat(parts)
                key = key.replace("encoder_attn.q_proj", "attention/linear_0")
        for new, old in {
            "self_attn_layer_norm": "self_attention/layer_norm", "encoder_attn_layer_norm": "attention/layer_norm",
            "self_attn.out_proj": "self_attention/linear_1", "encoder_attn.out_proj": "attention/linear_2",
            "final_layer_norm": "ffn/layer_norm", "fc1": "ffn/linear_0", "fc2": "ffn/linear_1",
            "embed_positions.weight": "position_encodings/encodings", "embed_tokens": "embeddings",
        }.items():  # fmt: skip
            key = key.replace(new, old)
        key = key.replace(".", "/")
        if "layer_norm" in key:
            key = key.replace("/weight", "/gamma").replace("/bias", "/beta")
        variables[key] = value
    return packed(variables)


def packed(variables, version=6) -> bytes:
    kinds = {torch.float16: 4, torch.int16: 2, torch.int8: 1}

    def text(value):
        return struct.pack("<H", len(value) + 1) + value.encode() + b"\0"

    content = struct.pack("<I", version) + text("WhisperSpec") + struct.pack("<II", 3, len(variables))
    for name, value in variables.items():
        data = value.contiguous().numpy().tobytes()
        content += text(name) + struct.pack(f"<B{value.ndim}I", value.ndim, *value.shape)
        content += struct.pack("<BI", kinds[value.dtype], len(data)) + data
    return content + struct.pack("<I", 0)


SETTINGS = {"suppress_ids": [5], "suppress_ids_begin": [6], "alignment_heads": [[0, 0]]}
TOKENIZER = {
    "added_tokens": [{"content": c, "id": i} for i, c in enumerate(("", *ctranslate_whisper.SPECIAL.values()))]
}


def test_whisper_of_ctranslate2_gives_the_same_logits(whisper, tmp_path):
    ctranslate_whisper.convert(ctranslate(whisper), SETTINGS, TOKENIZER, tmp_path)
    model, found = WhisperForConditionalGeneration.from_pretrained(
        tmp_path, dtype=torch.float32, output_loading_info=True
    )
    assert not found["missing_keys"] and not found["unexpected_keys"]
    sound, tokens = torch.rand(1, 8, 40), torch.tensor([[2, 7, 9]])
    given = whisper.float()(input_features=sound, decoder_input_ids=tokens).logits
    torch.testing.assert_close(model(input_features=sound, decoder_input_ids=tokens).logits, given)
    assert model.generation_config.no_timestamps_token_id == 3
    assert model.generation_config.max_length == 12


def test_another_layout_of_ctranslate2_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"unknown layout of CTranslate2: \(5, 'WhisperSpec', 3\)"):
        ctranslate_whisper.convert(packed({}, version=5), SETTINGS, TOKENIZER, tmp_path)
