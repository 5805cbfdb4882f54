"""What a blob holds is checked, whatever the method."""

from __future__ import annotations

import pytest
import torch

from codec.model import FeatureCodec
from codec.model.cost import Cost
from eval.measuring.opening import load_uncut
from eval.methods.coded import Coded
from eval.methods.method import DecodeError
from eval.methods.pictures import PictureCodec
from tests.eval.conftest import TinyEval


def test_a_wrongly_decoded_blob_is_noticed(tiny_eval_codec: TinyEval) -> None:
    codec = FeatureCodec.from_pretrained(tiny_eval_codec.codec)
    method = Coded(codec, 1, Cost(0, 0), codec.tails)
    pixels = torch.randint(0, 256, (2, 3, 32, 32), dtype=torch.uint8)
    blobs = method.encode(pixels)
    with torch.inference_mode():
        assert method.check(pixels, blobs) > 0
        with pytest.raises(DecodeError, match="does not hold the symbols"):
            method.check(pixels, blobs[::-1])
    png = PictureCodec("png", None, load_uncut(codec), codec.config.preprocess)
    with pytest.raises(DecodeError, match="lossless"):
        png.check(pixels, png.encode(255 - pixels))
