"""The study of long contexts at a tiny size: base and extension trained by recipe, both measured by the command."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from data.passkey import ANSWER, PasskeyDocument
from data.texts import read_texts
from evaluation.long_context import SCORED, by_depth, verdicts, windows_of
from nextgpt_lite.cli import main
from nextgpt_lite.long_context.merge import merged_model
from nextgpt_lite.long_context.streaming import final_losses, tells_passkey
from train.recipe import RecipeError, read_recipe
from train.run import run_recipe
from train.task import build_task

RECIPES = Path(__file__).parents[2] / "train/recipes"
SHORT, LONG = 320, 640
QUICK = {"steps": 2, "warmup": 0.0, "tracker": "none", "bf16": False, "threads": 1}
SIZES = {"vocabulary": 400, "hidden_size": 16, "layers": 2, "heads": 2, "intermediate_size": 24}


@pytest.fixture(scope="module")
def texts(tmp_path_factory):
    """Three texts of made-up sentences, the shortest of them the one that is kept back."""
    folder, rng = tmp_path_factory.mktemp("texts"), np.random.default_rng(0)
    words = ["bell", "drum", "bird", "the", "a", "pass key", "is", "green", "grass", "what", "sun", "1789", "again"]
    for name, count in (("a", 4000), ("b", 3000), ("held_out", 1200)):
        (folder / f"{name}.txt").write_text(" ".join(rng.choice(words, count)) + ".", encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def base(texts, tmp_path_factory):
    """A trained base, and the figures of its own evaluation."""
    folder = tmp_path_factory.mktemp("study")
    settings = SIZES | {"texts": str(texts), "length": SHORT, "rows": 2, "passkey_tokens": 640, "scored_rows": 2}
    recipe = replace(
        read_recipe(RECIPES / "text_language_model.yaml"), model=str(folder / "model"), task_settings=settings, **QUICK
    )
    return folder / "model", run_recipe(recipe, folder / "run")


def extension(model, texts, **settings):
    known = {"length": LONG, "rows": 4, "group": SHORT, "passkey_tokens": 640, "passkey_longest": SHORT}
    known |= {"passkey_shortest": 0, "spread": SHORT // 2, "cuts": 0}
    recipe = read_recipe(RECIPES / "text_context_extension.yaml")
    small = recipe.task_settings | {"lora": recipe.task_settings["lora"] | {"r": 2}}
    chosen = small | known | {"texts": str(texts)} | settings
    return replace(recipe, model=str(model), task_settings=chosen, **QUICK)


@pytest.fixture(scope="module")
def extended(base, texts, tmp_path_factory):
    model, _ = base
    run_recipe(extension(model, texts), tmp_path_factory.mktemp("extension"))
    return model


def test_the_base_names_what_it_was_trained_on(base, texts):
    model, figures = base
    split = json.loads((model / "texts.json").read_text())
    assert set(split["trained_on"]) == {"a.txt", "b.txt"} and set(split["held_out"]) == {"held_out.txt"}
    assert figures["perplexity"] > 1 and figures["passkeys"] in (0.0, 0.5, 1.0)
    tokenizer = AutoTokenizer.from_pretrained(model / "tokenizer")
    assert [tokenizer.decode([i]) for i in tokenizer(" 17.")["input_ids"]] == [" ", "1", "7", "."]
    assert AutoModelForCausalLM.from_pretrained(model / "language_model").config.max_position_embeddings == SHORT


def test_the_extension_reads_all_texts_but_those_held_out(base, texts):
    model, _ = base
    task = build_task(extension(model, texts))
    tokens = [len(task.tokenizer(text.content)["input_ids"]) for text in read_texts(texts)]
    fits = (sum(tokens) - tokens[-1]) // LONG
    assert len(build_task(extension(model, texts, rows=fits - 1)).dataset) == fits - 1
    with pytest.raises(RecipeError, match="too few"):
        build_task(extension(model, texts, rows=fits))
    with pytest.raises(RecipeError, match=f"spread is {LONG + 1}"):
        build_task(extension(model, texts, spread=LONG + 1))
    item = task.collate([task.dataset[0]])
    assert item["input_ids"].shape == (1, LONG)
    assert item["passkey_ids"].shape[1] <= SHORT < item["passkey_positions"].max() < LONG
    losses = task.model.train()(**item)
    parts = losses["text_loss"] + losses["passkey_loss"] + losses["spread_loss"]
    torch.testing.assert_close(losses["loss"], parts)


def test_the_command_measures_before_and_after(extended, texts, tmp_path, capsys):
    lengths = f"{LONG},{SHORT}"
    arguments = ["--model", str(extended), "--data", str(texts), "--lengths", lengths, "--count", "2"]
    assert main(["evaluate", "long_context", *arguments, "--out", str(tmp_path)]) == 0
    results = json.loads((tmp_path / "results.json").read_text())
    assert results["texts"] == ["held_out.txt"] and results["count"] == 2
    printed = capsys.readouterr().out
    assert "passkey accuracy, after" in printed and "perplexity at 640 tokens; at 320 before extension" in printed
    for value in (results["metrics"]["before"]["perplexity"], results["metrics"]["after"]["passkey"]):
        assert "".join(f"{value[str(length)]:>9.3f}" for length in (SHORT, LONG)) in printed
    page = (tmp_path / "report.html").read_text()
    assert page.count("<svg") == 3 and page.count("<polyline") == 6 and "depth 0.6 to 0.8" in page
    for when, model in (
        ("before", AutoModelForCausalLM.from_pretrained(extended / "language_model", dtype=torch.float32)),
        ("after", merged_model(extended / "language_model", extended / "context_adapter")),
    ):
        ids = AutoTokenizer.from_pretrained(extended / "tokenizer")((texts / "held_out.txt").read_text())["input_ids"]
        rows = torch.stack(windows_of([ids], LONG, 2, seed=0))
        for length in (SHORT, LONG):
            logits = model.eval()(rows[:, -length:]).logits[:, -SCORED - 1 : -1]
            expected = torch.nn.functional.cross_entropy(logits.flatten(0, 1), rows[:, -SCORED:].flatten()).exp()
            assert results["metrics"][when]["perplexity"][str(length)] == pytest.approx(expected.item(), rel=1e-4)
            slid = [torch.tensor(ids[start : start + length])[None] for start in (0, SCORED)]
            with torch.no_grad():
                losses = [model(each, labels=each).loss for each in slid]  # as LongLoRA's evaluation takes them
            assert results["metrics"][when]["sliding_perplexity"][str(length)] == pytest.approx(
                torch.stack(losses).mean().exp().item(), rel=1e-4
            )


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        (["--data", "{gone}"], "no folder of texts at"),
        (["--lengths", "512,many"], "--lengths must be numbers of tokens between commas, not '512,many'"),
        (["--lengths", "200"], "length 200 is too short"),
        (["--lengths", "99999"], "the longest held-out text has"),
        (["--data", "{trained}"], "trained on every text in"),
        (["--model", "{gone}"], "lacks tokenizer"),
    ],
)
def test_bad_input_ends_in_a_sentence(base, texts, tmp_path, capsys, changes, said):
    (tmp_path / "trained").mkdir()
    (tmp_path / "trained/renamed.txt").write_text((texts / "a.txt").read_text())
    changes = [c.format(gone=tmp_path / "gone", trained=tmp_path / "trained") for c in changes]
    arguments = ["--model", str(base[0]), "--data", str(texts), *changes, "--out", str(tmp_path / "out")]
    assert main(["evaluate", "long_context", *arguments]) == 2
    error = capsys.readouterr().err
    assert said in error and error.strip().count("\n") == 0
    assert not (tmp_path / "out").exists()


def test_texts_and_lengths_belong_to_this_suite(capsys):
    assert main(["evaluate", "long_context"]) == 2
    assert "give --data FOLDER" in capsys.readouterr().err
    assert main(["evaluate", "any_to_any", "--lengths", "512"]) == 2
    assert "belongs to the suite needles, long_context" in capsys.readouterr().err


def test_a_passkey_is_right_when_greedy_decoding_gives_it(base):
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_pretrained(base[0] / "language_model", dtype=torch.float32).eval()
    prompt = torch.randint(4, 300, (1, 20))
    with torch.no_grad():
        ids = prompt
        for _ in range(3):
            ids = torch.cat([ids, model(ids).logits[:, -1:].argmax(-1)], 1)
    row = ids[0].tolist()
    roles = [0] * 20 + [ANSWER] * 3
    assert tells_passkey(model, PasskeyDocument(row, roles))
    for place in (20, 21, 22):
        wrong = [*row[:place], (row[place] + 1) % 300, *row[place + 1 :]]
        assert not tells_passkey(model, PasskeyDocument(wrong, roles))
    assert final_losses(model, ids[0], 3).shape == (3,)


def test_windows_stay_inside_their_text_and_spread_over_all_places():
    rows = [list(range(0, 30)), list(range(100, 105)), list(range(200, 220))]
    windows = windows_of(rows, 10, 40, seed=1)
    assert len(windows) == 40 and all(len(window) == 10 for window in windows)
    assert all(bool((window.diff() == 1).all()) for window in windows)
    starts = [int(window[0]) for window in windows]
    assert starts == sorted(starts) and min(starts) < 3 and max(starts) > 205
    with pytest.raises(ValueError, match="has 30 tokens: expected 31 at least"):
        windows_of(rows, 31, 2, seed=1)


def test_the_grid_of_passkeys_has_a_row_a_depth():
    assert by_depth([True, False, True, True, False, False, True, True, True, True]) == {
        "0.0 to 0.2": 0.5, "0.2 to 0.4": 1.0, "0.4 to 0.6": 0.0, "0.6 to 0.8": 1.0, "0.8 to 1.0": 1.0,
    }  # fmt: skip
    assert by_depth([True, True]) == {"0.2 to 0.4": 1.0, "0.6 to 0.8": 1.0}


def test_verdicts_are_about_the_extended_model():
    def measured(perplexity, passkey):
        return {"perplexity": {"512": 20.0, "8192": perplexity}, "passkey": {"512": 1.0, "8192": passkey}}

    assert verdicts({"before": measured(900.0, 0.0)}) == []
    good = verdicts({"before": measured(900.0, 0.0), "after": measured(19.0, 0.9)})
    assert [row[3] for row in good] == [True, True, True]
    bad = verdicts({"before": measured(900.0, 0.0), "after": measured(20.1, 0.85)})
    assert [row[3] for row in bad] == [False, False, False]


def test_rows_cut_anew_bring_new_passkey_documents(base, texts):
    model, _ = base
    task = build_task(extension(model, texts, rows=4, held_out=1, cuts=9))
    items = [task.dataset[index] for index in range(9)]
    whole = build_task(extension(model, texts, rows=4, held_out=1, cuts=0))
    stream = torch.cat([whole.dataset[index]["input_ids"][0] for index in range(4)])
    windows = {tuple(row.tolist()) for row in stream.unfold(0, LONG, 1)}
    assert len(whole.dataset) == 4 and len(task.dataset) == 9
    assert all(tuple(item["input_ids"].squeeze(0).tolist()) in windows for item in items)
    assert len({str(item["input_ids"].tolist()) for item in items}) > 4
    assert len({str(item["passkey_ids"].tolist()) for item in items}) == 9
