"""picture -> answer of a server, from a device without torch: client, queue, small links."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from codec.link.client import SplitClient

__all__ = ["SplitClient"]


def __getattr__(name: str) -> Any:  # numpy is imported when it is first asked for
    if name == "SplitClient":
        from codec.link.client import SplitClient

        return SplitClient
    raise AttributeError(f"module 'codec.link' has no attribute {name!r}")
