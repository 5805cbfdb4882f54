"""a rate -> two network namespaces with a link of that rate between them (Linux, root, iproute2).

    with Namespaces() as spaces:
        spaces.limit(30_000)
        subprocess.run([*spaces.device, "curl", ...])

The rate is tc's token bucket (tbf). A bucket that has filled while nothing was sent lets 1,600
bytes through at once, which is more than most messages here: so a filler, one small datagram after
another at a lower priority, keeps it empty in both directions, and a message takes the time of its
bytes, as over a modem.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import uuid

SERVER_ADDRESS, DEVICE_ADDRESS = "10.9.0.1", "10.9.0.2"
BURST_BYTES, FILLER_PORT = 1600, 9
FRAME_BYTES = 66
"""What a packet has around TCP's bytes, as tc counts it: Ethernet 14, IPv4 20, TCP 20, its time
stamps 12."""
_FILLER = """
import socket, sys
here, there, n = sys.argv[1], sys.argv[2], int(sys.argv[3])
sink = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
sink.bind((here, %d))  # and never read: what comes is dropped, without an answer
filler = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
filler.setsockopt(socket.SOL_SOCKET, socket.SO_PRIORITY, 2)
filler.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 2048)
while n:
    try:
        filler.sendto(bytes(n), (there, %d))
    except OSError:
        pass
sys.stdin.read()
""" % (FILLER_PORT, FILLER_PORT)  # noqa: UP031 - the program has braces of its own


class Namespaces:
    """Two namespaces, `server` and `device`, each the start of a command line that runs in it.

    Raises:
        OSError: they are refused here; the message says why.
    """

    def __init__(self) -> None:
        name = "taskcodec-" + uuid.uuid4().hex[:8]
        self._names = (f"{name}-s", f"{name}-d")
        self._fillers: list[subprocess.Popen[bytes]] = []
        self.server, self.device = (["ip", "netns", "exec", one] for one in self._names)

    def __enter__(self) -> Namespaces:
        if os.name != "posix" or not (shutil.which("ip") and shutil.which("tc")):
            raise OSError("network namespaces need iproute2's ip and tc")
        server, device = self._names
        try:
            for name in self._names:
                _run("ip", "netns", "add", name)
            ends = ["name", "link0", "netns", server, "type", "veth"]
            _run("ip", "link", "add", *ends, "peer", "name", "link0", "netns", device)
            for name, address in ((server, SERVER_ADDRESS), (device, DEVICE_ADDRESS)):
                _run("ip", "-n", name, "addr", "add", f"{address}/24", "dev", "link0")
                for link in ("lo", "link0"):
                    _run("ip", "-n", name, "link", "set", link, "up")
            self.limit(1e6)
            self.limit(None)
        except OSError:
            self._remove()
            raise
        return self

    def __exit__(self, *raised: object) -> None:
        self._remove()

    def limit(self, bytes_per_s: float | None) -> None:
        """Give the link a rate, the same both ways; None for no limit."""
        self._stop_fillers()
        for name in self._names:
            _run("tc", "-n", name, "qdisc", "del", "dev", "link0", "root", check=False)
            if bytes_per_s is not None:
                rate = f"{round(8 * bytes_per_s)}bit"
                bucket = ["rate", rate, "burst", str(BURST_BYTES), "limit", str(1 << 22)]
                root = ["dev", "link0", "root", "handle", "1:", "tbf", *bucket]
                _run("tc", "-n", name, "qdisc", "add", *root)
                _run(
                    "tc", "-n", name, "qdisc", "add", "dev", "link0", "parent", "1:1", "pfifo_fast"
                )
        if bytes_per_s is None:
            return
        n_bytes = str(min(max(int(bytes_per_s / 2000), 1), 1400))  # half a millisecond
        addresses = (SERVER_ADDRESS, DEVICE_ADDRESS)
        for where, (here, there) in zip(
            (self.server, self.device), (addresses, addresses[::-1]), strict=True
        ):
            command = [*where, sys.executable, "-c", _FILLER, here, there, n_bytes]
            self._fillers.append(subprocess.Popen(command, stdin=subprocess.PIPE))

    def _stop_fillers(self) -> None:
        for filler in self._fillers:
            filler.kill()
            filler.communicate()
        self._fillers = []

    def _remove(self) -> None:
        self._stop_fillers()
        for name in self._names:
            _run("ip", "netns", "del", name, check=False)


def _run(*command: str, check: bool = True) -> None:
    done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    if check and done.returncode:
        raise OSError(f"{' '.join(command)}: {done.stderr.strip() or done.returncode}")
