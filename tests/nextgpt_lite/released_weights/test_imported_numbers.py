"""Imported folders compute what the published code computed: the golden cases through AnyToAny.from_pretrained."""

import pytest
import torch

from nextgpt_lite.any_to_any import AnyToAny
from nextgpt_lite.cli import main
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
