"""A whole run: the task built, trained, exported, evaluated and recorded."""

import logging
import sys
import time
from contextlib import ExitStack
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import torch

from data.atomic import recover_folders, write_json
from nextgpt_lite.checkpoint import RUN_RECORD, update_manifest
from train.engine.checkpoints import Belonging, checkpoints, clear_leftovers, disk_errors, remove
from train.engine.epochs import describe
from train.engine.identity import base_identity, data_identity
from train.engine.integrity import Found, newest_whole
from train.engine.interruption import Interruption
from train.engine.locks import component_locked, export_locked, run_locked
from train.engine.processes import join_processes, on_main_process
from train.engine.progress import peak_memory_gib
from train.engine.speed import compiled_blocks, full_precision_attention
from train.engine.trainer import TaskTrainer
from train.own_folder import share_components
from train.recipe import Recipe, RecipeError
from train.task import Task, build_task

log = logging.getLogger(__name__)


def run_recipe(recipe: Recipe, run_dir: str | Path, resume: bool = False, overwrite: bool = False) -> dict[str, float]:
    """Train, export into the recipe's model folder, and return the task's own evaluation.

    ``resume`` goes on from the newest whole checkpoint in ``run_dir``; where there is none at all it starts afresh. A
    folder that holds a run needs ``resume``, or ``overwrite``, which removes its checkpoints. What is written:
    checkpoints and ``run.json`` (recipe, seconds, figures) in ``run_dir``; components and, as soon as there is a core,
    the manifest in ``recipe.model``, but where a part of the model was tuned that no run has made
    (:meth:`train.task.Task.export_folder`); and in ``run_dir`` a manifest with the core of this run, so that it is a
    model folder. Of several processes the main one writes; the others return no figures.

    Raises:
        RecipeError: for a recipe that cannot be run, or that is not the one of the checkpoint to resume from, for data
            or a base that have changed since, for checkpoints that are all damaged, for a folder or a component that
            another run writes, and for a folder that holds a run where neither ``resume`` nor ``overwrite`` is said.
        NonFiniteLossError: when the loss is NaN or infinite.
        DiskError: when something cannot be written.
        Interrupted: after SIGINT or SIGTERM. While steps are trained a checkpoint is written first.
    """
    torch.set_num_threads(recipe.threads)
    started = time.monotonic()
    join_processes()
    with Interruption() as interruption, ExitStack() as locks:
        run = Run(recipe, Path(run_dir), resume, overwrite, interruption)
        found = on_main_process(lambda: run.enter(locks))
        trainer = run.prepare(found.checkpoint, locks)
        locks.enter_context(trainer.run_log.ending())
        run.train(trainer, found.checkpoint)
        if not _gather_on_main_process(trainer):
            return {}
        run.export(trainer.task)
        figures = trainer.task.evaluate()
        record = {
            "recipe": recipe.written(),
            "steps": trainer.args.max_steps,
            "seconds": round(time.monotonic() - started, 1),
            "threads": recipe.threads,
            "peak_memory_gib": peak_memory_gib(),
            "best": asdict(trainer.validation.best) if recipe.best else None,
            "resumed": {"from": found.checkpoint and found.checkpoint.name, "refused": found.refused},
            "figures": {name: round(float(value), 5) for name, value in figures.items()},
        }
        with disk_errors(RUN_RECORD, run.folder):
            write_json(run.folder / RUN_RECORD, record)
    return figures


