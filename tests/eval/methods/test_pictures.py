"""Picture codecs in front of the uncut models: at full size, and at a ladder of smaller ones."""

from __future__ import annotations

import io

import numpy as np
import pytest
import torch
from PIL import Image

from codec.device.preprocess import Preprocess
from eval.methods.pictures import FORMATS, PictureCodec, ladder, picture_methods

SIZE = 32


@pytest.fixture
def pixels() -> torch.Tensor:
    coarse = np.random.default_rng(0).integers(0, 256, (4, 6, 6, 3), dtype=np.uint8)
    images = [Image.fromarray(values).resize((SIZE, SIZE), 3) for values in coarse]
    return torch.from_numpy(np.stack([np.asarray(image) for image in images])).permute(0, 3, 1, 2)


def test_a_picture_is_coded_whole_and_at_smaller_sides_a_photograph_at_more_of_them() -> None:
    assert ladder(32) == (32, 24, 16)
    assert ladder(224) == (224, 160, 112, 80, 56)
    methods = list(picture_methods(("jpeg", "png"), {}, Preprocess(SIZE)))
    assert [m.name for m in methods] == ["jpeg"] * 8 + ["jpeg@24"] * 8 + ["jpeg@16"] * 8 + ["png"]
    assert [m.quality for m in methods[:8]] == list(FORMATS["jpeg"].qualities)


@pytest.mark.parametrize("name", ["jpeg", "webp", "avif"])
def test_a_smaller_picture_takes_fewer_bytes_and_comes_back_at_the_models_size(
    name: str, pixels: torch.Tensor
) -> None:
    quality = FORMATS[name].qualities[-1]
    sizes = []
    for side in ladder(SIZE):
        method = PictureCodec(name, quality, {}, Preprocess(SIZE), side)
        blobs = method.encode(pixels)
        assert {Image.open(io.BytesIO(blob)).size for blob in blobs} == {(side, side)}
        back = method.pixels(blobs)
        assert back.shape == pixels.shape
        assert float((back.float() - pixels.float()).abs().mean()) < 25, "it is the same picture"
        sizes.append(sum(map(len, blobs)))
    assert sizes[-1] < sizes[0]


@pytest.mark.parametrize("resample", [2, 3])
def test_a_smaller_picture_is_brought_back_by_the_models_own_filter(
    resample: int, pixels: torch.Tensor
) -> None:
    method = PictureCodec("webp", 95, {}, Preprocess(SIZE, resample=resample), 16)
    (blob,) = method.encode(pixels[:1])
    expected = Image.open(io.BytesIO(blob)).convert("RGB").resize((SIZE, SIZE), resample)
    np.testing.assert_array_equal(method.pixels([blob])[0].permute(1, 2, 0), np.asarray(expected))
