"""socket -> the bytes that TCP has carried for it: what requests and replies take on the wire."""

from __future__ import annotations

import socket
import struct
from typing import Any


def tcp_bytes(sock: Any) -> tuple[int, int]:
    """Bytes that TCP has sent and received for a socket so far; zeros where the system does not
    say.

    Linux' struct tcp_info (linux/tcp.h): tcpi_bytes_received is at 128, tcpi_bytes_sent at 200.
    """
    option = getattr(socket, "TCP_INFO", None)
    if sock is None or option is None:
        return 0, 0
    try:
        info = sock.getsockopt(socket.IPPROTO_TCP, option, 208)
        return struct.unpack_from("<Q", info, 200)[0], struct.unpack_from("<Q", info, 128)[0]
    except (OSError, struct.error):
        return 0, 0
