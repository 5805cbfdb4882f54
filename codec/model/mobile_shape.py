"""config.json -> shape of a mobile encoder: how many stages, how wide, how deep."""

from __future__ import annotations

from dataclasses import dataclass

MAX_CHANNELS, MAX_BLOCKS, MAX_STAGES = 1 << 12, 64, 16
KERNELS, STRIDES = (3, 5, 7), (1, 2)
MAX_SHRINK, MAX_SHRINK_TO = 64, 16


@dataclass(frozen=True)
class MobileStage:
    """Blocks of one width.

    Attributes:
        width: channels.
        depth: blocks; the first has the stride, the others keep the resolution and add up.
        kernel: side of the depthwise kernels.
        stride: 1 or 2.
        expansion: how many times the channels of a block's input its depthwise part has.
    """

    width: int
    depth: int
    kernel: int = 3
    stride: int = 2
    expansion: int = 6

    def __post_init__(self) -> None:
        for name, least, most in (
            ("width", 1, MAX_CHANNELS),
            ("depth", 1, MAX_BLOCKS),
            ("expansion", 1, 16),
        ):
            if not least <= getattr(self, name) <= most:
                raise ValueError(
                    f"{name} of a stage is in {least}..{most}, not {getattr(self, name)}"
                )
        if self.kernel not in KERNELS or self.stride not in STRIDES:
            raise ValueError(
                f"a stage's kernel is one of {KERNELS} and its stride one of {STRIDES}, not "
                f"{self.kernel} and {self.stride}"
            )


@dataclass(frozen=True)
class MobileShape:
    """Shape of a mobile encoder.

    Attributes:
        stem: channels of the first convolution, which halves the resolution.
        stages: what follows it.
        shrink, shrink_to: squares of `shrink` x `shrink` pixels are averaged down to `shrink_to` x
            `shrink_to` first: 2 and 1 halve a picture's side, 7 and 5 make 160 pixels of 224. Equal
            for none.
    """

    stem: int
    stages: tuple[MobileStage, ...]
    shrink: int = 1
    shrink_to: int = 1

    def __post_init__(self) -> None:
        if not 1 <= self.stem <= MAX_CHANNELS or not 1 <= len(self.stages) <= MAX_STAGES:
            raise ValueError(
                f"a mobile encoder has 1 to {MAX_CHANNELS} channels in its stem and 1 to "
                f"{MAX_STAGES} stages, not {self.stem} and {len(self.stages)}"
            )
        if not 1 <= self.shrink_to <= min(self.shrink, MAX_SHRINK_TO) or self.shrink > MAX_SHRINK:
            raise ValueError(
                f"shrink is in 1..{MAX_SHRINK} and shrink_to at most that and {MAX_SHRINK_TO}, not "
                f"{self.shrink} and {self.shrink_to}"
            )

    @property
    def width(self) -> int:
        """Channels that come out."""
        return self.stages[-1].width

    def side(self, size: int) -> int:
        """Side of what comes out of pictures of `size` pixels: each stride halves it, rounded up.

        Raises:
            ValueError: squares of `shrink` pixels do not make up a picture.
        """
        if size % self.shrink:
            raise ValueError(
                f"a mobile encoder cannot shrink {size} pixels: they are no multiple of "
                f"{self.shrink}"
            )
        side = size // self.shrink * self.shrink_to
        for step in (2, *(stage.stride for stage in self.stages)):
            side = -(-side // step)
        return side
