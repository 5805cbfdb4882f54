"""config.json <-> the facts a codec is built from."""

from __future__ import annotations

import json
import math
from dataclasses import asdict, dataclass
from typing import Any, Literal

from codec.coding.container import MAX_QUALITIES
from codec.coding.dead_zone import thousandths
from codec.device.preprocess import Preprocess
from codec.model.mobile_shape import MobileShape
from codec.model.typed import from_json
from codec.tasks import LABELS, TASKS

MAX_DEPTH, MAX_WIDTH, MAX_SIDE = 256, 1 << 16, 1 << 12
"""Most blocks of a network, channels of a layer, and pixels or positions of a side."""


@dataclass(frozen=True)
class Calibration:
    """What one quality takes and loses, in the mean over pictures that nothing was trained or
    chosen on.

    Attributes:
        n_images: how many pictures.
        bytes_mean: bytes of a blob, header included.
        drop: task score lost against the uncut model, in points.
        agreement: pictures answered as by the uncut model, in percent.
    """

    n_images: int
    bytes_mean: float
    drop: float
    agreement: float


@dataclass(frozen=True)
class CodecConfig:
    """Shape of a codec.

    Attributes:
        name: what the codec is called in messages and tables.
        task: what the tail answers, of `TASKS`; several, with a tail each, are separated by ", ".
        backbone: where the model that was cut is: a folder inside the checkpoint, a shipped name,
            or a hub id. For several tasks a folder with a model of each, in folders named by task.
        k: the cut is after this many blocks.
        encoder: `student` (small convolutional encoder), `mobile` (the first stages of a mobile
            network) or `blocks` (the backbone's own blocks and a linear map).
        side: side of the latent's square, M = side * side positions.
        n_channels: C of the latent.
        fold: analysis and synthesis know the latent's positions fold x fold at a time, as one
            (`codec.model.transforms`).
        n_qualities: rate indices, 0 = smallest.
        default_quality: the one used where the caller names none.
        dead_zone: for each quality, how much further than half a step from zero values still become
            zero; none for plain rounding. The encoder's matter alone.
        layers: qualities, rising, whose blobs hold the lower ones of these first
            (`codec.coding.progressive`), so that they can be cut; or none.
        student_widths, student_depths: see `StudentAnalysis`.
        mobile: shape of a mobile encoder.
        synthesis_depth: transformer blocks of the synthesis.
        adapter_rank: rank of the adapters in the tail, 0 for none.
        preprocess: constants of the pictures' preprocessing.
        calibration: a row for each quality, or none.
    """

    name: str
    backbone: str
    k: int
    encoder: Literal["student", "mobile", "blocks"]
    side: int
    n_channels: int
    n_qualities: int
    default_quality: int
    preprocess: Preprocess
    student_widths: tuple[int, ...] = ()
    student_depths: tuple[int, ...] = ()
    mobile: MobileShape | None = None
    synthesis_depth: int = 1
    adapter_rank: int = 0
    dead_zone: tuple[float, ...] = ()
    layers: tuple[int, ...] = ()
    fold: int = 1
    task: str = LABELS
    calibration: tuple[Calibration, ...] = ()

    def __post_init__(self) -> None:
        self._check_sizes()
        if self.encoder not in ("student", "mobile", "blocks"):
            raise ValueError(f"encoder is 'student', 'mobile' or 'blocks', not {self.encoder!r}")
        if (self.encoder == "mobile") != (self.mobile is not None):
            raise ValueError(
                "the encoder is 'mobile' where a shape `mobile` is given, and only then"
            )
        if not 1 <= self.n_qualities <= MAX_QUALITIES:
            raise ValueError(f"a codec has 1 to {MAX_QUALITIES} qualities, not {self.n_qualities}")
        if not 0 <= self.default_quality < self.n_qualities:
            raise ValueError(
                f"default quality {self.default_quality} is not in 0..{self.n_qualities - 1}"
            )
        if self.calibration and len(self.calibration) != self.n_qualities:
            raise ValueError(
                f"{self.n_qualities} qualities are calibrated by as many rows, not "
                f"{len(self.calibration)}"
            )
        if self.dead_zone and (
            len(self.dead_zone) != self.n_qualities or not all(0 <= d < 0.5 for d in self.dead_zone)
        ):
            raise ValueError(
                f"a dead zone is a number in [0, 0.5) for each of {self.n_qualities} qualities, "
                f"not {self.dead_zone}"
            )
        rising = all(low < high for low, high in zip(self.layers, self.layers[1:], strict=False))
        if self.layers and not (
            len(self.layers) > 1 and rising and set(self.layers) <= set(range(self.n_qualities))
        ):
            raise ValueError(
                f"layers are two qualities or more of 0..{self.n_qualities - 1}, rising, not "
                f"{self.layers}"
            )
        if self.fold < 1 or self.side % self.fold:
            raise ValueError(
                f"a latent of side {self.side} is not made of {self.fold} x {self.fold} positions"
            )
        if (
            self.encoder == "student"
            and self.side << len(self.student_widths) != self.fold * self.preprocess.size
        ):
            raise ValueError(
                f"{len(self.student_widths)} student stages bring {self.preprocess.size} pixels to "
                f"{self.fold * self.preprocess.size / 2 ** len(self.student_widths):g}, not to a "
                f"latent of side {self.side}"
            )
        if not set(self.tasks) <= set(TASKS) or len(set(self.tasks)) != len(self.tasks):
            raise ValueError(
                f"task {self.task!r} is not one or several, separated by ', ', of "
                f"{', '.join(TASKS)}"
            )

    def _check_sizes(self) -> None:
        """Each size is one that a codec could have: nothing is built of others."""
        resize = self.preprocess.size if self.preprocess.resize is None else self.preprocess.resize
        sizes = [
            ("k", self.k, 0, MAX_DEPTH),
            ("side", self.side, 1, MAX_SIDE),
            ("fold", self.fold, 1, MAX_SIDE),
            ("n_channels", self.n_channels, 1, MAX_WIDTH),
            ("synthesis_depth", self.synthesis_depth, 0, MAX_DEPTH),
            ("adapter_rank", self.adapter_rank, 0, MAX_WIDTH),
            ("preprocess.size", self.preprocess.size, 1, MAX_SIDE),
            ("preprocess.resample", self.preprocess.resample, 0, 5),
            ("preprocess.resize", resize, self.preprocess.size, MAX_SIDE),
            *(("a value of student_widths", width, 1, MAX_WIDTH) for width in self.student_widths),
            *(("a value of student_depths", d, 0, MAX_DEPTH) for d in self.student_depths),
        ]
        for name, value, least, most in sizes:
            if not least <= value <= most:
                raise ValueError(f"{name} is in {least}..{most}, not {value}")
        numbers = [*self.preprocess.mean, *self.preprocess.std, *self.dead_zone]
        numbers += [n for row in self.calibration for n in vars(row).values()]
        if not all(map(math.isfinite, numbers)) or min(self.preprocess.std) <= 0:
            raise ValueError("a number is not finite, or a standard deviation of pixels is 0")
        if self.encoder == "student" and not self.student_widths:
            raise ValueError("a student has one stage or more: student_widths is empty")

    @property
    def tasks(self) -> tuple[str, ...]:
        """What the codec's tails answer, one each."""
        return tuple(self.task.split(", "))

    @property
    def backbones(self) -> dict[str, str]:
        """Where the model of each task is."""
        return backbones_of(self.task, self.backbone)

    @property
    def halves(self) -> tuple[int, ...]:
        """Where each quality rounds up from zero on, in thousandths of a step: at a half, and its
        dead zone later.
        """
        return thousandths(self.dead_zone, self.n_qualities)

    def to_json(self) -> str:
        """The text of config.json; what was not there in earlier codecs is said only where it is
        not as in these.
        """
        later = {"layers": (), "fold": 1, "mobile": None}
        values = asdict(self) | {"preprocess": self.preprocess.to_dict()}
        if values["mobile"] is not None and values["mobile"]["shrink_to"] == 1:
            del values["mobile"]["shrink_to"]
        said = {k: v for k, v in values.items() if k not in later or v != later[k]}
        return json.dumps(said, indent=2, sort_keys=True) + "\n"

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> CodecConfig:
        """The inverse of `to_json`, for parsed JSON.

        Raises:
            ValueError: a key is missing or unknown, a value has another type than its field, or the
                values do not make a codec.
        """
        return from_json(cls, values, "config.json")


def backbones_of(task: str, backbone: str) -> dict[str, str]:
    """Where the model of each task is, for `task` and `backbone` as `CodecConfig` has them."""
    tasks = task.split(", ")
    return {name: f"{backbone}/{name}" if len(tasks) > 1 else backbone for name in tasks}
