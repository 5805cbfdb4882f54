"""Mobile encoders: shapes, what is refused, pretrained weights, and their graph for devices."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from codec.bundle.lowering import lower
from codec.bundle.targets import TARGETS
from codec.bundle.tracing import trace
from codec.device.preprocess import Preprocess
from codec.model import FeatureCodec
from codec.model.loading import load_encoder
from codec.model.mobile import AreaMean, MobileAnalysis, SameConv, mobile_layers
from codec.model.mobile_shape import MobileShape, MobileStage
from tests.tiny_mobile import STAGES, write_network, write_torchvision
from training.backbones.mobile_file import MobileFile
from training.backbones.mobile_start import places, start_mobile


@pytest.mark.parametrize("shrink", [1, 2])
def test_a_latent_has_its_side_and_channels(shrink: int) -> None:
    made = MobileAnalysis(MobileShape(8, STAGES, shrink), 32, 4, 6)
    assert made(torch.zeros(2, 3, 32, 32)).shape == (2, 16, 6)
    folded = MobileAnalysis(MobileShape(8, STAGES, shrink), 32, 4, 6, fold=2)
    assert folded(torch.zeros(2, 3, 32, 32)).shape == (2, 16, 6)


def test_squares_of_pixels_become_means_of_the_areas_that_they_cover() -> None:
    x = torch.rand(2, 3, 28, 28)
    halved = torch.nn.functional.avg_pool2d(x, 2)
    torch.testing.assert_close(AreaMean(2, 1)(x), halved)
    # five of each pixel in both directions, then means of seven by seven: 5/7 of the side
    fine = x.repeat_interleave(5, 2).repeat_interleave(5, 3)
    torch.testing.assert_close(AreaMean(7, 5)(x), torch.nn.functional.avg_pool2d(fine, 7))
    assert MobileShape(8, STAGES, 7, 5).side(28) == MobileShape(8, STAGES).side(20)
    assert "weight" not in AreaMean(7, 5).state_dict()
    with pytest.raises(ValueError, match="shrink_to at most that and 16, not 2 and 3"):
        MobileShape(8, STAGES, 2, 3)


def test_sizes_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ValueError, match="no multiple of 4"):
        MobileAnalysis(MobileShape(8, STAGES, shrink=4), 30, 2, 6)
    with pytest.raises(ValueError, match="not a multiple of the latent's 3"):
        MobileAnalysis(MobileShape(8, STAGES), 32, 3, 6)
    with pytest.raises(ValueError, match="kernel is one of"):
        MobileStage(8, 1, kernel=4)
    with pytest.raises(ValueError, match="1 to 16 stages"):
        MobileShape(8, ())


@torch.no_grad()
@pytest.mark.parametrize("shrink", [(2, 1), (4, 3), (1, 1)])
def test_a_mobile_codec_that_is_loaded_makes_the_latents_of_the_one_that_was_saved(
    make_codec: Callable[..., FeatureCodec],
    shrink: tuple[int, int],
    tmp_path: Path,
) -> None:
    shape = MobileShape(8, (STAGES[0], MobileStage(12, 1, stride=1)), *shrink)
    codec = make_codec(encoder="mobile", mobile=shape, side=4, student_widths=(), student_depths=())
    codec.save_pretrained(tmp_path / "saved")
    pixels = torch.rand(2, 3, 32, 32)
    wanted = codec.encoder(pixels)
    loaded = FeatureCodec.from_pretrained(tmp_path / "saved")
    torch.testing.assert_close(loaded.encoder(pixels), wanted, rtol=1e-2, atol=1e-2)
    assert torch.equal(load_encoder(tmp_path / "saved").encoder(pixels), loaded.encoder(pixels))
    # keys of today are said only where they are not as in earlier codecs
    assert ("shrink_to" in codec.config.to_json()) == (shrink[1] > 1)


@torch.no_grad()
@pytest.mark.parametrize(
    ("side", "kernel", "before", "after"), [(8, 3, 0, 1), (7, 3, 1, 1), (8, 5, 1, 2), (7, 5, 2, 2)]
)
def test_a_stride_halves_every_side_and_pads_as_tensorflow_does(
    side: int, kernel: int, before: int, after: int
) -> None:
    conv = SameConv(2, 3, kernel, 2)
    x = torch.randn(1, 2, side, side)
    padded = torch.nn.functional.pad(x, (before, after, before, after))
    assert conv(x).shape[-1] == 4
    torch.testing.assert_close(
        conv(x), torch.nn.functional.conv2d(padded, conv.weight, conv.bias, stride=2)
    )


def test_sides_of_pictures_that_are_halved_to_odd_ones_are_the_networks_own() -> None:
    shape = MobileShape(8, STAGES)
    assert mobile_layers(shape)(torch.zeros(1, 3, 50, 50)).shape[-1] == shape.side(50)


@pytest.fixture
def network(tmp_path: Path) -> tuple[Any, Path]:
    return write_network(tmp_path), tmp_path


IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))


@torch.no_grad()
@pytest.mark.parametrize("maker", ["TensorFlow", "timm", "torchvision"])
def test_pretrained_stages_make_of_pictures_what_their_network_makes(
    maker: str, tmp_path: Path
) -> None:
    shape, file, (mean, std) = MobileShape(8, STAGES), tmp_path, IMAGENET
    if maker == "torchvision":
        file = tmp_path / "mobilenet_v2-b0353104.pth"
        network = write_torchvision(file)
        shape = MobileShape(32, (MobileStage(8, 1, stride=1, expansion=1), MobileStage(16, 2)))
    elif maker == "timm":
        network = write_network(tmp_path, "mobilenetv2_100", 1e-5, mean, std)
    else:
        network, mean, std = write_network(tmp_path), (0.5,) * 3, (0.5,) * 3
    layers = mobile_layers(shape)
    preprocess = Preprocess(32, mean=(0.4, 0.5, 0.6), std=(0.2, 0.3, 0.25))
    start_mobile(layers, str(file), preprocess)
    pixels = torch.rand(2, 3, 32, 32)

    def normalised(mean: Any, std: Any) -> torch.Tensor:
        return (pixels - torch.tensor(mean).view(3, 1, 1)) / torch.tensor(std).view(3, 1, 1)

    own = layers(normalised(preprocess.mean, preprocess.std))
    wanted = network(normalised(mean, std))
    # where the padding at the border is not seen
    torch.testing.assert_close(own[..., :4, :4], wanted[..., :4, :4], rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize(
    ("said", "more", "reason"),
    [
        (None, {}, "no config.json beside it: whether it normalises as TensorFlow's"),
        ({"architecture": "mnasnet_100"}, {}, "is timm's mnasnet_100; a mobile encoder starts"),
        ({"architecture": "mobilenetv2_100"}, {}, "does not say mean and std of its pixels"),
        ({}, {"blocks.0.0.se.conv_reduce.weight": 1}, "has blocks.0.0.se.conv_reduce.weight, and"),
        ({}, {"conv_stem.weight": 0}, "has other names than timm's"),
        ({}, {"blocks.1.0.bn2.bias": 0}, "lacks blocks.1.0.bn2.bias"),
    ],
)
def test_how_a_network_normalises_is_never_guessed(
    network: tuple[Any, Path], said: Any, more: dict[str, int], reason: str
) -> None:
    folder = network[1]
    if said is None:
        (folder / "config.json").unlink()
    elif said:
        (folder / "config.json").write_text(json.dumps(said))
    weights = load_file(folder / "model.safetensors") | {n: torch.ones(1) for n in more}
    kept = {name: value for name, value in weights.items() if more.get(name) != 0}
    save_file(kept, folder / "model.safetensors")
    with pytest.raises(ValueError, match=reason):
        start_mobile(mobile_layers(MobileShape(8, STAGES)), str(folder), Preprocess(32))


def test_a_stage_with_fewer_blocks_takes_the_first_of_them() -> None:
    def weights(last: tuple[MobileStage, ...]) -> list[torch.Tensor]:
        layers = mobile_layers(MobileShape(4, last))
        return [m.weight for m in layers.modules() if isinstance(m, torch.nn.Conv2d)]

    first, end = MobileStage(8, 1, stride=1, expansion=1), MobileStage(12, 1)
    whole = places(weights((first, MobileStage(16, 3), end)))
    part = places(weights((first, MobileStage(16, 2), end)))
    assert whole.keys() - part.keys() == {(2, 2, 0), (2, 2, 1), (2, 2, 2)}
    # stem, two of the first stage, then three a block
    assert [whole[place] for place in part] == [0, 1, 2, *range(3, 9), *range(12, 15)]


def test_stages_of_one_width_have_all_their_blocks_or_are_refused() -> None:
    whole = MobileShape(4, (STAGES[0], MobileStage(12, 2), MobileStage(12, 2)))
    part = MobileShape(4, (STAGES[0], MobileStage(12, 1), MobileStage(12, 2)))
    convolutions = [m for m in mobile_layers(whole).modules() if isinstance(m, torch.nn.Conv2d)]
    pairs = [(m.weight.detach(), m.bias.detach()) for m in convolutions if m.bias is not None]
    read = MobileFile(pairs, (0.5,) * 3, (0.5,) * 3)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("training.backbones.mobile_start.read_mobile", lambda _: read)
        start_mobile(mobile_layers(whole), "network", Preprocess(32))
        with pytest.raises(ValueError, match="have one width: such stages have all"):
            start_mobile(mobile_layers(part), "network", Preprocess(32))


def test_weights_of_another_shape_are_refused(network: tuple[Any, Path]) -> None:
    wider = mobile_layers(
        MobileShape(8, (MobileStage(8, 1, stride=1, expansion=1), MobileStage(16, 2)))
    )
    with pytest.raises(ValueError, match="has shape"):
        start_mobile(wider, str(network[1]), Preprocess(32))
    deeper = mobile_layers(MobileShape(8, (STAGES[0], MobileStage(12, 3, kernel=5))))
    with pytest.raises(ValueError, match="has no block 2 in stage 1; the encoder has"):
        start_mobile(deeper, str(network[1]), Preprocess(32))


@pytest.mark.parametrize("target", ["jetson-nano", "onnxruntime"])
def test_every_target_has_a_graph_of_it(target: str) -> None:
    import numpy as np

    encoder = MobileAnalysis(MobileShape(8, STAGES, 3, 2), 48, 4, 6).eval()
    gain, half = np.ones((2, 6), dtype=np.float32), np.full(2, 0.5, dtype=np.float32)
    graph = lower(trace(encoder, 48), TARGETS[target], gain, half)
    groups = [
        attribute.i
        for node in graph.graph.node
        for attribute in node.attribute
        if node.op_type == "Conv" and attribute.name == "group"
    ]
    assert groups.count(3) == 1  # the pixels' means, channel by channel
