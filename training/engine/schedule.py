"""recipe -> one stage of training: its length, its rate, its precision, and who hears of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from transformers.integrations import get_available_reporting_integrations
from transformers.integrations.integration_utils import INTEGRATION_TO_CALLBACK

Precision = Literal["bf16", "fp16", "fp32"]

DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16}
"""What each precision computes in, where that is less than float32."""


@dataclass(frozen=True)
class Schedule:
    """One stage of training.

    Attributes:
        epochs: passes over the training split; fractions allowed.
        batch_size: images per batch and process.
        accumulate: batches whose gradients make one step: a step sees `accumulate` times as many
            images in the memory of one batch.
        lr: peak learning rate, reached after `warmup` of the steps, then held until `decay` of the
            steps are left, then linear to 0.
        precision: `bf16` and `fp16` compute products in that type and keep weights in float32;
            `fp32` does all in float32. `fp16` takes a GPU.
        fresh_epochs: crops, flips and noise are new for so many epochs, then come again, so that
            answers that were kept serve; None: always new.
        save_steps: a checkpoint is written this often, and at the end; the last two are kept.
        log_steps: the loss is logged this often; 0 for never, and no progress bar.
        report_to: loggers by the names that transformers' Trainer knows: tensorboard, wandb,
            mlflow, ...; empty, or `none`, for none.
    """

    epochs: float
    batch_size: int = 256
    accumulate: int = 1
    lr: float = 2e-3
    weight_decay: float = 0.05
    warmup: float = 0.05
    decay: float = 0.6
    precision: Precision = "bf16"
    seed: int = 0
    fresh_epochs: int | None = None
    save_steps: int = 200
    log_steps: int = 50
    num_workers: int = 0
    report_to: tuple[str, ...] = ("tensorboard",)

    def __post_init__(self) -> None:
        for name, least in (
            ("epochs", 0),
            ("batch_size", 1),
            ("accumulate", 1),
            ("lr", 0),
            ("weight_decay", 0),
            ("save_steps", 1),
            ("log_steps", 0),
            ("num_workers", 0),
        ):
            if not getattr(self, name) >= least:
                raise ValueError(f"{name} is {least} or more, not {getattr(self, name)}")
        for name in ("warmup", "decay"):
            if not 0 < getattr(self, name) <= 1:
                raise ValueError(
                    f"{name} is a share of the steps, in (0, 1], not {vars(self)[name]}"
                )
        if self.fresh_epochs is not None and self.fresh_epochs < 1:
            raise ValueError(f"fresh_epochs is 1 or more, or null, not {self.fresh_epochs}")
        for name in self.loggers:
            if name not in INTEGRATION_TO_CALLBACK:
                known = ", ".join(sorted(INTEGRATION_TO_CALLBACK))
                raise ValueError(f"report_to: no logger {name!r}; known are none, {known}")

    @property
    def loggers(self) -> list[str]:
        """Names of the loggers."""
        return [name for name in self.report_to if name != "none"]

    def check_loggers(self) -> None:
        """
        Raises:
            ValueError: a logger's package is not installed.
        """
        lacking = set(self.loggers) - set(get_available_reporting_integrations())
        for name in sorted(lacking):
            raise ValueError(
                f"report_to: the package of the logger {name!r} is not installed; "
                "report_to='[none]' does without"
            )

    def autocast(self, device: str) -> torch.autocast:
        """A context that computes on a kind of device as the stage does."""
        dtype = DTYPES.get(self.precision)
        return torch.autocast(device, dtype or torch.bfloat16, enabled=dtype is not None)
