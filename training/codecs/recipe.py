"""recipe file -> every number that the training of a codec depends on, and what follows from
them.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import torch
import torch.nn.functional as F

from codec.device.preprocess import Preprocess
from codec.model.backbone import load_backbone
from codec.model.config import CodecConfig, backbones_of
from codec.model.mobile_shape import MobileShape
from codec.model.split import n_blocks, token_grid
from codec.tasks import LABELS
from training.codecs.shapes import DERIVED, BackboneFacts, derived
from training.data.processor import preprocess_of
from training.engine.schedule import Schedule


@dataclass(frozen=True)
class CodecRecipe:
    """Everything a codec depends on.

    Attributes:
        task: what the codec's tails answer, and `backbone`: folder, shipped name or hub id of the
            model that is cut after block `k`, or a folder with a model of each task; as in
            `CodecConfig`.
        data: folder or hub name, or `scenes`, or for captions and answers several that commas
            separate; `train_split` is fitted on, `validation_split` picks the default quality, and
            `calibration_split`, which picks nothing, says what each quality takes and loses.
        match_on: further pictures for stage 1, which needs neither labels nor words: `DATA:SPLIT`
            each, beside those of `data`.
        rate_weights: lambda of each quality in nats per bit, largest (smallest blobs) first; their
            number is the number of qualities.
        shares: turns of each quality in a round of samples; none for one each. What takes many
            turns is learned best: the smallest qualities ask the most of an encoder that all share.
        sharpness: of `training.codecs.task.soft_round`, before noise stands for rounding in the
            rate; 0 for noise alone.
        match_weight: weight of the normalised token distortion against the rate in stage 1.
        start: folder of a trained codec whose encoder, synthesis and adapters this one starts from:
            it has what this one has, in the same shapes, and may have blocks more; its qualities
            need not be as many. None to start from random weights.
        start_quality: the quality of `start` that all gains come from; None for their mean.
        start_rate_weight: the lambda that these gains are for: they are spread around it. None for
            the geometric mean of `rate_weights`; but where this and `start_quality` are None, and
            `start` has as many qualities, each goes on from its own.
        encoder_start: file, folder or hub id of a mobile network's weights, whose first stages the
            encoder starts from (`training.backbones.mobile_start`).
        frozen_stages: these stages stay as they are, and only the projection behind them learns:
            for few pictures, which stages that learn would know by heart. What they make of the
            pictures is kept on disk where pictures come again (`fresh_epochs`).
        n_questions: asked of each picture in a step, where the task is to answer questions.
        label_weight: share of the true label, or word, in the target of stage 2; the rest is the
            uncut model's answer. 0 needs no labels.
        fold: as in `CodecConfig`.
        layers: qualities whose blobs hold the lower ones of these first, as in `CodecConfig`.
        device_macs: budget of the encoder in multiply-accumulates for one picture; null for a 20th
            of the backbone's. A recipe with this key may leave out `k`, `encoder`, `side`,
            `n_channels`, `student_widths`, `student_depths`, `synthesis_depth`, `rate_weights` and
            `shift`: they follow from it and the backbone (`training.codecs.shapes`).
        compile: whether torch.compile makes the networks faster, after minutes of its own.
        max_drop: the default quality is the smallest one whose drop on the validation split is at
            most this, in points.
        note: a sentence for the model card.
        file: where it was read from.
        prior_steps: steps of fitting the prior alone, at the end.
        count_limit: images whose symbols it is fitted to, and that are counted for the frozen
            tables.
        even_from: from this quality on to the finest, sizes of blobs rise by equal factors:
            qualities are moved between those that were trained
            (`training.codecs.freeze.space_evenly`). None leaves them where they are.
        dead_zone_limit: of the images that are counted, those that the dead zones are chosen on; 0
            for plain rounding.
    """

    name: str
    backbone: str
    data: str
    train_split: str
    validation_split: str
    calibration_split: str
    k: int
    encoder: Literal["student", "mobile", "blocks"]
    side: int
    n_channels: int
    rate_weights: tuple[float, ...]
    match: Schedule
    answer: Schedule
    task: str = LABELS
    match_on: tuple[str, ...] = ()
    shares: tuple[int, ...] = ()
    start: str | None = None
    start_quality: int | None = None
    start_rate_weight: float | None = None
    student_widths: tuple[int, ...] = ()
    student_depths: tuple[int, ...] = ()
    mobile: MobileShape | None = None
    encoder_start: str | None = None
    frozen_stages: bool = False
    synthesis_depth: int = 1
    adapter_rank: int = 16
    match_weight: float = 0.3
    sharpness: float = 0.0
    n_questions: int = 5
    label_weight: float = 0.0
    layers: tuple[int, ...] = ()
    fold: int = 1
    max_drop: float = 0.4
    shift: int = 4
    prior_steps: int = 2000
    count_limit: int = 20000
    dead_zone_limit: int = 2000
    device_macs: int | None = None
    compile: bool = True
    even_from: int | None = None
    limit: int | None = None
    note: str = ""
    file: str = field(default="", compare=False)

    def __post_init__(self) -> None:
        if self.shares and (len(self.shares) != len(self.rate_weights) or min(self.shares) < 1):
            raise ValueError(
                f"shares are a whole number from 1 on for each of {len(self.rate_weights)} "
                f"qualities, not {self.shares}"
            )
        for stage in (self.match, self.answer):
            if stage.epochs and stage.batch_size % len(self.turns()):
                raise ValueError(
                    f"a batch of {stage.batch_size} is not made of rounds of {len(self.turns())} "
                    "samples: one a turn of each quality"
                )
        if self.encoder_start is not None and self.mobile is None:
            raise ValueError("encoder_start is for a mobile encoder, and `mobile` gives no shape")
        if self.frozen_stages and self.encoder_start is None:
            raise ValueError("frozen_stages is for stages that `encoder_start` gives weights to")
        if self.even_from is not None and not 0 <= self.even_from < len(self.rate_weights) - 1:
            raise ValueError(
                f"even_from is a quality below the finest, {len(self.rate_weights) - 1}, or null, "
                f"not {self.even_from}"
            )

    @property
    def backbones(self) -> dict[str, str]:
        """Where the model of each task is."""
        return backbones_of(self.task, self.backbone)

    def preprocess(self) -> Preprocess:
        """The preprocessing of the backbone's pictures."""
        return preprocess_of(next(iter(self.backbones.values())))

    @staticmethod
    def completed(values: dict[str, Any]) -> dict[str, Any]:
        """A file's values, with what follows from `device_macs` where they have that key.

        Raises:
            FileNotFoundError, ValueError: no such backbone, or no student of that budget.
        """
        lacking = [key for key in DERIVED if key not in values]
        if not lacking or not {"device_macs", "backbone"} <= values.keys():
            return values
        budget = values["device_macs"]
        if budget is not None and (type(budget) is not int or budget < 1):
            raise ValueError(f"recipe key 'device_macs' is a whole number or null, not {budget!r}")
        found = backbones_of(str(values.get("task", LABELS)), str(values["backbone"]))
        size = preprocess_of(next(iter(found.values()))).size
        model = load_backbone(next(iter(found.values())), Path())
        grid = token_grid(model, size)
        return derived(BackboneFacts(size, grid.side, grid.width, n_blocks(model)), values)

    def turns(self) -> torch.Tensor:
        """The quality of each sample in a round, int64."""
        n = len(self.rate_weights)
        return torch.arange(n).repeat_interleave(torch.tensor(self.shares or (1,) * n))

    def target(self, logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """What an answer is to be: the uncut model's, with a share of the true label. (..., L) and
        (...) -> (..., L).
        """
        target, share = logits.softmax(-1), self.label_weight
        return (
            (1 - share) * target + share * F.one_hot(labels, target.shape[-1]) if share else target
        )

    def config(self, preprocess: Preprocess) -> CodecConfig:
        """The shape of the codec this recipe trains."""
        return CodecConfig(
            name=self.name,
            task=self.task,
            backbone=self.backbone,
            k=self.k,
            encoder=self.encoder,
            side=self.side,
            n_channels=self.n_channels,
            n_qualities=len(self.rate_weights),
            layers=self.layers,
            fold=self.fold,
            default_quality=len(self.rate_weights) - 1,
            preprocess=preprocess,
            student_widths=self.student_widths,
            student_depths=self.student_depths,
            mobile=self.mobile,
            synthesis_depth=self.synthesis_depth,
            adapter_rank=self.adapter_rank,
        )
