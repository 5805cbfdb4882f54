"""picture -> labels on the device alone: a bundle's classifier, which needs no server and no torch.

Not part of the one file for devices: `codec.link` is what answers by it.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import numpy as np

from codec.device.engines import ALONE_FILE, LOGITS, PIXELS, onnx_session

if TYPE_CHECKING:
    from codec.device.preprocess import Preprocess


class OwnClassifier:
    """The classifier of a bundle for the device alone. It answers as a server does: a call gives
    the labels of one picture, best first.

    Args:
        folder: the bundle, whose files have been checked.
        labels: of its logits, in order.
        preprocess: what is done to a picture, as for the encoder.

    Raises:
        ImportError: there is no ONNX Runtime here.
        ValueError: it refuses the file, or the file is no classifier of these labels.
    """

    def __init__(self, folder: str, labels: list[str], preprocess: Preprocess) -> None:
        self.labels, self.preprocess = labels, preprocess
        self._session = onnx_session(os.path.join(folder, ALONE_FILE))
        size = preprocess.size
        shapes = {
            part.name: tuple(part.shape)
            for part in (*self._session.get_inputs(), *self._session.get_outputs())
        }
        if shapes != {PIXELS: (1, 3, size, size), LOGITS: (1, len(labels))}:
            raise ValueError(
                f"{ALONE_FILE} in {folder} is no classifier of {len(labels)} labels and pictures "
                f"of {size} pixels: export it anew"
            )

    def __call__(self, image: Any, top_k: int = 5) -> list[dict[str, Any]]:
        """A picture -> the `top_k` most probable labels, as dicts with `label` and `score`.

        Raises:
            FileNotFoundError: no such file.
            ValueError: not a picture, or what comes out of the network is not finite.
        """
        pixel_values = self.preprocess([image])
        try:
            (logits,) = self._session.run([LOGITS], {PIXELS: pixel_values})
        except Exception as error:  # ONNX Runtime's errors have no common base
            raise ValueError(f"ONNX Runtime cannot run {ALONE_FILE}: {error}") from error
        row = np.asarray(logits[0], dtype=np.float64)
        if not np.isfinite(row).all():
            raise ValueError(f"{ALONE_FILE} gives what is not finite (NaN or infinity)")
        shares = np.exp(row - row.max())
        shares /= shares.sum()
        best = np.argsort(-shares, kind="stable")[:top_k]
        return [{"label": self.labels[int(i)], "score": float(shares[i])} for i in best]
