"""The training loop: transformers' Trainer around a module whose forward takes a batch and returns
its loss.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.utils.data import DistributedSampler
from transformers import Trainer, TrainerCallback, TrainingArguments

from training.data.images import Keyed, collate
from training.engine.best import Best
from training.engine.checkpoints import last_whole_checkpoint
from training.engine.optim import build_optimizer
from training.engine.schedule import Schedule


class LossIsNaNError(RuntimeError):
    """The loss or a weight is not finite; the last whole checkpoint is from before that."""


class _Progress(TrainerCallback):
    """Tells dataset and sampler their epoch, and the module how far the training is."""

    def __init__(self, module: Any, data: Keyed, sampler: DistributedSampler[Any]) -> None:
        self.module, self.data, self.sampler = module, data, sampler

    def on_epoch_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        self.data.set_epoch(int(state.epoch))
        self.sampler.set_epoch(int(state.epoch))

    def on_step_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        if hasattr(self.module, "on_progress"):
            self.module.on_progress(state.global_step / max(state.max_steps, 1))


class _StageTrainer(Trainer):
    """Trainer with this project's optimizer; logs the parts of the loss that the module reports."""

    schedule: Schedule
    sampler: DistributedSampler[Any]
    model: Any

    def _get_train_sampler(self, *_: Any) -> DistributedSampler[Any]:
        return self.sampler

    def create_optimizer(self, model: Any = None) -> torch.optim.Optimizer:
        if self.optimizer is None:
            self.optimizer = build_optimizer(
                self.model, self.schedule.lr, self.schedule.weight_decay
            )
        return self.optimizer

    def create_scheduler(self, num_training_steps: int, optimizer: Any = None) -> Any:
        if self.lr_scheduler is None:
            s = self.schedule

            def factor(step: int) -> float:
                done = step / num_training_steps
                return min(1.0, (done + 1 / num_training_steps) / s.warmup, (1 - done) / s.decay)

            self.lr_scheduler = torch.optim.lr_scheduler.LambdaLR(
                optimizer or self.create_optimizer(), factor
            )
        return self.lr_scheduler

    def compute_loss(
        self, model: Any, inputs: Any, return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Any:
        """The loss of a batch.

        Raises:
            LossIsNaNError: it is not finite; no step is made, so no checkpoint has it.
        """
        out = model(**inputs)
        if not torch.isfinite(out["loss"].detach()).all():
            loss, step = float(out["loss"].detach().mean()), self.state.global_step + 1
            raise LossIsNaNError(
                f"the loss is {loss} at step {step}; the last checkpoint in "
                f"{self.args.output_dir} is whole"
            )
        self._parts = {name: value for name, value in out.items() if name != "loss"}
        return (out["loss"], out) if return_outputs else out["loss"]

    def _save(
        self, output_dir: str | None = None, state_dict: dict[str, torch.Tensor] | None = None
    ) -> None:
        """A tensor with several names (tied embeddings, a tower of two models) is written under
        each: safetensors takes no aliases.

        Raises:
            LossIsNaNError: a weight is not finite, as after a finite loss with gradients that are
                not; nothing is written.
        """
        bad = [name for name, p in self.model.named_parameters() if not torch.isfinite(p).all()]
        if bad:
            raise LossIsNaNError(
                f"the weights {bad[0]} are not finite at step {self.state.global_step}; the last "
                f"whole checkpoint in {self.args.output_dir} is from before that"
            )
        whole: dict[str, torch.Tensor] = {}
        seen: set[int] = set()
        for name, tensor in (state_dict or self.model.state_dict()).items():
            whole[name] = tensor.clone() if tensor.data_ptr() in seen else tensor
            seen.add(tensor.data_ptr())
        super()._save(output_dir, whole)

    def log(self, logs: dict[str, float], *args: Any, **kwargs: Any) -> None:
        if "loss" in logs:
            logs |= {
                name: round(float(value), 5) for name, value in getattr(self, "_parts", {}).items()
            }
        super().log(logs, *args, **kwargs)


def is_first_process() -> bool:
    """Whether this process is the one, of those that train together, that writes what training ends
    in.
    """
    return not torch.distributed.is_initialized() or torch.distributed.get_rank() == 0


def train(
    module: nn.Module,
    data: Keyed,
    schedule: Schedule,
    out: Path,
    report: Callable[[str], None] = print,
    validate: Callable[[], dict[str, float]] | None = None,
) -> None:
    """Train `module` in place, resuming from the last whole checkpoint in `out` where there is one.

    `module(pixels, labels, keys)` returns a dict with `loss` and scalars to log. `torchrun` and
    `accelerate launch` work as with any Trainer; logs for TensorBoard lie in `out/runs`. With
    `validate` the module ends with the weights of its best epoch, as `Best` says.

    Raises:
        LossIsNaNError: training stops there; the checkpoint before stays.
        ValueError: the data do not make one batch, a logger is not installed, or this machine does
            not have the precision.
    """
    torch.manual_seed(schedule.seed)
    if not schedule.epochs:
        return
    schedule.check_loggers()
    if schedule.precision == "fp16" and not torch.cuda.is_available():
        raise ValueError("precision fp16 takes a GPU, and there is none; bf16 and fp32 do without")
    arguments = TrainingArguments(
        output_dir=str(out),
        num_train_epochs=schedule.epochs,
        per_device_train_batch_size=schedule.batch_size,
        dataloader_drop_last=True,
        dataloader_num_workers=schedule.num_workers,
        max_grad_norm=1.0,
        gradient_accumulation_steps=schedule.accumulate,
        bf16=schedule.precision == "bf16",
        fp16=schedule.precision == "fp16",
        use_cpu=not torch.cuda.is_available(),
        seed=schedule.seed,
        data_seed=schedule.seed,
        logging_strategy="steps" if schedule.log_steps else "no",
        logging_steps=schedule.log_steps or 1,
        logging_nan_inf_filter=False,
        save_steps=schedule.save_steps,
        save_total_limit=2,
        report_to=schedule.loggers,
        remove_unused_columns=False,
        ddp_find_unused_parameters=False,
        disable_tqdm=None if schedule.log_steps else True,
    )
    if len(data) < schedule.batch_size * arguments.world_size:
        raise ValueError(
            f"batch_size is {schedule.batch_size}, and there are {len(data)} pictures to train on "
            f"for {arguments.world_size} processes"
        )
    data.fresh_epochs = schedule.fresh_epochs
    # accelerate shares it out
    sampler: DistributedSampler[Any] = DistributedSampler(
        data, num_replicas=1, rank=0, seed=schedule.seed
    )
    trainer = _StageTrainer(
        model=module,
        args=arguments,
        train_dataset=data,
        data_collator=collate,  # type: ignore[arg-type]
        callbacks=[_Progress(module, data, sampler)],
    )
    trainer.schedule, trainer.sampler = schedule, sampler
    best = Best(module, validate, out, report) if validate else None
    if best:
        trainer.add_callback(best)
    last = last_whole_checkpoint(out)
    if last:
        report(f"resuming from {last}")
    trainer.train(resume_from_checkpoint=last)
    if best:
        best.restore()
