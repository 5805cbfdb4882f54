"""image -> blob and blob -> tokens: the cut model, the networks at the cut, and the codec of them
all; torch.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from codec.model.codec import FeatureCodec

__all__ = ["FeatureCodec"]


def __getattr__(name: str) -> Any:  # a file of this folder that needs no torch does not bring it
    if name == "FeatureCodec":
        from codec.model.codec import FeatureCodec

        return FeatureCodec
    raise AttributeError(f"module 'codec.model' has no attribute {name!r}")
