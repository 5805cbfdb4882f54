"""picture codecs at many sizes and qualities -> those worth measuring, chosen on other images than
the measured ones.
"""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console

from eval.measuring.evaluators import Evaluator
from eval.measuring.opening import Images, TextImages
from eval.measuring.rates import front
from eval.measuring.rows import Row
from eval.measuring.tally import measure
from eval.methods.method import Method
from eval.methods.pictures import PictureCodec


def without_worse_pictures(
    methods: Sequence[Method],
    images: Images | TextImages,
    evaluators: Sequence[Evaluator],
    data: str,
    console: Console,
) -> list[Method]:
    """The methods without the lossy picture codecs that are not on the front of `images`.

    Args:
        methods: the first is the uncut model.
        images: and their evaluators; other ones than those that are measured afterwards.
        data: what tables call them.

    Raises:
        DecodeError: something did not decode to what was encoded.
    """
    asked = [method for method in methods if _is_lossy(method)]
    kept = on_front(measure([methods[0], *asked], images, evaluators, data, console)[1:])
    return [m for m in methods if not _is_lossy(m) or (m.name, m.quality) in kept]


def on_front(rows: Sequence[Row]) -> set[tuple[str, int | None]]:
    """Codec and quality of the rows that are better than all smaller ones, in one task at least."""
    kept = set()
    for task in {row.task for row in rows}:
        some = [row for row in rows if row.task == task]
        places = front([(row.bytes_mean, row.score) for row in some])
        kept |= {(some[i].codec, some[i].quality) for i in places}
    return kept


def _is_lossy(method: Method) -> bool:
    return isinstance(method, PictureCodec) and not method.format.lossless
