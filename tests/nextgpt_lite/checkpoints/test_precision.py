"""A model in half precision answers, with media in and out; decoders that are kept aside decode; what is trained stays
in full precision around a base that is not."""

import numpy as np
import pytest
import torch

from nextgpt_lite import AnyToAny
from nextgpt_lite.language_models import load_language_model
from tests.tiny_model import saying
from tests.train.short_recipes import stage
from train.engine.trainer import TaskTrainer
from train.recipe import RecipeError
from train.task import build_task

IMAGE = {"type": "image", "array": np.full((40, 40, 3), 99, np.uint8)}
QUESTION = [{"role": "user", "content": [IMAGE, {"type": "text", "text": "a red bell"}]}]


def test_a_conversation_in_bfloat16_with_decoders_kept_aside(tiny_folder):
    model = AnyToAny.from_pretrained(tiny_folder, precision="bfloat16", offload=True)
    assert {parameter.dtype for parameter in model.core.parameters()} == {torch.bfloat16}
    with saying(model, [QUESTION], [["image", "audio"]]) as length:
        reply = model.chat(QUESTION, max_new_tokens=length, steps=2)
    assert {medium.modality for medium in reply.media} == {"image", "audio"}
    assert model.decoders["image"].network.dtype == torch.bfloat16
    exact = AnyToAny.from_pretrained(tiny_folder)
    near = exact.encode(IMAGE)
    assert torch.nn.functional.cosine_similarity(near, model.encode(IMAGE), dim=0) > 0.99


def test_an_unknown_precision_is_refused(tiny_folder):
    with pytest.raises(ValueError, match="unknown precision 'bf8': expected one of float32, bfloat16, float16"):
        load_language_model(tiny_folder / "language_model", precision="bf8")


@pytest.mark.filterwarnings("ignore:Mismatch dtype")  # torch's, of a norm under autocast
def test_a_stage_trains_in_full_precision_around_a_base_in_bfloat16(tiny_folder, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    recipe = stage("instruction_tuning", tiny_folder, bf16=True, steps=1)
    recipe.task_settings["precision"] = "bfloat16"
    task = build_task(recipe)
    trainer = TaskTrainer(task, recipe, tmp_path / "run")
    before = [parameter.clone() for group in trainer.groups for parameter in group["params"]]
    trainer.train()
    trained = [parameter for group in trainer.groups for parameter in group["params"]]
    assert {parameter.dtype for parameter in trained} == {torch.float32}
    assert any(not torch.equal(a, b) for a, b in zip(before, trained, strict=True))
    base = task.model.core.language_model.get_input_embeddings().weight
    assert base.dtype == torch.bfloat16 and not base.requires_grad
    for changes in ({"bf16": False}, {"learning_rates": {**recipe.learning_rates, "language_model": 1e-4}}):
        wrong = stage("instruction_tuning", tiny_folder, **{"bf16": True, **changes})
        wrong.task_settings["precision"] = "bfloat16"
        with pytest.raises(RecipeError, match=r"bf16 must be true|precision must be float32"):
            TaskTrainer(build_task(wrong), wrong, tmp_path / "other")
