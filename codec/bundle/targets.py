"""name of a device -> what its ONNX parser takes: the opset and the operators that an exported
graph keeps to.

The operators are those marked "Y" in onnx-tensorrt's docs/operators.md of each release, up to the
branch 10.1-GA; of later releases nothing is known here beyond that, so their list is 10.1's.
"""

from __future__ import annotations

from dataclasses import dataclass

_RELEASES = {  # TensorRT release -> the operators it was the first to take
    (8, 0): """
        Abs Acos Acosh Add And ArgMax ArgMin Asin Asinh Atan Atanh AveragePool
        BatchNormalization Cast Ceil Celu Clip Concat Constant ConstantOfShape Conv
        ConvTranspose Cos Cosh CumSum DepthToSpace DequantizeLinear Div Dropout Elu Equal Erf
        Exp Expand EyeLike Flatten Floor GRU Gather GatherElements Gemm GlobalAveragePool
        GlobalLpPool GlobalMaxPool Greater GreaterOrEqual HardSigmoid Identity If ImageScaler
        InstanceNormalization LRN LSTM LeakyRelu Less LessOrEqual Log LogSoftmax Loop
        LpNormalization LpPool MatMul Max MaxPool Mean Min Mul Neg NonMaxSuppression Not Or
        PRelu Pad ParametricSoftplus Pow QuantizeLinear RNN RandomUniform RandomUniformLike
        Range ReduceL1 ReduceL2 ReduceLogSum ReduceLogSumExp ReduceMax ReduceMean ReduceMin
        ReduceProd ReduceSum ReduceSumSquare Relu Reshape Resize ReverseSequence ScaledTanh
        Scan Selu Shape Sigmoid Sin Sinh Size Slice Softmax Softplus Softsign SpaceToDepth
        Split Sqrt Squeeze Sub Sum Tan Tanh ThresholdedRelu Tile TopK Transpose Unsqueeze
        Upsample Where""",
    (8, 2): "Einsum GatherND IsNaN Round Scatter ScatterElements ScatterND Sign",
    (8, 5): """
        GridSample HardSwish MeanVarianceNormalization Mod NonZero OneHot RandomNormal
        RandomNormalLike Reciprocal RoiAlign Shrink Trilu Xor""",
    (8, 6): "GroupNormalization IsInf LayerNormalization",
    (10, 0): "CastLike DeformConv Gelu Hardmax Mish",
}


@dataclass(frozen=True)
class Target:
    """A kind of device.

    Attributes:
        device: what it is, in words.
        opset, ir: versions of the exported ONNX file.
        tensorrt: the oldest TensorRT release such a device has; None where ONNX Runtime runs the
            file.
    """

    device: str
    opset: int
    ir: int
    tensorrt: tuple[int, int] | None

    @property
    def operators(self) -> frozenset[str] | None:
        """The operators its parser takes; None for all of ONNX."""
        if self.tensorrt is None:
            return None
        return frozenset(
            name
            for release, names in _RELEASES.items()
            if release <= self.tensorrt
            for name in names.split()
        )


TARGETS = {
    "jetson-nano": Target(
        "Jetson Nano, TX1/TX2, Xavier: JetPack 4.6, TensorRT 8.0 or 8.2", 13, 7, (8, 0)
    ),
    "jetson-orin-jp5": Target("Jetson Xavier or Orin: JetPack 5.1, TensorRT 8.5", 13, 7, (8, 5)),
    "jetson-orin-jp6": Target("Jetson Orin: JetPack 6, TensorRT 8.6 or 10.3", 18, 8, (8, 6)),
    "jetson-jp7": Target(
        "Jetson Orin or Thor: JetPack 7, TensorRT 10.13 and later", 18, 8, (10, 13)
    ),
    "onnxruntime": Target("any machine with ONNX Runtime 1.14 or later", 18, 8, None),
}


def find_target(name: str) -> Target:
    """The target of that name.

    Raises:
        ValueError: there is none; the message lists them.
    """
    if name not in TARGETS:
        raise ValueError(f"unknown target {name!r}; there are: {', '.join(TARGETS)}")
    return TARGETS[name]
