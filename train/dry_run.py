"""Report parts, data, memory and time of a recipe. Trains a few steps in memory; writes no run folder, no component.

What a task caches under ``.cache`` is computed here as well; the run then uses it.
"""

import tempfile
import time
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil
import torch
from torch import nn
from torch.autograd.graph import saved_tensors_hooks
from transformers import TrainerCallback
from transformers.trainer_utils import SaveStrategy

from train.engine.epochs import Epoch, describe, steps_of
from train.engine.progress import ThroughputBar
from train.engine.speed import full_precision_attention
from train.engine.trainer import TaskTrainer
from train.recipe import Recipe
from train.settings import setting_lines
from train.task import Task, build_task

#: Batches that are timed, after one that warms up.
TIMED = 3
#: Float32 copies of each trained value that AdamW keeps.
MOMENTS = 2
#: Bytes a token, layer and unit of width that a transformer keeps for the backward pass in 16 bits, attention fused
#: (2205.05198, Eq. 2 without its quadratic term), and those of a layer's input alone.
KEPT_BYTES, CHECKPOINTED_BYTES = 34, 2


def dry_run(recipe: Recipe) -> str:
    """The report on a recipe, as text. RecipeError where it could not be run."""
    torch.manual_seed(recipe.seed)
    torch.set_num_threads(recipe.threads)
    task = build_task(recipe)
    with tempfile.TemporaryDirectory() as folder:
        trainer = _MeasuringTrainer(task, recipe, Path(folder))
        lines = ["trains", *_parts(task, recipe), "", "on", *_data(task, recipe)]
        return "\n".join([*lines, "", "needs", *_needs(trainer, recipe)])


class _MeasuringTrainer(TaskTrainer):
    """Trains single batches, stores nothing, and measures what autograd keeps of each."""

    def __init__(self, task: Task, recipe: Recipe, folder: Path) -> None:
        steps = TIMED + 1
        never = {"checkpoint_every": steps + 1, "log_every": steps + 1, "tracker": "none"}
        self.steps = steps_of(recipe, Epoch.of(task.dataset, recipe.batch_size * recipe.gradient_accumulation_steps))
        never |= {"epochs": 0.0, "evaluate_every": 0, "best": "", "patience": 0}
        super().__init__(task, replace(recipe, steps=steps, gradient_accumulation_steps=1, **never), folder)
        self.args.save_strategy = SaveStrategy.NO
        self.saved, self.clock = _SavedTensors(task.model), _StepClock()
        self.pop_callback(ThroughputBar)
        self.add_callback(self.clock)

    def compute_loss(self, model, inputs, return_outputs=False, num_items_in_batch=None):
        with self.saved.count():
            return super().compute_loss(model, inputs, return_outputs, num_items_in_batch)


def _parts(task: Task, recipe: Recipe) -> list[str]:
    """A line a part: its rate, tensors, values, share of all; then what LoRA lies on."""
    total = sum(parameter.numel() for parameter in task.model.parameters())
    lines = [f"  {'part':24}{'rate':>10}{'tensors':>9}{'parameters':>15}{'share':>9}"]
    for name, parameters in task.parts().items():
        rate, size = recipe.learning_rates[name], sum(parameter.numel() for parameter in parameters)
        shown = f"{rate:g}" if rate else "frozen"
        lines.append(f"  {name:24}{shown:>10}{len(parameters):>9}{size:>15,}{size / total:>9.2%}")
    trained = sum(parameter.numel() for parameter in task.model.parameters() if parameter.requires_grad)
    lines.append(f"  {'trained of all':24}{'':>19}{trained:>15,}{trained / total:>9.2%}")
    targets = [f"{name} ({count})" for name, count in sorted(lora_targets(task.model).items())]
    return [*lines, "  LoRA on " + ", ".join(targets)] if targets else lines


def lora_targets(model: nn.Module) -> Counter[str]:
    """Last names of the layers that have LoRA, and how many have each."""
    return Counter(name.rpartition(".")[2] for name, module in model.named_modules() if hasattr(module, "lora_A"))


def _data(task: Task, recipe: Recipe) -> list[str]:
    """The data, the task's settings, and how often the data are seen."""
    batches = recipe.gradient_accumulation_steps
    lines = [f"  {line}" for line in (*task.describe_data(), *setting_lines(task.settings))]
    epoch = Epoch.of(task.dataset, recipe.batch_size * batches)
    steps = steps_of(recipe, epoch)
    batch = f"{recipe.batch_size}" + (f" x {batches}" if batches > 1 else "")
    epochs = f", {steps * epoch.per_step / epoch.items:.2f} epochs" if epoch is not None else ""
    return [*lines, f"  {steps:,} steps of {batch} items a process{epochs}", f"  {describe(epoch, steps)}"]


