"""A whole run: the task built, trained, exported, evaluated and recorded."""

import time
from contextlib import suppress
from pathlib import Path

import torch

from data.atomic import write_json
from nextgpt_lite.checkpoint import RUN_RECORD, update_manifest
from train.engine.checkpoints import check_recipe, checkpoints, clear_leftovers, disk_errors, remove
from train.engine.processes import join_processes
from train.engine.progress import peak_memory_gib
from train.engine.speed import compiled_blocks, full_precision_attention
from train.engine.trainer import TaskTrainer
from train.recipe import Recipe, RecipeError
from train.task import build_task


def run_recipe(recipe: Recipe, run_dir: str | Path, resume: bool = False, overwrite: bool = False) -> dict[str, float]:
    """Train, export into the recipe's model folder, and return the task's own evaluation.

    ``resume`` goes on from the newest checkpoint in ``run_dir``; without one it starts afresh. A folder that holds a
    run needs ``resume``, or ``overwrite``, which removes its checkpoints. What is written: checkpoints and ``run.json``
    (recipe, seconds, figures) in ``run_dir``; components and, as soon as there is a core, the manifest in
    ``recipe.model``. Of several processes the main one writes; the others return no figures.

    Raises:
        RecipeError: for a recipe that cannot be run, or that is not the one of the checkpoint to resume from, and for a
            folder that holds a run where neither ``resume`` nor ``overwrite`` is said.
        NonFiniteLossError: when the loss is NaN or infinite.
        DiskError: when something cannot be written.
    """
    run_dir = Path(run_dir)
    torch.set_num_threads(recipe.threads)
    started = time.monotonic()
    state = join_processes()
    if not (resume or overwrite) and (checkpoints(run_dir) or (run_dir / RUN_RECORD).is_file()):
        raise RecipeError(f"{run_dir} holds a run already: --resume goes on with it, --overwrite starts afresh")
    found = checkpoints(run_dir)[-1:] if resume else []
    for checkpoint in found:
        check_recipe(checkpoint, recipe, state.num_processes)
    with state.main_process_first():
        torch.manual_seed(recipe.seed)
        task = build_task(recipe)
    trainer = TaskTrainer(task, recipe, run_dir)  # refuses bad parts before anything is written
    with state.main_process_first(), disk_errors("the folder of the run", run_dir):
        if state.is_main_process:  # remove unfinished writes and, for a new run, the checkpoints of an old one
            run_dir.mkdir(parents=True, exist_ok=True)
            clear_leftovers(run_dir)
            for old in () if resume else checkpoints(run_dir):
                remove(old)
        task.begin(run_dir, resume)
    with full_precision_attention(), compiled_blocks(task.model, recipe.torch_compile):
        trainer.train(resume_from_checkpoint=str(found[0]) if found else None)
    if not _gather_on_main_process(trainer):
        return {}
    with disk_errors("the trained component", Path(recipe.model)):
        Path(recipe.model).mkdir(parents=True, exist_ok=True)
        task.export(Path(recipe.model))
        with suppress(FileNotFoundError):  # a run beside this one is replacing its component, and updates it then
            update_manifest(Path(recipe.model), task.output)
    figures = task.evaluate()
    record = {
        "recipe": recipe.__dict__,
        "seconds": round(time.monotonic() - started, 1),
        "threads": recipe.threads,
        "peak_memory_gib": peak_memory_gib(),
        "figures": {name: round(float(value), 5) for name, value in figures.items()},
    }
    with disk_errors(RUN_RECORD, run_dir):
        write_json(run_dir / RUN_RECORD, record)
    return figures


def _gather_on_main_process(trainer: TaskTrainer) -> bool:
    """Give the main process the whole trained model, average applied; the others end. Whether this is the main one."""
    task, main = trainer.task, trainer.args.should_save
    weights = trainer.whole_weights()
    average = trainer.ema.state() if trainer.ema is not None else {}
    state = join_processes()
    state.wait_for_everyone()
    state.destroy_process_group()  # from here on the main process works alone
    if not main:
        return False
    if weights is not None and trainer.whole_model is not None:
        task.model = trainer.whole_model
        task.model.load_state_dict(weights, strict=False)
    parameters = dict(task.model.named_parameters())
    with torch.no_grad():
        for name, value in average.items():
            parameters[name].copy_(value)
    task.model.cpu().eval()  # where the batches of evaluate() are
    return True
