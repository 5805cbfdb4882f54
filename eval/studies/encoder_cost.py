"""python -m eval.studies.encoder_cost RECIPE [key=value ...]: what a recipe's encoder costs a
device, beside one block of a ViT with patches of 16 pixels: ViT-B's, or with `--width 384` ViT-S's.

The encoder has random weights, rounded to float16 as a trained one's are. Both run in ONNX Runtime
on one thread, in turn; times are medians of processor time, so that other work on the machine
counts little.
"""

from __future__ import annotations

import argparse
import statistics
import time
import warnings
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch

from codec.bundle.export import check_installed
from codec.bundle.targets import TARGETS
from codec.bundle.tracing import trace
from codec.device.preprocess import Preprocess
from codec.model.config import CodecConfig
from codec.model.cost import device_cost, multiply_accumulates
from codec.model.networks import build_encoder
from codec.model.split import blocks
from codec.show.console import add_row, make_table, print_table
from training.codecs.recipe import CodecRecipe
from training.engine.recipe import read_recipe

SIZE, N_TOKENS = 224, 197
HEAD_WIDTH = 64
RUNS = 25


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        prog="python -m eval.studies.encoder_cost",
        description="A convolutional encoder beside a block of a ViT with patches of 16 pixels.",
    )
    parser.add_argument("recipe", help="YAML file, or the name of one in training/recipes")
    parser.add_argument("overrides", nargs="*", metavar="key=value", help="put over the recipe")
    parser.add_argument("--width", type=int, default=768, help="of the block; default: %(default)d")
    options = parser.parse_intermixed_args(arguments)
    check_installed()
    recipe = read_recipe(CodecRecipe, options.recipe, options.overrides)
    try:
        config = config_of(recipe)
    except ValueError as error:
        kind = f"a convolutional encoder for {SIZE} x {SIZE} pixels"
        raise SystemExit(f"{options.recipe} is not of {kind}: {error}") from error
    tokens = (1, N_TOKENS, options.width)
    one_block, cost = block(options.width), device_cost(encoder(config), SIZE)
    run_block = session(graph(one_block, tokens), "x", tokens)
    table = make_table("target", ">parameters", ">ONNX", ">encoder", ">block", ">encoder / block")
    for target, model in graphs(config).items():
        run = session(model, "pixel_values", (1, 3, SIZE, SIZE))
        ours, theirs = medians_ms(run, run_block)
        sizes = (f"{cost.params / 1e6:.2f} M", f"{model.ByteSize() / 1e6:.2f} MB")
        add_row(table, target, *sizes, f"{ours:.2f} ms", f"{theirs:.2f} ms", f"{ours / theirs:.3f}")
    print_table(table)
    ours, theirs = cost.macs / 1e6, multiply_accumulates(one_block, tokens) / 1e6
    print(f"multiply-accumulates: encoder {ours:.0f} M, block {theirs:.0f} M")


def config_of(recipe: CodecRecipe) -> CodecConfig:
    """The shape of a recipe's codec.

    Raises:
        ValueError: it has no convolutional encoder, or none for pictures of this size.
    """
    config = recipe.config(Preprocess(SIZE))
    if config.encoder == "blocks":
        raise ValueError(f"its encoder is {config.encoder!r}")
    return config


def encoder(config: CodecConfig) -> torch.nn.Module:
    """A codec's encoder with random weights that float16 holds."""
    torch.manual_seed(0)
    made = build_encoder(config, None, None).eval()
    with torch.no_grad():
        for p in made.parameters():
            p.copy_(p.half())
    return made


def graphs(config: CodecConfig) -> dict[str, Any]:
    """The encoder's graph for each target, with a quantiser, as `codec export` writes it."""
    from codec.bundle.lowering import lower, weights_as_half

    traced, n_qualities = trace(encoder(config), SIZE), config.n_qualities
    gain = np.ones((n_qualities, config.n_channels), dtype=np.float32)
    half = np.full(n_qualities, 0.5, dtype=np.float32)
    made = {name: lower(traced, target, gain, half) for name, target in TARGETS.items()}
    return {
        name: weights_as_half(model) if TARGETS[name].tensorrt is None else model
        for name, model in made.items()
    }


def block(width: int) -> torch.nn.Module:
    """One transformer block of a ViT, tokens (B, N, width) -> tokens, with random weights.

    Raises:
        SystemExit: the width is not made of heads.
    """
    from transformers import ViTConfig, ViTModel

    if width < HEAD_WIDTH or width % HEAD_WIDTH:
        raise SystemExit(f"--width is a multiple of {HEAD_WIDTH}, not {width}")
    config = ViTConfig(  # type: ignore[call-arg]
        hidden_size=width,
        intermediate_size=4 * width,
        num_attention_heads=width // HEAD_WIDTH,
        num_hidden_layers=1,
    )
    return blocks(ViTModel(config).eval())[0]


def graph(network: torch.nn.Module, shape: tuple[int, ...]) -> Any:
    """A network with one input `x`, as an `onnx.ModelProto`."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        program = torch.onnx.export(
            network,
            (torch.zeros(shape),),
            input_names=["x"],
            opset_version=18,
            dynamo=True,
            external_data=False,
            verbose=False,
        )
    assert program is not None
    return program.model_proto


def session(model: Any, name: str, shape: tuple[int, ...]) -> Callable[[], Any]:
    """A function that runs a graph once, on one thread."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    opened = onnxruntime.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    x = np.random.default_rng(0).standard_normal(shape).astype(np.float32)
    return lambda: opened.run(None, {name: x})


def medians_ms(*runs: Callable[[], Any]) -> list[float]:
    """Median milliseconds of processor time of each, run in turn after a warm-up."""
    times: list[list[float]] = [[] for _ in runs]
    for i in range(RUNS + 3):
        for run, mine in zip(runs, times, strict=True):
            start = time.process_time()
            run()
            if i >= 3:
                mine.append(1000 * (time.process_time() - start))
    return [statistics.median(mine) for mine in times]


if __name__ == "__main__":
    main()
