"""recipe file -> every number that learning together depends on: model, clients, their pictures,
the link, how changes of weights are sent, how a client learns.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from codec.link.profiles import profile
from training.rounds.privacy import Privacy


@dataclass(frozen=True)
class Partition:
    """Which client holds which pictures.

    Attributes:
        alpha: of the Dirichlet distribution that shares out each label's pictures (Hsu et al. 2019,
            arXiv 1909.06335, sec. 3); None for shares that are drawn alike (IID).
        seed: of the draw.
    """

    alpha: float | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        if self.alpha is not None and not self.alpha > 0:
            raise ValueError(f"partition.alpha is above 0, or null, not {self.alpha}")


@dataclass(frozen=True)
class Clients:
    """The devices that learn.

    Attributes:
        n: how many.
        picture_s: seconds that a device of speed 1 takes to learn from one picture once.
        slowness: how many times as long each client takes, in turn; empty for 1.
        absence: probability that a client is away in a round.
        poisoned: clients that send a change of a thousand times its size, in every round.
    """

    n: int = 10
    picture_s: float = 0.0
    slowness: tuple[float, ...] = ()
    absence: float = 0.0
    poisoned: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        if self.n < 1:
            raise ValueError(f"clients.n is 1 or more, not {self.n}")
        if not 0 <= self.absence < 1:
            raise ValueError(f"clients.absence is in [0, 1), not {self.absence}")

    def seconds(self, client: int, n_pictures: int) -> float:
        """Seconds that a client takes to learn from so many pictures."""
        factor = self.slowness[client % len(self.slowness)] if self.slowness else 1.0
        return self.picture_s * factor * n_pictures


@dataclass(frozen=True)
class Link:
    """What carries the messages; every client has one of its own.

    Attributes:
        up_bytes_s, down_bytes_s: bytes a second from and to a client.
        profile: a link of `codec.link.profiles` in their place, whose airtime is known.
        deadline_s: a client whose change is there later in its round is left out; None to wait.
    """

    up_bytes_s: float = 250_000.0
    down_bytes_s: float = 500_000.0
    profile: str | None = None
    deadline_s: float | None = None

    def __post_init__(self) -> None:
        if not self.up_bytes_s > 0 or not self.down_bytes_s > 0:
            raise ValueError(
                "link.up_bytes_s and link.down_bytes_s are above 0, not "
                f"{self.up_bytes_s:g} and {self.down_bytes_s:g}"
            )
        if self.profile is not None:
            profile(self.profile)


@dataclass(frozen=True)
class Updates:
    """How changes of weights are sent.

    Attributes:
        codec: `coded` by `codec.updates`, `none` for float32 as it is; all are in
            `training.rounds.messages`.
        rate, down_rate: what `rate` means to the codec, for changes of clients and for those of
            the agreed weights: see there.
        feedback: whether what a message leaves out is added to the next one.
        most: a change whose norm is more than so many times the median of its round is left out.
    """

    codec: Literal["coded", "none", "float16", "qsgd8", "qsgd4", "topk", "zstd"] = "none"
    rate: float = 0.0
    down_rate: float = 0.0
    feedback: bool = True
    most: float = 10.0


@dataclass(frozen=True)
class Local:
    """How a client learns: SGD with Nesterov's momentum, anew in each round.

    Attributes:
        epochs: passes over its pictures in a round; fractions allowed.
        lr: at the first round; then down to 0 by half a cosine, over the rounds.
        shift: largest random shift of the pictures, in pixels.
    """

    epochs: float = 1.0
    batch_size: int = 50
    lr: float = 0.05
    momentum: float = 0.9
    weight_decay: float = 5e-4
    max_grad_norm: float = 2.0
    shift: int = 2
    bf16: bool = True

    def __post_init__(self) -> None:
        if not self.epochs > 0 or self.batch_size < 1:
            raise ValueError("local.epochs is above 0 and local.batch_size 1 or more")


@dataclass(frozen=True)
class FederatedRecipe:
    """Everything that learning together depends on.

    Attributes:
        data: folder or hub name; the clients share `train_split`, each round is scored on
            `validation_split`, the end on `test_split`.
        widths: channels of the stages of `training.rounds.network.SmallNet`.
        start: a classifier that learns instead, with all of its weights: a folder, shipped name or
            hub id, as `backbone` of a codec's recipe; None for `SmallNet`.
        codec: the recipe of a codec that learns instead (`training.rounds.codec_learner`): `start`
            is then the folder of the codec, None for where the recipe itself starts from.
        privacy: clipping and noise on the clients, by Flower's mod; the plain loop has none.
        file: where it was read from.
    """

    name: str
    data: str
    train_split: str
    validation_split: str
    test_split: str
    rounds: int
    image_size: int = 32
    mean: tuple[float, ...] = (0.5, 0.5, 0.5)
    std: tuple[float, ...] = (0.5, 0.5, 0.5)
    widths: tuple[int, ...] = (32, 64, 128, 256)
    start: str | None = None
    codec: str | None = None
    seed: int = 0
    limit: int | None = None
    clients: Clients = field(default_factory=Clients)
    partition: Partition = field(default_factory=Partition)
    link: Link = field(default_factory=Link)
    updates: Updates = field(default_factory=Updates)
    local: Local = field(default_factory=Local)
    privacy: Privacy | None = None
    note: str = ""
    file: str = field(default="", compare=False)

    def __post_init__(self) -> None:
        if self.rounds < 1:
            raise ValueError(f"rounds is 1 or more, not {self.rounds}")
