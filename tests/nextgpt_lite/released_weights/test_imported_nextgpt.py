"""NExT-GPT's imported folders compute what its code computed: losses of its stages, what its decoders get."""

import pytest
import torch

from nextgpt_lite.model import AnyToAnyCore, caption_loss, language_loss
from nextgpt_lite.released_weights.prompts import legacy
from nextgpt_lite.signal_tokens import SignalTable
from tests.nextgpt_lite.released_weights import published_nextgpt as published
from tests.nextgpt_lite.released_weights.test_imported_numbers import check, imported
from tests.parity import nextgpt_model
from tests.parity.cases import Comparison
from tests.parity.nextgpt_formula import noise
from tests.parity.nextgpt_model import LOSS, legacy_vocabulary
from tests.parity.nextgpt_prompts import LEGACY_EXTRA, LEGACY_TURNS, tokenizer_of


def moved(core: AnyToAnyCore, ids: list[int], first: int) -> list[int]:
    """Ids of a table whose signals begin at ``first`` as the core's own."""
    return [i - first + core.table.first_signal if i >= first else i for i in ids]


def test_newest(tmp_path, monkeypatch):
    given = published.newest_files(tmp_path, golden_numbers=True)
    core = imported("nextgpt", given, tmp_path).core
    assert core.config.input_projection == "group" and core.config.input_tokens == 3
    made = nextgpt_model.newest

    def with_imported(case, modalities):
        reference = made(case, modalities)
        first = reference.core.table.first_signal
        reference.ours = dict(zip(reference.ours, moved(core, list(reference.ours.values()), first), strict=True))
        reference.core = core
        return reference

    monkeypatch.setattr(nextgpt_model, "newest", with_imported)
    check(nextgpt_model.losses(published.golden("train_losses")))
    check(nextgpt_model.generation(published.golden("generate")))


@torch.no_grad()
def test_first_release(tmp_path):
    case = published.golden("legacy_train")
    model = imported("nextgpt_legacy", published.legacy_files(tmp_path, golden_numbers=True), tmp_path)
    core, vocabulary = model.core, legacy_vocabulary(case)
    assert (core.table.first, tuple(core.config.conditions["audio"])) == (102, (1, 24))
    assert model.tokenizer.convert_tokens_to_ids(["<Img>", "</Img>"]) == [100, 101]
    tokenizer, table = tokenizer_of(vocabulary, LEGACY_EXTRA)
    shapes = {"image": (1, 77, 32), "video": (2, 77, 32), "audio": (3, 24)}
    for key, reference in case.group("outputs/").items():
        stage, _, modality = key.partition(".")
        if stage == "stage1":  # needs the original's vectors behind its projection
            continue
        asked, answered = LEGACY_TURNS[stage]
        ids, labels = legacy([("human", asked), ("gpt", f"{answered}<{modality}>")], tokenizer, table)
        own, told = (moved(core, each, table.first_signal) for each in (ids, labels))
        row = torch.tensor([own])
        output = core(row)
        text = language_loss(output.logits, torch.tensor([told]))
        condition = core.conditions(row, output.last_hidden_state, modality)
        caption = caption_loss(condition, noise(*shapes[modality]).view(condition.shape))
        total = text + (2 if stage == "stage3" else 1) * caption
        check([Comparison(key, torch.stack([total, caption]), reference, LOSS)])


def test_the_table_of_the_first_release_has_its_order():
    table = SignalTable(102, {"image": 4, "video": 24, "audio": 8})
    vocabulary = legacy_vocabulary(published.golden("legacy_train"))
    signals = [name for name in table.names if "_" in name]
    assert sorted(signals, key=vocabulary.__getitem__) == signals


@pytest.mark.parametrize("make", [published.newest_files, published.legacy_files])
def test_lora_comes_with_it(make, tmp_path):
    name = "nextgpt" if make is published.newest_files else "nextgpt_legacy"
    core = imported(name, make(tmp_path), tmp_path).core
    lora = core.config.lora
    assert lora is not None and (lora["r"], lora["target_modules"]) == (2, ["q_proj", "v_proj"])
    assert lora["lora_alpha"] == (6 if name == "nextgpt" else 2)
