"""a codec's sweep -> what a picture of the same score would have taken in the place of a blob."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path

from codec.link.choosing import swept_ways
from codec.link.ways import Stages
from codec.serve.models import Served

_log = logging.getLogger(__name__)


def picture_bytes(served: Served) -> Mapping[tuple[str, int], float]:
    """Mean bytes of a picture, by what is asked and the blob's quality: of the smallest WebP or
    AVIF of the sweep beside the codec, at any size, with which the uncut model scores at least as
    well as the codec does. Empty where there is no sweep; a quality that no picture reaches is
    left out.
    """
    found: dict[tuple[str, int], float] = {}
    around = Stages().request_bytes  # which `swept_ways` has added
    try:
        swept = swept_ways(Path(served.codec.folder), served.name, alone=False)
    except ValueError as error:
        _log.warning("%s: nothing is compared with pictures: %s", served.name, error)
        return found
    for verb, ways in swept.items():
        pictures = [way for way in ways if way.name.startswith("picture:")]
        for way in ways:
            good = [one.n_bytes_up - around for one in pictures if one.score >= way.score]
            if way.name.startswith("blob q") and good:
                found[verb, int(way.name.removeprefix("blob q"))] = min(good)
    return found
