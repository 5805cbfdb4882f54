"""a codec's sweep -> what to expect of it: bytes of pictures of the same score, and agreement.

A sweep is the `sweep.jsonl` beside a shipped codec: what was measured of it on test data.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from codec.link.choosing import TASKS, swept_ways
from codec.link.ways import Stages, read_sweep
from codec.serve.models import Served

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Expected:
    """What the sweep says of a codec; nothing where it has none.

    Attributes:
        picture_bytes: by what is asked and a blob's quality: mean bytes of the smallest WebP or
            AVIF, at any size, with which the uncut model scores at least as well as the codec;
            where none does, of the smallest of those that score best.
        agreement: by what is asked: percent of answers that are the uncut model's, at the codec's
            default quality.
    """

    picture_bytes: Mapping[tuple[str, int], float] = field(default_factory=dict)
    agreement: Mapping[str, float] = field(default_factory=dict)


def expected_of(served: Served) -> Expected:
    """What the sweep beside a codec says. One that cannot be read is logged, and says nothing."""
    folder = Path(served.codec.folder)
    try:
        swept = swept_ways(folder, served.name, alone=False)
        rows = read_sweep(folder / "sweep.jsonl") if swept else {}
    except ValueError as error:
        _log.warning("%s: nothing is known of what to expect: %s", served.name, error)
        return Expected()
    sizes: dict[tuple[str, int], float] = {}
    around = Stages().request_bytes  # which `swept_ways` has added
    for verb, ways in swept.items():
        pictures = [way for way in ways if way.name.startswith("picture:")]
        best = max((way.score for way in pictures), default=0.0)
        for way in ways:
            good = [p.n_bytes_up - around for p in pictures if p.score >= min(way.score, best)]
            if way.name.startswith("blob q") and good:
                sizes[verb, int(way.name.removeprefix("blob q"))] = min(good)
    quality = served.codec.config.default_quality
    agreement = {
        verb: float(row["agreement"])
        for verb, task in TASKS.items()
        for row in rows.get(task, ())
        if (row["codec"], row.get("quality")) == (served.name, quality) and "agreement" in row
    }
    return Expected(sizes, agreement)
