"""pictures, however they come -> blobs, 32 pictures at a time: one, a list, a stream, or each with
a result of its own; and the device's end of a session.

Part of the one file for devices: Python 3.6, numpy.
"""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any, NamedTuple

from codec.coding.container import HEADER_BYTES, SESSION_HEADER_BYTES, shorten
from codec.device.pictures import as_batch, is_stream, one_by_one

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from codec.coding.budget import Rate

BATCH = 32
"""Pictures or blobs that are held and go through a network at once."""


class Result(NamedTuple):
    """What became of one of several pictures or blobs.

    Attributes:
        place: its place among them, from 0.
        value: the blob, or the opened blob; None where there is an error.
        error: a ValueError or OSError, None where there is a value.
    """

    place: int
    value: Any
    error: Exception | None

    def get(self) -> Any:
        """The value; raises the error where there is one."""
        if self.error is not None:
            raise self.error
        return self.value


def each_of(
    items: Iterable[Any],
    first: Callable[[Any], Any],
    *then: Callable[[list[Any]], list[Any]],
) -> Iterator[Result]:
    """One result for each item, in order; `BATCH` items are held at once.

    Args:
        first: what is made of each item as it is drawn.
        then: what is made of a batch of these, a value each; where a step fails, each is tried
            alone.
    """
    drawn, place = iter(items), 0
    while True:
        batch = [_alone(first, item) for item in itertools.islice(drawn, BATCH)]
        if not batch:
            return
        for step in then:
            done = iter(_together(step, [one for one in batch if not isinstance(one, Exception)]))
            batch = [one if isinstance(one, Exception) else next(done) for one in batch]
        for one in batch:
            failed = isinstance(one, Exception)
            yield Result(place, None if failed else one, one if failed else None)
            place += 1


def _alone(step: Callable[[Any], Any], item: Any) -> Any:
    """A value, or the error that is an item's own."""
    try:
        return step(item)
    except (ValueError, OSError) as error:
        return error.with_traceback(None)  # which would keep the picture in memory


def _together(step: Callable[[list[Any]], list[Any]], items: list[Any]) -> list[Any]:
    """A value or an error for each of several items."""
    try:
        return list(step(items)) if items else []
    except (ValueError, OSError) as error:
        if len(items) == 1:
            return [error.with_traceback(None)]
    return [one for item in items for one in _together(step, [item])]


class Taking:
    """Takes pictures as people have them and makes blobs of them. What is an encoder's own it says
    in `chosen_rate`, `_pixels`, `_rows` and `_blobs`.

    Attributes:
        fingerprint: 32 bytes that name the codec.
    """

    fingerprint: bytes

    def __call__(
        self,
        images: Any,
        quality: int | None = None,
        *,
        max_bytes: int | None = None,
        target_drop: float | None = None,
    ) -> Any:
        """One picture -> its blob; a list or batch of pictures -> a list of blobs; a stream of
        pictures, such as a generator -> an iterator of blobs, which holds 32 pictures at most.

        Args:
            images: a PIL image; a path; the bytes of a file; a file opened for reading bytes; an
                array or torch tensor (H, W), (H, W, C) or (C, H, W) of 1, 3 or 4 channels, uint8 or
                float in 0..1; a list of these, or an iterator over them; or an array or tensor of
                four axes, (B, H, W, C) or (B, C, H, W). Pictures of another mode or size are
                converted as the backbone's image processor would.
            quality: rate index, 0 = smallest; None for the codec's default.
            max_bytes: instead of a quality, the most bytes a blob may take, header included; each
                picture gets the best quality that fits. The network runs once.
            target_drop: instead of a quality, the points of score that may be lost in the mean, by
                the codec's calibration.

        Raises:
            FileNotFoundError: no such file.
            ValueError: not a picture, an empty list, a quality the codec lacks, or a budget or drop
                that none keeps to; or more than one of the three is given.
        """
        return self._encode_at(self.chosen_rate(quality, max_bytes, target_drop), images)

    def each(
        self,
        images: Iterable[Any],
        quality: int | None = None,
        *,
        max_bytes: int | None = None,
        target_drop: float | None = None,
    ) -> Iterator[Result]:
        """Pictures -> a `Result` for each, in order: its blob, or the error that is this picture's
        own. Arguments as for a call; 32 pictures are held at most.

        Raises:
            ValueError: at once, where the rate is wrong for all of them.
        """
        return self._each_at(self.chosen_rate(quality, max_bytes, target_drop), images)

    def session(self) -> DeviceSession:
        """This end of a link whose two ends agree on the codec: its blobs have 3 bytes fewer."""
        return DeviceSession(self)

    def _encode_at(self, rate: Rate, images: Any) -> Any:
        """A call at a rate that `chosen_rate` gave."""
        if is_stream(images):
            return (result.get() for result in self._each_at(rate, images))
        batch, single = as_batch(images)
        if not batch:
            raise ValueError("an empty batch of pictures")
        rows: list[Any] = []
        for start in range(0, len(batch), BATCH):
            rows += self._rows([self._pixels(image) for image in batch[start : start + BATCH]])
        blobs = self._write(rows, rate)
        return blobs[0] if single else blobs

    def _each_at(self, rate: Rate, images: Iterable[Any]) -> Iterator[Result]:
        """`each` at a rate that `chosen_rate` gave."""
        return each_of(
            one_by_one(images), self._pixels, self._rows, lambda rows: self._write(rows, rate)
        )

    def chosen_rate(self, quality: Any, max_bytes: Any, target_drop: Any) -> Rate:
        """The rate that is asked for, checked."""
        raise NotImplementedError

    def _pixels(self, image: Any) -> Any:
        """A picture -> (S, S, 3) uint8."""
        raise NotImplementedError

    def _rows(self, pixels: list[Any]) -> list[Any]:
        """Pixels of pictures -> what the network makes of each."""
        raise NotImplementedError

    def _blobs(self, rows: list[Any], rate: Rate) -> list[bytes]:
        """What the network made of each picture -> a blob each."""
        raise NotImplementedError

    def _write(self, rows: list[Any], rate: Rate) -> list[bytes]:
        blobs = self._blobs(rows, rate)
        return [shorten(blob, self.fingerprint) for blob in blobs] if rate.spared else blobs


class DeviceSession:
    """The device's end of a session. It sends `fingerprint` to the server once, which opens its own
    end with it (`Server.session`); from then on a blob is sent without what both ends know.

    Args:
        device: a `Device` or a `DeviceEncoder`.

    Attributes:
        fingerprint: 32 bytes that name the codec.
    """

    def __init__(self, device: Taking) -> None:
        self.device, self.fingerprint = device, device.fingerprint

    def __call__(
        self,
        images: Any,
        quality: int | None = None,
        *,
        max_bytes: int | None = None,
        target_drop: float | None = None,
    ) -> Any:
        """As the device's own call, with a header of 3 bytes instead of 6: `max_bytes` is the most
        that is sent.
        """
        rate = self.device.chosen_rate(quality, max_bytes, target_drop)
        return self.device._encode_at(_without_header(rate), images)

    def each(
        self,
        images: Iterable[Any],
        quality: int | None = None,
        *,
        max_bytes: int | None = None,
        target_drop: float | None = None,
    ) -> Iterator[Result]:
        """As the device's own `each`, likewise."""
        rate = self.device.chosen_rate(quality, max_bytes, target_drop)
        return self.device._each_at(_without_header(rate), images)


def _without_header(rate: Rate) -> Rate:
    return rate._replace(spared=HEADER_BYTES - SESSION_HEADER_BYTES)
