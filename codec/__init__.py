"""task-codec: sends what a model needs instead of what a person sees."""

from typing import TYPE_CHECKING, Any

from codec.coding.container import BitstreamError

if TYPE_CHECKING:
    from codec.device.sources import open_url, pictures_in
    from codec.model import FeatureCodec
    from codec.pipeline import Device, Server

__all__ = ["BitstreamError", "Device", "FeatureCodec", "Server", "open_url", "pictures_in"]
__version__ = "0.1.0"


def __getattr__(name: str) -> Any:  # torch is imported when one of these is first asked for
    if name == "FeatureCodec":
        from codec.model import FeatureCodec

        return FeatureCodec
    if name in ("Device", "Server"):
        from codec import pipeline

        return getattr(pipeline, name)
    if name in ("open_url", "pictures_in"):
        from codec.device import sources

        return getattr(sources, name)
    raise AttributeError(f"module 'codec' has no attribute {name!r}")