@dataclass
class Run:
    """The steps of :func:`run_recipe`."""

    recipe: Recipe
    folder: Path
    resume: bool
    overwrite: bool
    interruption: Interruption

    def enter(self, locks: ExitStack) -> Found:
        """Lock the folder, on the main process, and find the checkpoint to go on from."""
        locks.enter_context(run_locked(self.folder))
        there = checkpoints(self.folder) or (self.folder / RUN_RECORD).is_file()
        if there and not (self.resume or self.overwrite):
            raise RecipeError(f"{self.folder} holds a run already: --resume goes on with it, --overwrite starts afresh")
        found = newest_whole(self.folder) if self.resume else Found(None, [])
        for sentence in found.refused:
            log.warning("%s: the run goes on from %s", sentence, found.checkpoint and found.checkpoint.name)
        return found

    def prepare(self, checkpoint: Path | None, locks: ExitStack) -> TaskTrainer:
        """Build the task and its trainer; refuse what does not fit the checkpoint before anything is written."""
        state, model = join_processes(), Path(self.recipe.model)
        belonging = Belonging(self.recipe, state.num_processes, data_identity(self.recipe.task_settings))
        if checkpoint is not None:
            belonging.check(checkpoint)
        if state.is_main_process and model.is_dir():
            with export_locked(model):
                recover_folders(model)
        with state.main_process_first():
            torch.manual_seed(self.recipe.seed)
            task = build_task(self.recipe)
        trainer = TaskTrainer(task, self.recipe, self.folder)  # refuses bad parts before anything is written
        base = on_main_process(lambda: self._lock_and_identify(task, locks))
        trainer.belonging = replace(belonging, base=base)
        if checkpoint is not None:
            trainer.belonging.check(checkpoint)
        with state.main_process_first(), disk_errors("the folder of the run", self.folder):
            if state.is_main_process:  # remove unfinished writes and, for a new run, the checkpoints of an old one
                clear_leftovers(self.folder)
                for old in () if self.resume else checkpoints(self.folder):
                    remove(old)
            task.begin(self.folder, self.resume)
        return trainer

    def _lock_and_identify(self, task: Task, locks: ExitStack) -> dict[str, str]:
        if task.export_folder(self.folder) == task.model_dir:
            locks.enter_context(component_locked(task.model_dir, task.writes()))
        return base_identity(task)

    def train(self, trainer: TaskTrainer, checkpoint: Path | None) -> None:
        """All steps that are left. Interrupted where a signal has ended them."""
        if trainer.args.should_save:
            print(describe(trainer.epoch, trainer.args.max_steps), file=sys.stderr)
        trainer.add_callback(self.interruption)
        with full_precision_attention(), compiled_blocks(trainer.task.model, self.recipe.torch_compile):
            trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)
        self.interruption.end(trainer.state.global_step, self.folder, trainer.args.device)

    def export(self, task: Task) -> None:
        """Write the component and the manifest. With a core the folder of the run is a model of its own too: that core,
        and links to the other parts."""
        target = task.export_folder(self.folder)
        with disk_errors("the trained component", target), export_locked(target):
            target.mkdir(parents=True, exist_ok=True)
            task.export(target)
            if target == task.model_dir:
                update_manifest(target, task.output)
        if task.output is not None:
            with disk_errors("the model of the run", self.folder):
                if target != self.folder:
                    task.export(self.folder)
                share_components(task.model_dir, self.folder, task.output, task.left_out())


def _gather_on_main_process(trainer: TaskTrainer) -> bool:
    """Give the main process the whole trained model, the average or the best weights applied; the others end. Whether
    this is the main one."""
    task, main = trainer.task, trainer.args.should_save
    weights = trainer.trained_tensors() if trainer.shards else {}
    average = trainer.ema.state() if trainer.ema is not None else {}
    state = join_processes()
    state.wait_for_everyone()
    state.destroy_process_group()  # from here on the main process works alone
    if not main:
        return False
    if trainer.whole_model is not None:
        task.model = trainer.whole_model
        task.model.load_state_dict(weights, strict=False)
    if best := trainer.validation.weights:
        trainer.trained.load(task.model, best)
    else:
        parameters = dict(task.model.named_parameters())
        with torch.no_grad():
            for name, value in average.items():
                parameters[name].copy_(value)
    task.model.cpu().eval()  # where the batches of evaluate() are
    return True
