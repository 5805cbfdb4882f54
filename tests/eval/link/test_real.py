"""The real client and server over a link of our own making, beside the simulator."""

from __future__ import annotations

import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from codec.link.client import SplitClient
from codec.link.policy import Way
from codec.link.replay import Setting
from codec.link.traces import Trace, fixed
from codec.model import FeatureCodec
from codec.pipeline import Device
from eval.link.asking import Asked, ask
from eval.link.namespaces import SERVER_ADDRESS, Namespaces
from eval.link.proxy import DOWN, UP, Conditions, Link, read, running, written
from eval.link.real import compared, main
from tests.link.test_client import serving

Picture = Callable[..., Image.Image]
WAYS = {"classify": [Way("blob q1", 260, 400, 1, 1, 60.0)]}
SETTING = Setting(5, 0.8)


def port_of(url: str) -> int:
    return int(url.rpartition(":")[2])


@pytest.fixture
def asked(tiny_codec: FeatureCodec, picture: Picture) -> Callable[[Conditions], list[Asked]]:
    """Requests of a real client to a real server over a link, after one without limits."""

    def over(conditions: Conditions) -> list[Asked]:
        link = Link()
        with serving(tiny_codec) as url, running(link, ("127.0.0.1", port_of(url))) as port:
            client = SplitClient(f"http://127.0.0.1:{port}", Device(tiny_codec), ways=WAYS)
            images = [picture(seed) for seed in range(3)]
            client(images[0], quality=1)
            start_s = time.monotonic() + 0.05
            link.set(Conditions(**(vars(conditions) | {"start_s": start_s})))
            every_s = SETTING.every_s if conditions.trace else 0.0
            found = ask(client, images, SETTING.n_requests, every_s, start_s)
            client.close()
        return found

    return over


@pytest.mark.long
def test_over_the_proxy_the_simulator_says_how_long_real_requests_take(
    asked: Callable[[Conditions], list[Asked]],
) -> None:
    trace = fixed(1200.0)
    calm = asked(Conditions())
    base_ms = statistics.median(one.link_ms for one in calm)
    found = asked(Conditions(trace, delay_ms=10))
    beside = compared(found, trace, SETTING, base_ms, "blob q1", 0.0)
    assert beside.n_failed == 0
    assert beside.taken == "blob q1 (5 of 5)"
    assert beside.real_ms[0] > 1000 * (200 + 300) / 1200, "headers alone take as long"
    assert abs(beside.off) < 0.5, "how close it is, a quiet machine says: docs/ways.md"


def test_a_link_that_breaks_is_a_request_that_failed(
    asked: Callable[[Conditions], list[Asked]],
) -> None:
    found = asked(Conditions(cut_share=1.0))
    assert all(one.failed for one in found)
    with pytest.raises(ValueError, match="no request was answered"):
        compared(found, fixed(1.0), SETTING, 0.0, "blob q1", 0.0)


def test_bytes_of_a_direction_go_one_after_another() -> None:
    link = Link()
    assert link.arrives_s(UP, 100, 7.0) == 7.0, "nothing is set"
    link.set(Conditions(fixed(1000.0), start_s=5.0, delay_ms=20))
    times = [link.arrives_s(UP, 100, 7.0), link.arrives_s(UP, 50, 7.0)]
    assert times == pytest.approx([7.12, 7.17])
    assert link.arrives_s(DOWN, 100, 7.05) == pytest.approx(7.17)
    assert link.arrives_s(UP, 100, 9.0) == pytest.approx(9.12), "the link was idle"


def test_an_outage_holds_bytes_and_a_stall_holds_those_behind_it() -> None:
    trace = Trace("half", (0.0, 1.0), (1e6, 0.0), 2.0)
    link = Link()
    link.set(Conditions(trace))
    assert link.arrives_s(UP, 1000, 1.5) == pytest.approx(2.001)
    link.set(Conditions(None, stall_share=1.0, stall_ms=200))
    assert [link.arrives_s(UP, 1, 1.0) for _ in range(2)] == pytest.approx([1.2, 1.4])
    link.set(Conditions(None, stall_share=0.3, stall_ms=200, seed=3))
    late = np.array([link.arrives_s(UP, 1, float(n)) for n in range(200)]) - np.arange(200)
    assert 0.2 < (late > 0.1).mean() < 0.4
    link.set(Conditions(cut_share=1.0))
    assert link.arrives_s(UP, 1, 0.0) is None


@pytest.mark.parametrize(
    "conditions", [None, Conditions(), Conditions(fixed(30.0), 12.5, 10, 0.1, 250, 0.01, 4)]
)
def test_conditions_go_through_json(conditions: Conditions | None) -> None:
    assert read(written(conditions)) == conditions


def spaces() -> Namespaces:
    """Namespaces, or the test is left out where this machine refuses them."""
    try:
        with Namespaces():
            return Namespaces()
    except OSError as error:
        pytest.skip(f"no network namespaces here: {error}")


_SERVER = """
import socket
listening = socket.create_server(("%s", 7000))
print("ready", flush=True)
taken, _ = listening.accept()
while data := taken.recv(9999):
    print(len(data), flush=True)
"""
_DEVICE = """
import socket, time
taken = socket.create_connection(("%s", 7000))
taken.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
for _ in range(3):
    taken.sendall(bytes(934))
    time.sleep(1)
"""


@pytest.mark.long
def test_a_message_takes_the_time_of_its_bytes_between_namespaces() -> None:
    with spaces() as both:
        command = [*both.server, sys.executable, "-c", _SERVER % SERVER_ADDRESS]
        server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert server.stdout is not None
        server.stdout.readline()
        both.limit(2000)
        time.sleep(2)
        starts = time.monotonic()
        device: Any = subprocess.Popen(
            [*both.device, sys.executable, "-c", _DEVICE % SERVER_ADDRESS]
        )
        times = []
        for _ in range(3):
            assert server.stdout.readline().strip() == "934"
            times.append(time.monotonic() - starts)
        device.wait(10)
        server.kill()
        server.communicate()
    # 934 bytes and 66 around them at 2,000 bytes a second; the next message comes a second later,
    # and on a busy machine a reader may hear of it late
    assert np.diff(times) == pytest.approx([1.0, 1.0], abs=0.5)
    assert times[0] > 0.45, "a full bucket would let it through at once"


@pytest.mark.long
def test_the_command_compares_real_and_simulated_in_namespaces(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    spaces()
    monkeypatch.setattr("eval.link.real.LONGEST_RUN_S", 3.0)
    assert main(["--trace", "fixed:1000"]) == 0
    rows = [line for line in capsys.readouterr().out.splitlines() if line.startswith("| fixed")]
    assert len(rows) == 3
    for row in rows:
        # how well the two agree is measured, on a machine that does nothing else: docs/ways.md
        assert abs(float(row.split("|")[-2].strip().rstrip("%"))) < 60, row
    assert "policy: blob q9" in rows[-1]


def test_what_cannot_be_run_is_one_line(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert main(["--images", str(tmp_path)]) == 2
    assert "no pictures" in capsys.readouterr().err
