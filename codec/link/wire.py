"""socket -> the bytes that TCP has carried for it: what requests and replies take on the wire."""

from __future__ import annotations

import socket
import struct
from typing import Any


def tcp_bytes(sock: Any) -> tuple[int, int]:
    """Bytes that TCP has sent and received for a socket so far, each once, however often a packet
    was sent again; zeros where the system does not say.

    Linux' struct tcp_info (linux/tcp.h): tcpi_bytes_received is at 128, tcpi_bytes_sent at 200, and
    tcpi_bytes_retrans, which is part of it, at 208.
    """
    option = getattr(socket, "TCP_INFO", None)
    if sock is None or option is None:
        return 0, 0
    try:
        info = sock.getsockopt(socket.IPPROTO_TCP, option, 216)
        received, sent, again = (struct.unpack_from("<Q", info, at)[0] for at in (128, 200, 208))
        return sent - again, received
    except (OSError, struct.error):
        return 0, 0
