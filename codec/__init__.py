"""task-codec: sends what a model needs instead of what a person sees."""

from typing import TYPE_CHECKING, Any

from codec.bitstream import BitstreamError

if TYPE_CHECKING:
    from codec.model import FeatureCodec

__all__ = ["BitstreamError", "FeatureCodec"]
__version__ = "0.1.0"


def __getattr__(name: str) -> Any:  # torch is imported when a codec is first asked for
    if name == "FeatureCodec":
        from codec.model import FeatureCodec

        return FeatureCodec
    raise AttributeError(f"module 'codec' has no attribute {name!r}")