def _needs(trainer: _MeasuringTrainer, recipe: Recipe) -> list[str]:
    """Memory, summed from what is known and measured; time, from batches that were trained."""
    sizes = fixed_bytes(trainer.task.model, recipe)
    if sum(sizes.values()) - sizes["weights"] > free_bytes():  # the weights are there already
        kept = _estimated_activations(trainer)
        return [_memory(sizes | {"activations (estimated)": kept}), "  time: not measured, this machine is too small"]
    with full_precision_attention():
        trainer.train()
    kept = trainer.saved.most + (_estimated_activations(trainer) if recipe.gradient_checkpointing else 0)
    ends = trainer.clock.ends
    step = recipe.gradient_accumulation_steps * (ends[-1] - ends[0]) / TIMED
    device = "the GPU" if torch.cuda.is_available() else f"{recipe.threads} CPU thread(s)"
    time_line = f"  time: {_clock(step * trainer.steps)} ({step:.3g} s a step, from {TIMED} batches on {device})"
    return [_memory(sizes | {"activations (measured)": kept}), time_line]


def fixed_bytes(model: nn.Module, recipe: Recipe) -> dict[str, int]:
    """Bytes of weights, gradients, AdamW's moments and the running average, in one process."""
    weights = sum(tensor.numel() * tensor.element_size() for tensor in (*model.parameters(), *model.buffers()))
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    own = sum(parameter.numel() * parameter.element_size() for parameter in trained)
    average = sum(4 * parameter.numel() for parameter in trained) if recipe.ema else 0
    return {"weights": weights, "gradients": own, "optimiser": MOMENTS * own, "running average": average}


def free_bytes() -> int:
    """Memory that could be had here, on the GPU where there is one."""
    return torch.cuda.mem_get_info()[0] if torch.cuda.is_available() else psutil.virtual_memory().available


class _StepClock(TrainerCallback):
    """When each step ended: from one to the next passes the time of a step, data included."""

    def __init__(self) -> None:
        self.ends: list[float] = []

    def on_step_end(self, *args: Any, **kwargs: Any) -> None:
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        self.ends.append(time.monotonic())


class _SavedTensors:
    """Counts the bytes that autograd keeps for the backward pass, each storage once and weights not at all."""

    def __init__(self, model: nn.Module) -> None:
        self.weights = {parameter.untyped_storage().data_ptr() for parameter in model.parameters()}
        self.most = self.kept = 0
        self.seen: set[int] = set()

    def count(self) -> saved_tensors_hooks:
        self.kept, self.seen = 0, set(self.weights)
        return saved_tensors_hooks(self._note, lambda tensor: tensor)

    def _note(self, tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in self.seen:
            self.seen.add(storage.data_ptr())
            self.kept += storage.nbytes()
        self.most = max(self.most, self.kept)
        return tensor


def _estimated_activations(trainer: TaskTrainer) -> int:
    """What transformer layers keep of the first batch, by the formula; 0 for models without such layers.

    With checkpointing: the inputs of the layers, which autograd does not keep itself.
    """
    batch = next(iter(trainer.get_train_dataloader()))
    each = CHECKPOINTED_BYTES if trainer.recipe.gradient_checkpointing else KEPT_BYTES
    for module in trainer.task.model.modules():
        config: Any = getattr(module, "config", None)
        if hasattr(config, "num_hidden_layers") and "input_ids" in batch:
            return batch["input_ids"].numel() * config.num_hidden_layers * config.hidden_size * each
    return 0


def _memory(sizes: dict[str, int]) -> str:
    each = ", ".join(f"{name} {_size(size)}" for name, size in sizes.items() if size)
    return f"  memory: {_size(sum(sizes.values()))} a process: {each}"


def _size(count: int) -> str:
    return f"{count / 2**30:.2f} GiB" if count >= 2**29 else f"{count / 2**20:.1f} MiB"


def _clock(seconds: float) -> str:
    hours, rest = divmod(round(seconds), 3600)
    return f"{hours} h {rest // 60:02d} min" if hours else f"{rest // 60} min {rest % 60:02d} s"
