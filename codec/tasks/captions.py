"""captions and reference captions -> BLEU, CIDEr-D."""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

# what the COCO evaluation drops
_MARKS = frozenset([*".,:;?!-'`\"()[]{}", "--", "...", "''", "``"])


def check_pairs(
    outputs: Sequence[str],
    others: Sequence[object],
    what: str = "texts",
    with_what: str = "references",
) -> None:
    """Raises ValueError where there is nothing to score, where counts differ, or where a text
    stands for a list of texts.
    """
    if isinstance(outputs, str) or any(not isinstance(output, str) for output in outputs):
        raise ValueError(f"{what} must be a list of texts")
    if not outputs:
        raise ValueError(f"there are no {what} to score")
    if len(outputs) != len(others):
        raise ValueError(f"{len(outputs)} {what}, but {with_what} for {len(others)}")


def check_references(references: Sequence[Sequence[str]], least: int = 1) -> None:
    """Raises ValueError where a picture or question has less than `least` references, or a text
    instead of a list of them.
    """
    for i, texts in enumerate(references):
        if isinstance(texts, str) or any(not isinstance(text, str) for text in texts):
            raise ValueError(f"the references of number {i} must be a list of texts")
        if len(texts) < least:
            raise ValueError(f"number {i} has {len(texts)} references: at least {least} needed")


def tokenise(caption: str) -> list[str]:
    """Lower-case words by nltk's Treebank rules ("dog's" is "dog", "'s"), without punctuation
    marks.

    As in the COCO caption evaluation (Chen et al. 2015, arXiv 1504.00325), which runs the Stanford
    PTB tokeniser and drops the same marks.
    """
    from nltk.tokenize import TreebankWordTokenizer

    # the Treebank rules end a sentence only where the text ends
    text = re.sub(r"\.(?=\s)", " .", caption.lower())
    return [word for word in TreebankWordTokenizer().tokenize(text) if word not in _MARKS]


class BleuCounter:
    """What BLEU counts of captions against the references of their pictures, from nltk's counts;
    each caption is counted once.

    Tokens: `tokenise`. nltk's own `corpus_bleu` counts an n-gram for a caption of less than n
    words, which has none; here it counts none.

    Args:
        references: texts of each picture.

    Raises:
        ValueError: a picture without references.
    """

    def __init__(self, references: Sequence[Sequence[str]]) -> None:
        check_references(references)
        self.references = references
        self._tokens = [[tokenise(text) for text in texts] for texts in references]
        self._known: dict[tuple[int, str], tuple[int, ...]] = {}

    def __call__(self, captions: Sequence[str]) -> NDArray[np.int64]:
        """Counts of a caption for each picture, (n, 10): matching 1- to 4-grams, all of them, its
        length, the closest reference's.

        Raises:
            ValueError: nothing to score, or unequal counts.
        """
        check_pairs(captions, self.references, "captions")
        for key in enumerate(captions):
            if key not in self._known:
                self._known[key] = self._count(*key)
        return np.array([self._known[key] for key in enumerate(captions)])

    def _count(self, place: int, caption: str) -> tuple[int, ...]:
        from nltk.translate.bleu_score import closest_ref_length, modified_precision

        own, truth = tokenise(caption), self._tokens[place]
        shares = [modified_precision(truth, own, n) for n in range(1, min(4, len(own)) + 1)]
        parts = ([share.numerator for share in shares], [share.denominator for share in shares])
        matches, totals = (part + [0] * (4 - len(part)) for part in parts)
        return *matches, *totals, len(own), closest_ref_length(truth, len(own))


def bleu_of(counts: NDArray[np.int64]) -> NDArray[np.float64]:
    """Counts of `BleuCounter` summed over pictures (..., 10) -> BLEU-1 to -4 in percent (..., 4),
    each with even weights.

    Papineni et al. 2002 (aclanthology.org/P02-1040), of the whole corpus. No smoothing: with no
    matching 4-gram in the whole corpus BLEU-4 is 0. Brevity penalty by the closest reference
    lengths.
    """
    matches, totals, own, reference = (
        counts[..., :4],
        counts[..., 4:8],
        counts[..., 8],
        counts[..., 9],
    )
    shares = matches / np.maximum(totals, 1)
    penalty = np.where(own > 0, np.exp(np.minimum(0, 1 - reference / np.maximum(own, 1))), 0)
    percent: NDArray[np.float64] = (
        100 * penalty[..., None] * np.cumprod(shares, -1) ** (1 / np.arange(1, 5))
    )
    return percent


def bleu(
    captions: Sequence[str], references: Sequence[Sequence[str]]
) -> tuple[float, float, float, float]:
    """BLEU-1, -2, -3, -4 of captions, one for each picture, in percent: `bleu_of` what
    `BleuCounter` counts.

    Raises:
        ValueError: nothing to score, unequal counts, a picture without references.
    """
    check_pairs(captions, references, "captions")
    one, two, three, four = map(float, bleu_of(BleuCounter(references)(captions).sum(0)))
    return one, two, three, four


def cider_d(captions: Sequence[str], references: Sequence[Sequence[str]]) -> float:
    """CIDEr-D (Vedantam et al. 2015, arXiv 1411.5726) times 100, as papers print it: 0 to 1000.

    By pycocoevalcap, the COCO evaluation's own: n-grams up to 4, sigma 6, document frequencies from
    these references. Tokens: `tokenise`; no stemming, as there.

    Raises:
        ValueError: nothing to score, unequal counts, a picture without references, or a single
            picture, whose n-grams have no weight.
    """
    from pycocoevalcap.cider.cider import Cider  # the part that needs no Java

    check_pairs(captions, references, "captions")
    check_references(references)
    if len(captions) < 2:
        raise ValueError(
            "CIDEr-D weighs words by how few pictures they belong to: it needs two pictures and "
            "more"
        )
    truth = {i: [" ".join(tokenise(text)) for text in texts] for i, texts in enumerate(references)}
    score, _ = Cider().compute_score(
        truth, {i: [" ".join(tokenise(caption))] for i, caption in enumerate(captions)}
    )
    return 100 * float(score)
