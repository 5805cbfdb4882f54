"""What a codec takes: a backbone's tokens, sizes and dtype, names and paths, large batches."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from transformers import (
    Dinov2Config,
    Dinov2ForImageClassification,
    Dinov2WithRegistersConfig,
    Dinov2WithRegistersForImageClassification,
    SwinConfig,
    SwinForImageClassification,
    ViTConfig,
    ViTForImageClassification,
)

from codec import FeatureCodec
from codec.model.asking import may_have_several
from codec.model.checkpoint import find_checkpoint, is_path, shipped_root
from codec.model.chunks import CHUNK, in_chunks
from codec.model.networks import grid_of
from codec.model.split import split, token_grid

SMALL: dict[str, Any] = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 64,
}


def vit(**changes: Any) -> nn.Module:
    return ViTForImageClassification(
        ViTConfig(**SMALL, **({"image_size": 32, "patch_size": 8} | changes))
    )


def test_registers_are_counted() -> None:
    config = Dinov2WithRegistersConfig(**SMALL, image_size=32, patch_size=8)
    model = Dinov2WithRegistersForImageClassification(config).eval()
    x = torch.randn(1, 3, 32, 32)
    head, tail = split(model, 1)
    assert head(x).shape[1] == token_grid(model).n_tokens == 1 + 4 + 16
    assert torch.equal(tail(head(x)).logits, model(x).logits)


@pytest.mark.parametrize("changes", [{"image_size": (16, 64)}, {"patch_size": (4, 16)}])
def test_as_many_patches_as_a_square_has_are_not_one(changes: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="do not form a square"):
        token_grid(vit(**changes))


def test_a_size_is_the_models_or_one_that_it_fits_its_positions_to() -> None:
    with pytest.raises(ValueError, match=r"takes pictures of 32 x 32 pixels, .* makes 64 x 64"):
        token_grid(vit(), 64)
    with pytest.raises(ValueError, match="of 1 channels, not 3"):
        token_grid(vit(num_channels=1))
    dino = Dinov2ForImageClassification(Dinov2Config(**SMALL, image_size=518, patch_size=14))
    tokens = split(dino.eval(), 1).head(torch.randn(1, 3, 56, 56))
    assert token_grid(dino, 56).n_tokens == tokens.shape[1] == 17


def test_a_latent_of_more_positions_than_tokens_is_refused_with_all_sizes(
    tiny_codec: FeatureCodec,
) -> None:
    dino = Dinov2ForImageClassification(Dinov2Config(**SMALL, image_size=518, patch_size=14))
    preprocess = replace(tiny_codec.config.preprocess, size=56)
    shape = {"encoder": "blocks", "student_widths": (), "student_depths": ()}
    for fold in (1, 2):
        config = replace(tiny_codec.config, preprocess=preprocess, side=36, fold=fold, **shape)
        said = rf"side 36 .* 56 pixels have 4 x 4 .* made for 518 .* are 1 to {4 * fold}$"
        with pytest.raises(ValueError, match=said):
            FeatureCodec(config, dino)
    assert grid_of(replace(config, side=8), dino) == token_grid(dino, 56)


def test_other_families_are_refused_by_name() -> None:
    config = SwinConfig(image_size=32, patch_size=4, embed_dim=16, depths=[1], num_heads=[1])
    with pytest.raises(ValueError, match="cannot split SwinForImageClassification"):
        split(SwinForImageClassification(config), 0)


def test_a_name_is_a_path_where_it_looks_like_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    place = tmp_path / "vit-tiny-cifar10"
    place.mkdir()
    for name in ("config.json", "codec.safetensors"):
        (place / name).write_text("")
    assert find_checkpoint("vit-tiny-cifar10") == shipped_root() / "vit-tiny-cifar10"
    assert find_checkpoint("./vit-tiny-cifar10").resolve() == place
    assert find_checkpoint(Path("vit-tiny-cifar10")).resolve() == place
    own = place.rename(tmp_path / "own")
    assert find_checkpoint("./own").resolve() == own
    with pytest.raises(FileNotFoundError, match=r"no codec 'own'.*for the folder, write \./own"):
        find_checkpoint("own")
    (tmp_path / "runs").mkdir()
    assert [is_path(n) for n in ("runs/none", "a/b/c", "../a", "me/mine", "mine")] == [
        True,
        True,
        True,
        False,
        False,
    ]


def test_a_codec_is_found_again_after_a_change_of_directory(
    tiny_codec_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tiny_codec_folder.parent)
    codec = FeatureCodec.from_pretrained(f"./{tiny_codec_folder.name}")
    monkeypatch.chdir(tmp_path)
    assert codec.load_uncut() is not None
    codec.save_pretrained(tmp_path / "again")
    assert FeatureCodec.from_pretrained(tmp_path / "again").fingerprint == codec.fingerprint


def test_compiled_parts_are_saved_under_their_own_names(
    tiny_codec_folder: Path, tmp_path: Path
) -> None:
    codec = FeatureCodec.from_pretrained(tiny_codec_folder)
    codec.synthesis = torch.compile(codec.synthesis, backend="eager")  # type: ignore[assignment]
    codec.save_pretrained(tmp_path / "c")
    assert FeatureCodec.from_pretrained(tmp_path / "c").fingerprint == codec.fingerprint


def test_in_half_precision_tokens_are_float32_and_nothing_is_saved(
    tiny_codec_folder: Path, tmp_path: Path
) -> None:
    codec = FeatureCodec.from_pretrained(tiny_codec_folder)
    blobs = codec.encode(torch.randn(2, 3, 32, 32))
    with torch.autocast("cpu", torch.bfloat16):
        assert codec.decode(blobs).dtype == torch.float32
    codec.to(torch.bfloat16)
    assert codec.decode(blobs).dtype == torch.float32
    with pytest.raises(ValueError, match="have lost bits: load the codec in float32"):
        codec.save_pretrained(tmp_path / "c")


def test_a_codec_whose_weights_were_changed_is_not_saved(
    tiny_codec_folder: Path, tmp_path: Path
) -> None:
    codec = FeatureCodec.from_pretrained(tiny_codec_folder)
    with torch.no_grad():
        codec.log_gain[0, 0] += 1
    with pytest.raises(ValueError, match="changed or cast since the codec was frozen"):
        codec.save_pretrained(tmp_path / "c")


def test_a_batch_in_chunks_is_the_batch() -> None:
    x = torch.arange(2.0 * (CHUNK + 3)).view(-1, 2)
    seen: list[int] = []
    run: Callable[..., torch.Tensor] = lambda a, b: (seen.append(len(a)), a + b)[1]  # noqa: E731
    assert torch.equal(in_chunks(run, x, x), 2 * x)
    assert seen == [CHUNK, 3]


def test_several_labels_are_told_from_one() -> None:
    assert may_have_several(ViTConfig(num_labels=1))
    assert may_have_several(ViTConfig(problem_type="multi_label_classification"))
    assert not may_have_several(ViTConfig(num_labels=3))
