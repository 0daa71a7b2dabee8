"""Conversations drawn from a chat model itself: what is kept of them, where they break off, and going on."""

import json

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from train import distillation
from train.distillation import Distiller, cut, distil, fit_answer, fit_prompt, main, repeats
from train.foundations.language.language_model import train_tokenizer


def test_an_answer_that_breaks_off_is_cut_after_a_sentence():
    assert cut("First things first. Then comes the second. And the thi") == "First things first. Then comes the second."
    assert cut("- one thing\n- another thing\n- a thi") == "- one thing\n- another thing"
    assert cut("Short. But then there is a very long sentence that never ends because") == ""
    assert cut("pi is 3.14159 and so on without any") == ""


def test_what_repeats_itself_or_asks_for_media_is_left_out():
    assert fit_prompt("Why is the sky blue?") and not fit_prompt("Draw the sky") and not fit_prompt(" a ")
    assert fit_answer("Because of Rayleigh scattering.") and not fit_answer("")
    assert repeats("the cat sat on the mat " * 3) and not repeats("one two three four five six seven")
    line = "This is a line of some length."
    assert repeats(f"{line}\nsomething else\n{line}")


@pytest.fixture(scope="module")
def chat_model(tmp_path_factory):
    """A tiny Llama with a chat template."""
    folder, tokenizer = tmp_path_factory.mktemp("chat"), train_tokenizer(vocabulary=300, texts=20)
    torch.manual_seed(0)
    sizes = {"hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 1, "num_attention_heads": 2}
    LlamaForCausalLM(LlamaConfig(vocab_size=len(tokenizer), **sizes)).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def numbered(distiller, seed, number, size):
    return [{"messages": [{"role": "user", "content": f"{seed} {n}"}], "meta": {"batch": number}} for n in range(size)]


def test_the_stream_is_fixed_by_its_seed_and_goes_on(chat_model, tmp_path, monkeypatch):
    monkeypatch.setattr(distillation, "PROMPT_TOKENS", 6)
    monkeypatch.setattr(distillation, "ANSWER_TOKENS", 6)
    distiller = Distiller(chat_model)
    texts = distiller._generate([distiller.opening] * 3, 6, do_sample=False)
    assert len(texts) == 3 and texts[0] == texts[1] and distiller.opening
    # A model that has learned nothing says nothing of use: its batches come from here.
    monkeypatch.setattr(Distiller, "batch", numbered)
    distil(chat_model, tmp_path / "a.jsonl", count=6, size=2, seed=3)
    distil(chat_model, tmp_path / "b.jsonl", count=3, size=2, seed=3)
    with (tmp_path / "b.jsonl").open("a") as file:
        file.write('{"half a li')
    distil(chat_model, tmp_path / "b.jsonl", count=4, size=2, seed=3)
    first, second = ((tmp_path / name).read_text().splitlines() for name in ("a.jsonl", "b.jsonl"))
    assert len(first) == 6 and first[:3] == second[:3]
    assert [json.loads(line)["meta"]["batch"] for line in second] == [0, 0, 1, 2]


def test_wrong_arguments_are_refused(tmp_path, capsys):
    for arguments in (["--model", str(tmp_path)], ["--model", "x", "--count", "0"]):
        with pytest.raises(SystemExit) as error:
            main([*arguments, "--out", str(tmp_path / "out.jsonl")])
        assert error.value.code == 2
    assert not (tmp_path / "out.jsonl").exists() and "holds no model" in capsys.readouterr().err
