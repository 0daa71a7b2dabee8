"""The exported file in llama.cpp: the same tokens, and the same greedy continuation as the merged model's."""

import json

import pytest
import torch
import xllamacpp as llama
from transformers import AutoModelForCausalLM, AutoTokenizer

from nextgpt_lite.checkpoint import update_manifest
from nextgpt_lite.cli import main
from nextgpt_lite.config import CoreConfig
from nextgpt_lite.core_checkpoint import add_lora, load_core, new_core, save_core
from nextgpt_lite.language_models import read_config
from tests.nextgpt_lite.compose.test_sentencepiece import train_sentencepiece, without_tokenizer
from tests.tiny_transformers import save_clip, save_qwen3

PROMPTS = ("Draw a large yellow car on a meadow.", "h\u00e9llo, 12 bells")


def serve(path):
    """llama.cpp with the file, on one thread."""
    params = llama.CommonParams()
    params.model.path = str(path)
    params.n_ctx, params.n_predict, params.n_parallel = 512, 8, 1
    params.cpuparams.n_threads = params.cpuparams_batch.n_threads = 1
    params.warmup = False
    return llama.Server(params)


def written(pieces) -> str:
    """Pieces of SentencePiece byte by byte, "" of others: Transformers gives up bytes around one that is no text."""
    if not any(piece.startswith(("<0x", "\u2581")) for piece in pieces):
        return ""
    each = [bytes([int(p[3:5], 16)]) if p.startswith("<0x") else p.replace("\u2581", " ").encode() for p in pieces]
    return b"".join(each).decode("utf-8", "replace")


def check(path, folder, prompts=PROMPTS):
    """Against the same language model as a folder of Transformers, in float32."""
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    server = serve(path)
    for prompt in prompts:
        ids = tokenizer(prompt, return_tensors="pt").input_ids
        asked = {"prompt": prompt, "n_predict": 6, "temperature": 0.0, "return_tokens": True, "n_probs": 5}
        reply = server.handle_completions({**asked, "cache_prompt": False})
        reply = json.loads(reply) if isinstance(reply, str) else reply
        choice = reply["choices"][0] if "choices" in reply else reply
        with torch.no_grad():
            own = model.generate(ids, max_new_tokens=6, do_sample=False, pad_token_id=0)[0, ids.shape[1] :]
        expected = written(tokenizer.convert_ids_to_tokens(own, skip_special_tokens=True)) or tokenizer.decode(
            own, skip_special_tokens=True
        )
        assert (choice.get("text") or choice.get("content")) == expected
        used = reply.get("usage", {}).get("prompt_tokens", reply.get("tokens_evaluated"))
        assert used == ids.shape[1]


def test_lora_is_merged(tiny_copy, tmp_path):
    """Llama of this project, a byte-level tokenizer."""
    core = load_core(tiny_copy / "core", tiny_copy / "language_model")
    add_lora(core, {"r": 2, "lora_alpha": 8, "target_modules": ["q_proj", "o_proj", "up_proj"]})
    torch.manual_seed(0)
    for name, parameter in core.named_parameters():
        if ".lora_" in name:
            torch.nn.init.normal_(parameter, std=0.3)
    save_core(core, tiny_copy / "core")
    update_manifest(tiny_copy)
    assert main(["export", str(tiny_copy), "--out", str(tmp_path / "plain")]) == 0
    out = tmp_path / "model.gguf"
    words = ["export", str(tiny_copy), "--format", "gguf", "--out", str(out)]
    assert main([*words, "--dtype", "float32"]) == 0
    check(out, tmp_path / "plain/language_model")


@pytest.mark.parametrize("kind", ["qwen3", "llama of SentencePiece"])
def test_other_language_models(kind, tmp_path):
    """Beside a core that reads and writes words."""
    if kind == "qwen3":
        folder = save_qwen3(tmp_path / "lm")
    else:
        file = train_sentencepiece(tmp_path)
        folder = without_tokenizer(tmp_path / "lm", file)
        (folder / "tokenizer.model").write_bytes(file.read_bytes())
    model, clip = tmp_path / "model", save_clip(tmp_path / "clip")
    template = ["chat_template=vicuna"] if kind != "qwen3" else []
    assert main(["compose", f"language_model={folder}", f"encoder={clip}", *template, "--out", str(model)]) == 0
    text = read_config(model / "language_model")
    fields = {"input_modalities": [], "signal_tokens": {}, "prompts": {"media_tokens": 0}}
    core = new_core(CoreConfig(text_config=text, first_added_token=text.vocab_size, **fields), model / "language_model")
    save_core(core, model / "core")
    update_manifest(model, "core")
    out = tmp_path / "model.gguf"
    assert main(["export", str(tmp_path / "model"), "--format", "gguf", "--out", str(out), "--dtype", "float32"]) == 0
    assert main(["export", str(tmp_path / "model"), "--out", str(tmp_path / "plain")]) == 0
    check(out, tmp_path / "plain/language_model")


def test_what_has_no_form_is_refused(tiny_copy, tmp_path, capsys):
    out = tmp_path / "model.gguf"
    assert main(["export", str(tiny_copy), "--format", "gguf", "--out", str(out), "--dtype", "int3"]) == 2
    assert "dtype 'int3' is unknown: expected one of float32, float16, bfloat16, q8_0" in capsys.readouterr().err
    config = tiny_copy / "language_model" / "config.json"
    config.write_text(config.read_text().replace('"silu"', '"gelu"'))
    update_manifest(tiny_copy)
    assert main(["export", str(tiny_copy), "--format", "gguf", "--out", str(out)]) == 2
    assert "llama.cpp computes llama with 'silu', not with 'gelu'" in capsys.readouterr().err and not out.exists()
    out.write_text("mine")
    assert main(["export", str(tiny_copy), "--format", "gguf", "--out", str(out)]) == 2
    assert "exists already: give a new file" in capsys.readouterr().err and out.read_text() == "mine"
