"""captions and references -> BLEU, CIDEr-D, and for scenes the share of stated facts that are true."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from typing import NamedTuple

from training.scene_facts import judge
from training.scene_layout import Scene

_MARKS = frozenset([*".,:;?!-'`\"()[]{}", "--", "...", "''", "``"])  # what the COCO evaluation drops


class FactScore(NamedTuple):
    """Over all captions: facts stated and true, things visible and named."""

    n_stated: int
    n_true: int
    n_visible: int
    n_named: int

    @property
    def true(self) -> float:
        """Share of the stated facts that are true, in percent; 0 where nothing is stated."""
        return 100 * self.n_true / self.n_stated if self.n_stated else 0.0

    @property
    def named(self) -> float:
        """Share of the visible things that are named, in percent."""
        return 100 * self.n_named / self.n_visible


def check_pairs(outputs: Sequence[str], others: Sequence[object], what: str = "texts", with_what: str = "references") -> None:
    """Raises ValueError where there is nothing to score, where counts differ, or where a text stands for a list of texts."""
    if isinstance(outputs, str) or any(not isinstance(output, str) for output in outputs):
        raise ValueError(f"{what} must be a list of texts")
    if not outputs:
        raise ValueError(f"there are no {what} to score")
    if len(outputs) != len(others):
        raise ValueError(f"{len(outputs)} {what}, but {with_what} for {len(others)}")


def check_references(references: Sequence[Sequence[str]], least: int = 1) -> None:
    """Raises ValueError where a picture or question has less than `least` references, or a text instead of a list of them."""
    for i, texts in enumerate(references):
        if isinstance(texts, str) or any(not isinstance(text, str) for text in texts):
            raise ValueError(f"the references of number {i} must be a list of texts")
        if len(texts) < least:
            raise ValueError(f"number {i} has {len(texts)} references: at least {least} needed")


def tokenise(caption: str) -> list[str]:
    """Lower-case words by nltk's Treebank rules ("dog's" is "dog", "'s"), without punctuation marks.

    As in the COCO caption evaluation (Chen et al. 2015, arXiv 1504.00325), which runs the Stanford PTB tokeniser and drops the same marks.
    """
    from nltk.tokenize import TreebankWordTokenizer

    text = re.sub(r"\.(?=\s)", " .", caption.lower())  # the Treebank rules end a sentence only where the text ends
    return [word for word in TreebankWordTokenizer().tokenize(text) if word not in _MARKS]


def bleu(captions: Sequence[str], references: Sequence[Sequence[str]]) -> tuple[float, float, float, float]:
    """BLEU-1, -2, -3, -4 in percent, each with even weights, of the whole corpus (Papineni et al. 2002), from nltk's counts.

    Tokens: `tokenise`. No smoothing: with no matching 4-gram in the whole corpus BLEU-4 is 0. Brevity penalty by the closest reference
    lengths. nltk's own `corpus_bleu` counts an n-gram for a caption of less than n words, which has none; here it counts none.

    Raises:
        ValueError: nothing to score, unequal counts, a picture without references.
    """
    from nltk.translate.bleu_score import brevity_penalty, closest_ref_length, modified_precision

    check_pairs(captions, references, "captions")
    check_references(references)
    own_length = reference_length = 0
    matches, totals = [0] * 4, [0] * 4
    for caption, texts in zip(captions, references, strict=True):
        own, truth = tokenise(caption), [tokenise(text) for text in texts]
        own_length += len(own)
        reference_length += closest_ref_length(truth, len(own))
        for n in range(1, min(4, len(own)) + 1):
            precision = modified_precision(truth, own, n)
            matches[n - 1] += precision.numerator
            totals[n - 1] += precision.denominator
    penalty = brevity_penalty(reference_length, own_length)
    shares = [match / total if total else 0.0 for match, total in zip(matches, totals, strict=True)]
    one, two, three, four = (100 * penalty * math.prod(shares[:n]) ** (1 / n) for n in (1, 2, 3, 4))
    return one, two, three, four


def cider_d(captions: Sequence[str], references: Sequence[Sequence[str]]) -> float:
    """CIDEr-D (Vedantam et al. 2015, arXiv 1411.5726) times 100, as papers print it: 0 to 1000.

    By pycocoevalcap, the COCO evaluation's own: n-grams up to 4, sigma 6, document frequencies from these references. Tokens: `tokenise`;
    no stemming, as there.

    Raises:
        ValueError: nothing to score, unequal counts, a picture without references, or a single picture, whose n-grams have no weight.
    """
    from pycocoevalcap.cider.cider import Cider  # the part that needs no Java

    check_pairs(captions, references, "captions")
    check_references(references)
    if len(captions) < 2:
        raise ValueError("CIDEr-D weighs words by how few pictures they belong to: it needs two pictures and more")
    truth = {i: [" ".join(tokenise(text)) for text in texts] for i, texts in enumerate(references)}
    score, _ = Cider().compute_score(truth, {i: [" ".join(tokenise(caption))] for i, caption in enumerate(captions)})
    return 100 * float(score)


def caption_facts(captions: Sequence[str], scenes: Sequence[Scene]) -> FactScore:
    """Facts that captions of scenes state, by `training.scene_facts.judge`, summed over all captions.

    Raises:
        ValueError: nothing to score, or unequal counts.
    """
    check_pairs(captions, scenes, "captions", "scenes")
    verdicts = [judge(caption, scene) for caption, scene in zip(captions, scenes, strict=True)]
    return FactScore(*(sum(verdict[field] for verdict in verdicts) for field in range(4)))  # type: ignore[misc]
