"""The row of the device alone: one byte a label, no server, and the classifier's own score."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from codec.device.preprocess import Preprocess
from codec.model.alone import AloneShape, DeviceAlone, save_alone
from eval.methods.alone import Alone, alone_methods
from eval.methods.method import DecodeError
from training.data.images import normalise

PREPROCESS = Preprocess(32)


def pixels(n: int = 6) -> torch.Tensor:
    generator = torch.Generator().manual_seed(1)
    return torch.randint(0, 256, (n, 3, 32, 32), generator=generator, dtype=torch.uint8)


@pytest.mark.parametrize(("n_labels", "n_bytes"), [(4, 1), (256, 1), (257, 2)])
def test_a_blob_is_the_label_in_as_few_bytes_as_labels_take(n_labels: int, n_bytes: int):
    torch.manual_seed(2)
    model = DeviceAlone(AloneShape(n_labels, (8, 8), (0, 0))).eval()
    method, x = Alone(model, PREPROCESS), pixels()
    with torch.inference_mode():
        blobs = method.encode(x)
        answers = method.models["image-classification"](method.decode(blobs)).logits.argmax(1)
        torch.testing.assert_close(answers, model(normalise(x, PREPROCESS)).argmax(1))
        assert {len(blob) for blob in blobs} == {n_bytes}
        assert method.check(x, blobs) is None
        with pytest.raises(DecodeError):
            method.check(x, [bytes(n_bytes - 1) + bytes([(blob[-1] + 1) % 4]) for blob in blobs])


def test_another_number_of_labels_than_the_models_is_refused(tmp_path: Path):
    save_alone(DeviceAlone(AloneShape(3, (8,), (0,))), tmp_path)
    with pytest.raises(ValueError, match="answers 3 labels, the uncut model 4"):
        alone_methods("tiny", tmp_path, PREPROCESS, 4)
    assert alone_methods("a codec that none ships for", None, PREPROCESS, 4) == []
