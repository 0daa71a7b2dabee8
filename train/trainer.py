"""The engine: a transformers Trainer that runs a Task by a Recipe, resumably.

``nextgpt-lite train train/recipes/image_vae.yaml`` ends here.
"""

from __future__ import annotations

import json
import os
import resource
import shutil
import time
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_model, save_file, save_model
from torch import nn
from transformers import Trainer, TrainingArguments

from train.ema import ExponentialMovingAverage
from train.lora_plus import with_faster_b
from train.precision import full_precision_attention
from train.recipe import NonFiniteLossError, Recipe, RecipeError
from train.task import Task, build_task, moving_only, trainable_groups

CHECKPOINTS_KEPT = 2


class TaskTrainer(Trainer):
    """Trains ``task.model`` with one learning rate a part; checkpoints are written aside and renamed."""

    def __init__(self, task: Task, recipe: Recipe, run_dir: Path) -> None:
        self.task, self.recipe, self.run_dir = task, recipe, run_dir
        self._part_sums: dict[str, float] = {}
        self._part_count = 0
        self._started = (time.monotonic(), 0)
        if recipe.accumulate > 1 and type(task).moved_by is not Task.moved_by:
            raise RecipeError(f"accumulate must be 1, not {recipe.accumulate}: a step of this task moves one group")
        groups = with_faster_b(trainable_groups(task, recipe), task.model, recipe.lora_b_ratio)
        self.ema = ExponentialMovingAverage(task.model, recipe.ema) if recipe.ema else None
        # The optimiser is built here, so that Trainer never guesses at groups; fused AdamW updates in one pass.
        optimiser = torch.optim.AdamW(groups, betas=recipe.betas, fused=True)
        super().__init__(
            model=task.model,
            args=_training_arguments(recipe, run_dir),
            train_dataset=task.dataset,
            data_collator=task.collate,
            optimizers=(optimiser, None),
        )
        self.model_accepts_loss_kwargs = False

    def compute_loss(self, model, inputs, return_outputs=False, num_items_in_batch=None):
        outputs = model(**inputs)
        loss = outputs["loss"]
        if not torch.isfinite(loss):
            self._write_batch_aside(inputs)
        for name, value in outputs.items():
            if name != "loss":
                self._part_sums[name] = self._part_sums.get(name, 0.0) + float(value)
        self._part_count += 1
        return (loss, outputs) if return_outputs else loss

    def training_step(self, model, inputs, num_items_in_batch=None):
        with moving_only(self.task, self.task.moved_by(inputs)):
            loss = super().training_step(model, inputs, num_items_in_batch)
        if self.ema is not None and self.accelerator.sync_gradients:
            # Called before the optimiser step: the average lags one step, which does not matter to it.
            self.ema.update(self.task.model, self.state.global_step)
        return loss

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """Adds the parts of the loss, samples a second and peak memory to what Trainer logs."""
        if "loss" in logs and self._part_count:
            logs |= {name: round(total / self._part_count, 5) for name, total in self._part_sums.items()}
            self._part_sums, self._part_count = {}, 0
            logs |= self._throughput()
        super().log(logs, start_time)

    def _throughput(self) -> dict[str, float]:
        now, step = time.monotonic(), self.state.global_step
        seconds, steps = now - self._started[0], step - self._started[1]
        self._started = (now, step)
        samples = steps * self.recipe.batch_size * self.recipe.accumulate * self.args.world_size
        return {"samples_per_second": round(samples / max(seconds, 1e-9), 1), "peak_memory_gib": peak_memory_gib()}

    def _write_batch_aside(self, inputs: dict[str, Any]) -> None:
        path = self.run_dir / "non_finite_batch.safetensors"
        save_file({k: v.detach().cpu().contiguous() for k, v in inputs.items() if torch.is_tensor(v)}, path)
        raise NonFiniteLossError(f"the loss is not finite at step {self.state.global_step}; its batch is in {path}")

    # -- checkpoints ------------------------------------------------------------------------------------------

    def _save(self, output_dir: str | None = None, state_dict: dict | None = None) -> None:
        folder = Path(output_dir or self.args.output_dir)
        folder.mkdir(parents=True, exist_ok=True)
        save_model(self.task.model, str(folder / "model.safetensors"))
        if self.ema is not None:
            save_file(self.ema.state(), folder / "ema.safetensors")

    def _save_checkpoint(self, model: nn.Module, trial) -> None:
        final = self.run_dir / f"checkpoint-{self.state.global_step}"
        aside = self.run_dir / f"writing-{final.name}"
        shutil.rmtree(aside, ignore_errors=True)
        self._save(str(aside))
        self._save_optimizer_and_scheduler(str(aside))
        self._save_rng_state(str(aside))
        self.state.save_to_json(str(aside / "trainer_state.json"))
        shutil.rmtree(final, ignore_errors=True)
        os.replace(aside, final)
        for old in checkpoints(self.run_dir)[:-CHECKPOINTS_KEPT]:
            shutil.rmtree(old)

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: nn.Module | None = None) -> None:
        folder = Path(resume_from_checkpoint)
        load_model(self.task.model, str(folder / "model.safetensors"))
        if self.ema is not None:
            self.ema.load(folder / "ema.safetensors")


