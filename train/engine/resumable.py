"""A Trainer whose checkpoints are atomic, and from which a run resumes exactly."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import torch
from safetensors.torch import save_file
from torch import nn
from transformers import Trainer

from train.engine import processes
from train.engine.checkpoints import Belonging, DiskError, aside_of, disk_errors, flush, publish, step_of
from train.engine.ema import ExponentialMovingAverage
from train.engine.integrity import HASHES, seal
from train.engine.loss_shares import PartMeans
from train.engine.sampling import ResumableStream
from train.engine.trained_state import TrainedState
from train.engine.validation import Validation
from train.task import Task

MODEL, AVERAGE, STREAM, LOG_WINDOW = "model.safetensors", "ema.safetensors", "stream.json", "log_window.json"
OPTIMISER, SCHEDULE, TRAINER_STATE = "optimizer.pt", "scheduler.pt", "trainer_state.json"


class ResumableTrainer(Trainer):
    """Writes checkpoints atomically; restores what is trained, average, optimiser, random states, stream and log."""

    task: Task
    run_dir: Path
    belonging: Belonging
    trained: TrainedState
    ema: ExponentialMovingAverage | None
    stream: ResumableStream | None
    part_means: PartMeans
    validation: Validation
    lr_scheduler: Any
    _tr_loss: torch.Tensor  # Trainer's sum of losses since the last log
    _steps_done = 0
    _unread_random_state: str | None = None

    def train(self, resume_from_checkpoint=None, *args, **kwargs):
        if resume_from_checkpoint:
            folder = Path(resume_from_checkpoint)
            self._steps_done = step_of(folder)
            self.validation.load(folder)
            if self.stream is not None and self.stream.keeps_state:
                self.stream.load(folder / STREAM)
        return super().train(resume_from_checkpoint, *args, **kwargs)

    def _run_epoch(self, *args, **kwargs) -> None:
        """A run whose last checkpoint is written has nothing left to train, where Trainer would do one step more."""
        if self.state.global_step < self.state.max_steps and not self.validation.ended:
            super()._run_epoch(*args, **kwargs)
        else:
            super()._load_rng_state(kwargs["resume_from_checkpoint"])
            self.control.should_training_stop = True

    def get_batch_samples(self, epoch_iterator, num_batches, device):
        batches = super().get_batch_samples(map(self.task.finish, epoch_iterator), num_batches, device)
        if self._unread_random_state is not None:
            checkpoint, self._unread_random_state = self._unread_random_state, None
            super()._load_rng_state(checkpoint)
        return batches

    def _save_checkpoint(self, model: nn.Module, trial) -> None:
        final = self.run_dir / f"checkpoint-{self.state.global_step}"
        for write in (self._write_checkpoint, self._seal_checkpoint):
            self._write_together(write, aside_of(final))
        if self.args.should_save:
            publish(final)
        self.accelerator.wait_for_everyone()

    def _write_together(self, write: Callable[[Path], None], folder: Path) -> None:
        """Write a part of a checkpoint in every process. DiskError in all of them where one could not."""
        failure = None
        try:
            with disk_errors(f"the checkpoint of step {self.state.global_step}", self.run_dir):
                write(folder)
        except DiskError as error:
            failure = error
        [failed] = processes.sum_over_processes([float(failure is not None)], self.args.device)
        if failed:
            shutil.rmtree(folder, ignore_errors=True)
            step = self.state.global_step
            raise failure or DiskError(f"another process could not write the checkpoint of step {step}")

    def _write_checkpoint(self, folder: Path) -> None:
        """Gather first, which all processes must do together; then write, which may fail in one of them."""
        sharded, main = processes.is_sharded(self.task.model), self.args.should_save
        weights = self.trained_tensors()
        optimiser = processes.whole_optimiser_state(self._plain_optimiser(), main) if sharded else None
        average = self.ema.state() if self.ema is not None else {}
        window = self._log_window()
        folder.mkdir(parents=True, exist_ok=True)
        self._save_rng_state(str(folder))
        if self.is_deepspeed_enabled:
            self._save_optimizer_and_scheduler(str(folder))
        if not main:
            return
        save_file(weights, folder / MODEL)
        if sharded:
            torch.save(optimiser, folder / OPTIMISER)
            torch.save(self.lr_scheduler.state_dict(), folder / SCHEDULE)
        elif not self.is_deepspeed_enabled:
            self._save_optimizer_and_scheduler(str(folder))
        if average:
            save_file(average, folder / AVERAGE)
        if self.stream is not None and self.stream.keeps_state:
            self.stream.save(folder / STREAM, self.state.global_step)
        (folder / LOG_WINDOW).write_text(json.dumps(window) + "\n", encoding="utf-8")
        self.state.save_to_json(str(folder / TRAINER_STATE))
        self.validation.save(folder)
        self.belonging.write(folder)

    def _seal_checkpoint(self, folder: Path) -> None:
        """When every process has written its files."""
        if self.args.should_save:
            flush(folder)
            seal(folder)
            flush(folder / HASHES)

    def trained_tensors(self) -> dict[str, torch.Tensor]:
        """What is trained, whole, on the main process; on others {} where shards are gathered. A collective call."""
        if self.is_deepspeed_enabled:
            whole = cast("dict[str, torch.Tensor] | None", self.accelerator.get_state_dict(self.model_wrapped))
            return self.trained.select(whole or {})
        own = self.trained.select(self.task.model.state_dict())
        return processes.whole_tensors(own, keep=self.args.should_save)

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: nn.Module | None = None) -> None:
        folder = Path(resume_from_checkpoint)
        self.trained.load(self.task.model, folder / MODEL)
        if self.ema is not None:
            self.ema.load(folder / AVERAGE)

    def _load_optimizer_and_scheduler(self, checkpoint: str | None) -> None:
        if checkpoint is None or not processes.is_sharded(self.task.model):
            super()._load_optimizer_and_scheduler(checkpoint)
            return
        folder = Path(checkpoint)
        processes.load_whole_optimiser_state(self._plain_optimiser(), folder / OPTIMISER)
        self.lr_scheduler.load_state_dict(torch.load(folder / SCHEDULE, weights_only=True))

    def _load_rng_state(self, checkpoint: str | None) -> None:
        """Trainer calls this once when it resumes, as its first step begins."""
        super()._load_rng_state(checkpoint)
        if checkpoint is not None:
            self._restore_log_window(Path(checkpoint) / LOG_WINDOW)
            if self.args.ignore_data_skip:  # the loader is yet to be opened, which draws a random number
                self._unread_random_state = checkpoint

    def _log_window(self) -> dict[str, Any]:
        """What has been summed since the last log: without it the curve of a resumed run would differ there."""
        loss = processes.mean_over_processes({"loss": self._tr_loss.item()})["loss"]
        parts = processes.mean_over_processes(self.part_means.sums)
        return {"loss": loss, "logged": self._globalstep_last_logged, "parts": parts}

    def _restore_log_window(self, path: Path) -> None:
        window = json.loads(path.read_text(encoding="utf-8"))
        self._tr_loss += window["loss"]
        self._globalstep_last_logged, self.part_means.sums = window["logged"], window["parts"]

    def _plain_optimiser(self) -> Any:
        return getattr(self.optimizer, "optimizer", self.optimizer)
