"""The engine: a transformers Trainer that runs a Task by a Recipe, resumably, in one process or many."""

import copy
import math
import os
from collections.abc import Sized
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch.utils.data import IterableDataset, Sampler
from transformers import ProgressCallback, TrainingArguments

from train.engine.checkpoints import Belonging, disk_errors
from train.engine.ema import ExponentialMovingAverage
from train.engine.epochs import Epoch, steps_of
from train.engine.lora import with_faster_b
from train.engine.loss_shares import ALL, PartMeans, shares, total_denominators
from train.engine.processes import is_requested, shard_on_cpu, sum_over_processes, with_all_reduced
from train.engine.progress import Meter, RunLog, ThroughputBar, peak_memory_gib
from train.engine.resumable import ResumableTrainer
from train.engine.sampling import ResumableStream, StepSampler
from train.engine.trained_state import TrainedState
from train.engine.validation import Validation
from train.recipe import NonFiniteLossError, Recipe, RecipeError
from train.task import Task, train_only, trainable_groups


class TaskTrainer(ResumableTrainer):
    """Trains ``task.model`` with one learning rate a part; checkpoints are written atomically."""

    def __init__(self, task: Task, recipe: Recipe, run_dir: Path) -> None:
        self.task, self.recipe, self.run_dir = task, recipe, run_dir
        self.meter, self.part_means = Meter(), PartMeans()
        self.groups = with_faster_b(trainable_groups(task, recipe), task.model, recipe.lora_b_ratio)
        arguments = _training_arguments(recipe, run_dir)
        _check_compatible(task, recipe, arguments.world_size)
        self.samples_per_step = recipe.batch_size * recipe.gradient_accumulation_steps * arguments.world_size
        data = task.dataset
        self.epoch = Epoch.of(data, self.samples_per_step)
        arguments.max_steps = steps_of(recipe, self.epoch)
        arguments.warmup_steps = int(recipe.warmup * arguments.max_steps)
        self.stream = ResumableStream(data, self.samples_per_step) if isinstance(data, IterableDataset) else None
        # A stream that knows where it is goes on from there; of others, the batches already seen are skipped.
        arguments.ignore_data_skip = self.stream is not None and self.stream.keeps_state
        dataset = task.dataset if self.stream is None else self.stream
        super().__init__(task.model, arguments, train_dataset=dataset, data_collator=task.collate)
        self.create_optimizer()
        self.model_accepts_loss_kwargs = False
        self.ema = ExponentialMovingAverage(task.model, recipe.ema) if recipe.ema else None
        self.belonging = Belonging(recipe, arguments.world_size)
        self.trained = TrainedState(task.model, task.stored)
        # Sharded, a model cannot be exported: the main process keeps a whole one to fill at the end.
        self.shards = self.is_fsdp_enabled or self.is_deepspeed_enabled
        self.whole_model = copy.deepcopy(task.model) if self.shards and self.args.should_save else None
        self.pop_callback(ProgressCallback)
        self.add_callback(ThroughputBar())
        self.run_log = RunLog(run_dir, recipe.written())
        self.add_callback(self.run_log)
        self.validation = Validation(self, recipe, run_dir)
        self.add_callback(self.validation)
        if self.args.process_index:  # noise and dropout of their own for each process
            torch.manual_seed(recipe.seed + self.args.process_index)

    def create_accelerator_and_postprocess(self) -> None:
        super().create_accelerator_and_postprocess()
        shard_on_cpu(self.accelerator)
        self.is_fsdp_enabled = getattr(self.accelerator.state, "fsdp_plugin", None) is not None

    def create_optimizer(self, model=None) -> torch.optim.Optimizer:
        """AdamW over the task's groups, which Trainer does not know. Fused, it updates in one pass."""
        if self.optimizer is None:
            self.optimizer = torch.optim.AdamW(self.groups, betas=self.recipe.betas, fused=True)
        return self.optimizer

    def _get_train_sampler(self, train_dataset=None) -> Sampler[int] | None:
        dataset = self.task.dataset
        if self.stream is not None or not isinstance(dataset, Sized):
            return None
        sampler = StepSampler(len(dataset), self.samples_per_step, self.recipe.seed, self.task.sample_groups())
        # A loader that skips batches does not set the epoch of its sampler where there are several processes.
        sampler.set_epoch(self._steps_done // (len(sampler) // self.samples_per_step))
        return sampler

    def _get_num_items_in_batch(self, batch_samples, device):
        """What each part of the step's loss is a mean over; None where the step is one batch or all weigh the same."""
        if len(batch_samples) * self.args.world_size == 1:
            return None
        return total_denominators(self.task, batch_samples, device)

    def compute_loss(self, model, inputs, return_outputs=False, num_items_in_batch=None):
        totals: Any = num_items_in_batch  # of a step's denominators, see _get_num_items_in_batch
        own = {} if totals is None else shares(self.task, inputs, totals, self.args.world_size)
        by_part = bool(own) and ALL not in own
        outputs = model(**inputs, shares=own) if by_part else model(**inputs)
        loss = outputs["loss"]
        self._stop_unless_finite(loss, inputs)
        self.loss_is_scaled_for_ga = totals is not None
        loss = loss * own[ALL] if ALL in own else loss
        if self.is_fsdp_enabled:
            loss = with_all_reduced(model, loss)
        parts = [(name, value) for name, value in outputs.items() if name != "loss"]
        self.part_means.add(parts, own, 1.0 / self.current_gradient_accumulation_steps)
        self.meter.count(inputs, self.recipe.batch_size)
        return (loss, outputs) if return_outputs else loss

    def training_step(self, model, inputs, num_items_in_batch=None):
        with train_only(self.task, self.task.trainable_parts(inputs)):
            loss = super().training_step(model, inputs, num_items_in_batch)
        if self.ema is not None and self.accelerator.sync_gradients:
            # Called before the optimiser step: the average lags one step, which does not matter to it.
            self.ema.update(self.task.model, self.state.global_step)
        return loss

    def _stop_unless_finite(self, loss: torch.Tensor, inputs: dict[str, Any]) -> None:
        """Stop all processes when the loss of one is NaN or infinite; that one saves its batch."""
        finite = math.isfinite(float(loss.detach()))
        [failed] = sum_over_processes([float(not finite)], loss.device)
        if not failed:
            return
        step, path = self.state.global_step, self.run_dir / "non_finite_batch.safetensors"
        if finite:
            raise NonFiniteLossError(f"the loss of another process is not finite at step {step}")
        if self.args.world_size > 1:
            path = path.with_stem(f"{path.stem}_{self.args.process_index}")
        tensors = {name: value.detach().cpu().contiguous() for name, value in inputs.items() if torch.is_tensor(value)}
        with disk_errors("the batch whose loss is not finite", self.run_dir):
            self.run_dir.mkdir(parents=True, exist_ok=True)
            save_file(tensors, path)
        raise NonFiniteLossError(f"the loss is not finite at step {step}; its batch is in {path}")

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """Adds the parts of the loss, samples and tokens a second and peak memory to what Trainer logs."""
        if "loss" in logs:
            before = next((int(entry["step"]) for entry in reversed(self.state.log_history) if "loss" in entry), 0)
            logs |= self.part_means.means(self.state.global_step - before)
            seen = sum_over_processes([self.meter.samples, self.meter.tokens], self.args.device)
            logs |= self.meter.rates(*seen) | {"peak_memory_gib": peak_memory_gib()}
        if self.stream is not None:  # of which Trainer would count from the resumed step on
            self.state.epoch = self.state.global_step / self.state.max_steps
        super().log(logs, start_time)


def _check_compatible(task: Task, recipe: Recipe, processes: int) -> None:
    """RecipeError for what the engine cannot do with this task."""
    batches = recipe.gradient_accumulation_steps * processes
    in_turns = type(task).trainable_parts is not Task.trainable_parts
    if in_turns and is_requested("FSDP"):
        raise RecipeError(f"task {recipe.task!r} trains parts in turns, which FSDP cannot: expected DDP")
    if batches > 1 and in_turns and task.sample_groups() is None:
        limit = f"gradient_accumulation_steps x processes must be 1, not {batches}"
        raise RecipeError(f"{limit}: a step of this task trains one group")
    if recipe.evaluate_every and (is_requested("FSDP") or is_requested("DEEPSPEED")):
        raise RecipeError(f"evaluate_every must be 0 where the model is sharded, not {recipe.evaluate_every}")
    if recipe.ema and is_requested("DEEPSPEED"):
        raise RecipeError(f"ema must be 0 with DeepSpeed, not {recipe.ema}: it holds the weights itself")
    check_precision(task, recipe)
    if recipe.gradient_checkpointing and not hasattr(task.model, "gradient_checkpointing_enable"):
        raise RecipeError(f"gradient_checkpointing must be false: task {recipe.task!r} has no layers that can be")


def check_precision(task: Task, recipe: Recipe) -> None:
    """RecipeError where weights in half precision would be trained, or meet others without autocast."""
    own = {parameter.dtype for parameter in task.model.parameters() if parameter.dtype.is_floating_point}
    if torch.bfloat16 in own and not recipe.bf16:
        raise RecipeError("bf16 must be true where the language model is held in bfloat16")
    if any(p.requires_grad and p.dtype != torch.float32 for p in task.model.parameters()):
        raise RecipeError("precision must be float32 where the language model itself is trained, not bfloat16")


def _training_arguments(recipe: Recipe, run_dir: Path) -> TrainingArguments:
    os.environ["TENSORBOARD_LOGGING_DIR"] = str(run_dir / "tensorboard")
    arguments = TrainingArguments(
        output_dir=str(run_dir),
        per_device_train_batch_size=recipe.batch_size,
        gradient_accumulation_steps=recipe.gradient_accumulation_steps,
        lr_scheduler_type=recipe.schedule,
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
        accelerator_config={"dispatch_batches": False},  # each process reads its own share of a stream
    )
    # transformers has renamed the argument; both names are in the range that pyproject.toml admits.
    new, old = "activation_checkpointing", "gradient_checkpointing"
    setattr(arguments, new if hasattr(arguments, new) else old, recipe.gradient_checkpointing)
    return arguments