def run_recipe(recipe: Recipe, run_dir: str | Path, resume: bool = False) -> dict[str, float]:
    """Train, export into the recipe's model folder, and return the task's own evaluation.

    ``resume`` goes on from the newest checkpoint in ``run_dir``; without one it starts afresh. What is
    written: checkpoints and ``run.json`` (recipe, seconds, figures) in ``run_dir``, components in
    ``recipe.model``.
    """
    run_dir = Path(run_dir)
    torch.set_num_threads(recipe.threads)
    torch.manual_seed(recipe.seed)
    started = time.monotonic()
    task = build_task(recipe)
    trainer = TaskTrainer(task, recipe, run_dir)  # refuses bad parts before anything is written
    run_dir.mkdir(parents=True, exist_ok=True)
    found = checkpoints(run_dir) if resume else []
    if not resume:
        for old in checkpoints(run_dir):
            shutil.rmtree(old)
    task.begin(run_dir, resume)
    with full_precision_attention():
        trainer.train(resume_from_checkpoint=str(found[-1]) if found else None)
    if trainer.ema is not None:
        trainer.ema.copy_to(task.model)
    task.model.eval()
    Path(recipe.model).mkdir(parents=True, exist_ok=True)
    task.export(Path(recipe.model))
    figures = task.evaluate()
    _write_run_record(run_dir, recipe, time.monotonic() - started, figures)
    return figures


def checkpoints(run_dir: Path) -> list[Path]:
    """Complete checkpoints of a run, oldest first."""
    return sorted(run_dir.glob("checkpoint-*"), key=lambda path: int(path.name.rpartition("-")[2]))


def peak_memory_gib() -> float:
    """Peak memory of this process in GiB: the GPU's where there is one, else resident memory."""
    if torch.cuda.is_available():
        return round(torch.cuda.max_memory_allocated() / 2**30, 2)
    return round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20, 2)


def _training_arguments(recipe: Recipe, run_dir: Path) -> TrainingArguments:
    os.environ["TENSORBOARD_LOGGING_DIR"] = str(run_dir / "tensorboard")
    return TrainingArguments(
        output_dir=str(run_dir),
        max_steps=recipe.steps,
        per_device_train_batch_size=recipe.batch_size,
        gradient_accumulation_steps=recipe.accumulate,
        activation_checkpointing=recipe.gradient_checkpointing,
        lr_scheduler_type=recipe.schedule,
        warmup_steps=int(recipe.warmup * recipe.steps),
        max_grad_norm=recipe.max_grad_norm,
        bf16=recipe.bf16,
        use_cpu=not torch.cuda.is_available(),
        seed=recipe.seed,
        data_seed=recipe.seed,
        save_strategy="steps",
        save_steps=recipe.checkpoint_every,
        logging_steps=recipe.log_every,
        logging_nan_inf_filter=False,
        report_to=recipe.tracker,
        remove_unused_columns=False,
        dataloader_drop_last=True,
        dataloader_pin_memory=torch.cuda.is_available(),
    )


def _write_run_record(run_dir: Path, recipe: Recipe, seconds: float, figures: dict[str, float]) -> None:
    record = {
        "recipe": recipe.__dict__,
        "seconds": round(seconds, 1),
        "threads": recipe.threads,
        "peak_memory_gib": peak_memory_gib(),
        "figures": {name: round(float(value), 5) for name, value in figures.items()},
    }
    aside = run_dir / "run.json.writing"
    aside.write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
    os.replace(aside, run_dir / "run.json")
