"""recipe -> an untrained small ViT."""

from __future__ import annotations

from dataclasses import dataclass, field

from transformers import ViTConfig, ViTForImageClassification

from training.backbones.vit_init import convolutional_init
from training.engine.schedule import Schedule


@dataclass(frozen=True)
class TeacherRecipe:
    """The convolutional teacher: `widths` of its stages, and its share in the ViT's loss."""

    schedule: Schedule
    widths: tuple[int, ...]
    weight: float = 0.7
    temperature: float = 2.0


@dataclass(frozen=True)
class BackboneRecipe:
    """Everything a backbone depends on.

    Attributes:
        data: folder or hub name; `train_split` and `test_split` in it.
        window: side of the window of tokens that is trained on in the first part of the training
            (0: all tokens): a random contiguous window sees neighbours as they are and costs little
            more than half.
        window_until: end of that part, as a share of the steps.
        shift: largest random shift of the pictures, in pixels.
        compile: whether torch.compile makes the ViT faster, after minutes of its own.
        note: a sentence for the model card.
        file: where it was read from.
    """

    name: str
    data: str
    train_split: str
    test_split: str
    image_size: int
    patch_size: int
    hidden_size: int
    n_layers: int
    n_heads: int
    schedule: Schedule
    mean: tuple[float, ...] = (0.5, 0.5, 0.5)
    std: tuple[float, ...] = (0.5, 0.5, 0.5)
    teacher: TeacherRecipe | None = None
    window: int = 0
    window_until: float = 0.0
    shift: int = 4
    label_smoothing: float = 0.1
    limit: int | None = None
    compile: bool = True
    note: str = ""
    file: str = field(default="", compare=False)


def build_vit(recipe: BackboneRecipe, labels: list[str]) -> ViTForImageClassification:
    """A ViT of the recipe's size with the convolutional initialisation."""
    config = ViTConfig(  # type: ignore[call-arg]
        hidden_size=recipe.hidden_size,
        num_hidden_layers=recipe.n_layers,
        num_attention_heads=recipe.n_heads,
        intermediate_size=4 * recipe.hidden_size,
        image_size=recipe.image_size,
        patch_size=recipe.patch_size,
        id2label=dict(enumerate(labels)),
        label2id={name: i for i, name in enumerate(labels)},
        # in bfloat16 on a CPU its backward is 1.5 times faster than sdpa's
        attn_implementation="eager",
    )
    model = ViTForImageClassification(config)
    convolutional_init(model)
    return model
