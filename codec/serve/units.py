"""numbers -> short text for people: bytes, times and durations."""

from __future__ import annotations


def size(n_bytes: float) -> str:
    """Bytes with three digits: "8.25 B", "1.23 KB" of 1,000 bytes, "45.6 MB"."""
    units = ["B", "KB", "MB", "GB", "TB"]
    while n_bytes >= 999.5 and len(units) > 1:
        n_bytes /= 1000
        del units[0]
    return f"{n_bytes:.3g} {units[0]}"


def ms(value: float | None) -> str:
    """Milliseconds with three digits; "-" for none."""
    if value is None:
        return "-"
    return f"{value:.3g} ms" if value < 999.5 else f"{value / 1000:.3g} s"


def duration(seconds: float) -> str:
    """A duration in its largest unit: "12 s", "5 min", "3 h", "2 days"."""
    if seconds < 1:
        return f"{1000 * seconds:.0f} ms" if seconds else "0 s"
    for unit, length, most in (("s", 1, 120), ("min", 60, 7200), ("h", 3600, 172_800)):
        if seconds < most:
            return f"{int(seconds / length)} {unit}"
    return f"{int(seconds / 86_400)} days"
