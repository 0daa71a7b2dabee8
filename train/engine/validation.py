"""Validation while a run trains: the task's own evaluation every so many steps, the best weights, an early end.

    checkpoint-N/validation.json   which evaluation was the best by then, and how many have followed it
    best.safetensors               what is trained, as it was exported at the best evaluation

What is evaluated is what would be exported: with the running average where there is one. It changes nothing in the run:
random states are put back, and weights that are averaged for it too.
"""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from transformers import TrainerCallback
from transformers.integrations.integration_utils import TensorBoardCallback

from data.atomic import atomic_file
from train.engine.checkpoints import disk_errors
from train.engine.processes import on_main_process
from train.recipe import Recipe, RecipeError

STATE, WEIGHTS = "validation.json", "best.safetensors"


@dataclass(frozen=True)
class Best:
    """The best evaluation so far: after which step, its figure, and how many evaluations followed it."""

    step: int = 0
    figure: float = 0.0
    since: int = 0

    def after(self, step: int, figure: float, sign: int) -> "Best":
        """With one evaluation more; ``sign`` is 1 where greater figures are better, -1 where smaller ones are."""
        if self.step == 0 or sign * figure > sign * self.figure:
            return Best(step, figure)
        return Best(self.step, self.figure, self.since + 1)


class Validation(TrainerCallback):
    """Evaluates ``trainer.task`` every ``recipe.evaluate_every`` steps and after the last one."""

    def __init__(self, trainer: Any, recipe: Recipe, run_dir: Path) -> None:
        self.trainer, self.recipe, self.run_dir = trainer, recipe, run_dir
        direction, _, self.figure = recipe.best.partition(" ")
        self.sign = 1 if direction == "greatest" else -1
        self.best = Best()

    @property
    def weights(self) -> Path | None:
        """The best weights; None where the last ones are to be exported."""
        return self.run_dir / WEIGHTS if self.recipe.best and self.best.step else None

    @property
    def ended(self) -> bool:
        """Whether as many evaluations have followed the best one as the recipe waits for."""
        return 0 < self.recipe.patience <= self.best.since

    def save(self, folder: Path) -> None:
        """Into a checkpoint."""
        if self.recipe.evaluate_every:
            (folder / STATE).write_text(json.dumps(asdict(self.best)) + "\n", encoding="utf-8")

    def load(self, folder: Path) -> None:
        """From a checkpoint."""
        if (folder / STATE).is_file():
            self.best = Best(**json.loads((folder / STATE).read_text(encoding="utf-8")))

    def on_step_end(self, args, state, control, **kwargs):
        """Evaluate where it is time to; Trainer writes checkpoints after this."""
        every = self.recipe.evaluate_every
        if every and (state.global_step % every == 0 or state.global_step == state.max_steps):
            log = control.should_log
            self._evaluate(state.global_step)
            control.should_log = log  # which what was logged now has reset
            if self.ended:
                control.should_save = control.should_training_stop = True

    def _evaluate(self, step: int) -> None:
        figures = on_main_process(self._figures)
        if self.recipe.best:
            if self.figure not in figures:
                known = ", ".join(sorted(figures)) or "none"
                raise RecipeError(f"best: the task has no figure {self.figure!r}: expected one of {known}")
            self.best = self.best.after(step, figures[self.figure], self.sign)
            if self.best.step == step:
                on_main_process(self._write)
        self.trainer.log({f"validation_{name}": value for name, value in figures.items()})

    def _figures(self) -> dict[str, float]:
        task = self.trainer.task
        with self._exported():
            figures = {name: float(value) for name, value in task.evaluate().items()}
            replies = task.sample_replies()
        if replies:
            self.trainer.run_log.replies(self.trainer.state.global_step, replies)
        for number, each in enumerate(replies):
            text = f"    {each.prompt}\n\n**says** {each.reply}\n\n**should say** {each.expected}"
            self._show(f"replies/{number}", text)
        return figures

    def _show(self, name: str, text: str) -> None:
        for callback in self.trainer.callback_handler.callbacks:
            if isinstance(callback, TensorBoardCallback) and callback.tb_writer is not None:
                callback.tb_writer.add_text(name, text, self.trainer.state.global_step)

    def _write(self) -> None:
        with self._exported(), disk_errors("the best weights", self.run_dir):
            tensors = self.trainer.trained.select(self.trainer.task.model.state_dict())
            with atomic_file(self.run_dir / WEIGHTS) as aside:
                save_file({name: value.contiguous() for name, value in tensors.items()}, aside)

    @contextmanager
    def _exported(self) -> Iterator[None]:
        """The model as it would be exported, on the device where evaluate() expects it, and all put back afterwards."""
        trainer, model = self.trainer, self.trainer.task.model
        parameters, device = dict(model.named_parameters()), trainer.args.device
        average = trainer.ema.average if trainer.ema is not None else {}
        before = {name: parameters[name].detach().clone() for name in average}
        training = {name: module.training for name, module in model.named_modules()}
        with torch.random.fork_rng(), torch.no_grad():
            for name, value in average.items():
                parameters[name].copy_(value)
            if not trainer.task.evaluates_anywhere:
                model.cpu()
            model.eval()
            try:
                yield
            finally:
                model.to(device)
                for name, value in before.items():
                    parameters[name].copy_(value)
                for name, module in model.named_modules():
                    module.training = training[name]
