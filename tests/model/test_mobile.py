"""Mobile encoders: shapes, what is refused, pretrained weights, and their graph for devices."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from codec.bundle.export import trace
from codec.bundle.lowering import lower
from codec.bundle.targets import TARGETS
from codec.device.preprocess import Preprocess
from codec.model.mobile import MobileAnalysis, mobile_layers
from codec.model.mobile_shape import MobileShape, MobileStage
from tests.tiny_mobile import STAGES, write_network
from training.backbones.mobile_start import start_mobile


@pytest.mark.parametrize("shrink", [1, 2])
def test_a_latent_has_its_side_and_channels(shrink: int) -> None:
    made = MobileAnalysis(MobileShape(8, STAGES, shrink), 32, 4, 6)
    assert made(torch.zeros(2, 3, 32, 32)).shape == (2, 16, 6)
    folded = MobileAnalysis(MobileShape(8, STAGES, shrink), 32, 4, 6, fold=2)
    assert folded(torch.zeros(2, 3, 32, 32)).shape == (2, 16, 6)


def test_sizes_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ValueError, match="a step by 2 meets 15"):
        MobileAnalysis(MobileShape(8, STAGES), 30, 3, 6)
    with pytest.raises(ValueError, match="not a multiple of the latent's 3"):
        MobileAnalysis(MobileShape(8, STAGES), 32, 3, 6)
    with pytest.raises(ValueError, match="kernel is one of"):
        MobileStage(8, 1, kernel=4)
    with pytest.raises(ValueError, match="1 to 16 stages"):
        MobileShape(8, ())


@pytest.fixture
def network(tmp_path: Path) -> tuple[Any, Path]:
    return write_network(tmp_path), tmp_path


@torch.no_grad()
def test_pretrained_stages_make_of_pictures_what_their_network_makes(
    network: tuple[Any, Path],
) -> None:
    layers = mobile_layers(MobileShape(8, STAGES))
    preprocess = Preprocess(32, mean=(0.4, 0.5, 0.6), std=(0.2, 0.3, 0.25))
    start_mobile(layers, str(network[1]), preprocess)
    pixels = torch.rand(2, 3, 32, 32)
    mean, std = (torch.tensor(v).view(3, 1, 1) for v in (preprocess.mean, preprocess.std))
    own = layers((pixels - mean) / std)
    wanted = network[0]((pixels - 0.5) / 0.5)
    # where the padding at the border is not seen
    torch.testing.assert_close(own[..., :5, :5], wanted[..., :5, :5], rtol=1e-3, atol=1e-3)


def test_weights_of_another_shape_are_refused(network: tuple[Any, Path]) -> None:
    wider = mobile_layers(
        MobileShape(8, (MobileStage(8, 1, stride=1, expansion=1), MobileStage(16, 2)))
    )
    with pytest.raises(ValueError, match="has shape"):
        start_mobile(wider, str(network[1]), Preprocess(32))
    deeper = mobile_layers(MobileShape(8, (*STAGES, *STAGES)))
    with pytest.raises(ValueError, match="convolutions; the encoder has"):
        start_mobile(deeper, str(network[1]), Preprocess(32))


@pytest.mark.parametrize("target", ["jetson-nano", "onnxruntime"])
def test_every_target_has_a_graph_of_it(target: str) -> None:
    import numpy as np

    encoder = MobileAnalysis(MobileShape(8, STAGES, shrink=2), 32, 4, 6).eval()
    gain, half = np.ones((2, 6), dtype=np.float32), np.full(2, 0.5, dtype=np.float32)
    graph = lower(trace(encoder, 32), TARGETS[target], gain, half)
    assert "AveragePool" in {node.op_type for node in graph.graph.node}
