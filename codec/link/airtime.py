"""bytes of a frame -> seconds on the air: what a message of a small radio link costs."""

from __future__ import annotations

import math

LORAWAN_OVERHEAD_BYTES = 13
"""What LoRaWAN puts around an application's payload: header 1, address 4, control 1, counter 2,
port 1, integrity code 4 (LoRaWAN 1.0.4, sec. 4)."""
SIGFOX_OVERHEAD_BYTES = 14
"""What Sigfox puts around 12 bytes: preamble, synchronisation, address, counter, authentication and
CRC make 26 bytes of them."""


def lora_airtime_s(
    n_bytes: int, spreading_factor: int, bandwidth_hz: int = 125_000, coding_rate: int = 1
) -> float:
    """Seconds that a LoRa packet of `n_bytes` is on the air, with explicit header, CRC and a
    preamble of 8 symbols, as LoRaWAN's uplinks have (Semtech, SX1276/77/78/79 datasheet rev. 7,
    sec. 4.1.1.6 and 4.1.1.7).

    Args:
        n_bytes: the physical payload: the application's and LoRaWAN's 13 bytes.
        spreading_factor: 7 to 12.
        bandwidth_hz: 125,000, 250,000 or 500,000.
        coding_rate: 1 for 4/5 to 4 for 4/8.

    Raises:
        ValueError: one of these is out of range.
    """
    if spreading_factor not in range(7, 13):
        raise ValueError(f"a spreading factor is 7 to 12, not {spreading_factor}")
    if bandwidth_hz not in (125_000, 250_000, 500_000):
        raise ValueError(f"a bandwidth is 125000, 250000 or 500000 Hz, not {bandwidth_hz}")
    if coding_rate not in range(1, 5):
        raise ValueError(f"a coding rate is 1 (4/5) to 4 (4/8), not {coding_rate}")
    if not 0 <= n_bytes <= 255:
        raise ValueError(f"a LoRa packet has 0 to 255 bytes, not {n_bytes}")
    symbol_s = 2**spreading_factor / bandwidth_hz
    # symbols of 16 ms and more drift: they carry two bits fewer
    n_bits = 4 * (spreading_factor - 2 if symbol_s >= 0.016 else spreading_factor)
    rest = 8 * n_bytes - 4 * spreading_factor + 28 + 16
    n_symbols = 8 + max(math.ceil(rest / n_bits), 0) * (coding_rate + 4)
    return (8 + 4.25 + n_symbols) * symbol_s


def sigfox_airtime_s(n_bytes: int) -> float:
    """Seconds that a Sigfox uplink of `n_bytes` is on the air: three times, at 100 bits a second
    (Sigfox connected objects: radio specifications, rev. 1.5, RC1). A payload takes 1, 4, 8 or 12
    bytes in the frame.

    Raises:
        ValueError: more than 12 bytes.
    """
    if not 0 <= n_bytes <= 12:
        raise ValueError(f"a Sigfox uplink has 0 to 12 bytes, not {n_bytes}")
    carried = next(size for size in (1, 4, 8, 12) if n_bytes <= size)
    return 3 * 8 * (SIGFOX_OVERHEAD_BYTES + carried) / 100
