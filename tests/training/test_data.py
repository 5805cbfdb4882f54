"""Training data: randomness that belongs to the sample, augmentation."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from codec.device.preprocess import Preprocess
from training.data.augmentation import augment
from training.data.images import Images
from training.data.randomness import uniform


def test_a_samples_randomness_is_its_own_whatever_the_batch() -> None:
    keys = torch.arange(1000)
    whole = uniform(keys, 50, stream=1)
    assert torch.equal(whole[7:9], uniform(keys[7:9], 50, stream=1))
    assert not torch.equal(whole, uniform(keys, 50, stream=0))
    assert 0 <= whole.min() < whole.max() < 1
    assert abs(whole.mean() - 0.5) < 0.01
    assert abs(whole.std() - 12**-0.5) < 0.01
    assert abs(np.corrcoef(whole[:, 0], whole[:, 1])[0, 1]) < 0.1


def test_augmentation_shifts_and_flips_and_keeps_the_picture() -> None:
    pixels = torch.arange(64, dtype=torch.uint8).view(1, 1, 8, 8).expand(200, 3, 8, 8)
    moved = augment(pixels, torch.arange(200), shift=2)
    assert moved.shape == pixels.shape
    centres = {int(v) for v in moved[:, 0, 4, 4]}
    assert len(centres) > 20
    unshifted = augment(pixels, torch.arange(200), shift=0)
    flipped = [not torch.equal(a, b) for a, b in zip(unshifted, pixels, strict=True)]
    assert 60 < sum(flipped) < 140
    for a, b, f in zip(unshifted, pixels, flipped, strict=True):
        assert torch.equal(a.flip(-1) if f else a, b)


def test_a_seed_that_a_key_cannot_hold_is_refused(labelled: Path) -> None:
    Images(str(labelled), "train", Preprocess(32), seed=(1 << 15) - 1).key(0)
    for seed in (-1, 1 << 15):
        with pytest.raises(ValueError, match=r"a seed is in 0\.\.32767"):
            Images(str(labelled), "train", Preprocess(32), seed=seed)
