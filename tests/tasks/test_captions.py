"""Scores of captions, against other implementations and the papers' formulas."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Sequence
from functools import cache

import pytest
import sacrebleu

from codec.tasks.captions import bleu, cider_d, tokenise
from training.scenes.layout import draw_scene
from training.scenes.text import captions as captions_of

SCENES = [draw_scene("validation", index) for index in range(40)]
REFERENCES = [list(captions_of(scene)[:4]) for scene in SCENES]
CAPTIONS = [captions_of(scene)[4] for scene in SCENES]
PHOTOS = [
    (
        "A man rides a brown horse.",
        [
            "a man riding a horse",
            "The man's on a brown horse, outside.",
            "someone rides a horse in a field",
        ],
    ),
    ("two dogs play", ["two dogs are playing in the snow", "dogs play"]),
    (
        "a plate of food on a table on a table",
        ["a plate of food on a wooden table", "food on a plate"],
    ),
    ("a cat", ["a cat sleeping on a sofa. it is grey", "a grey cat", "cat asleep"]),
]


@pytest.mark.parametrize(
    "data",
    [(CAPTIONS, REFERENCES), tuple(map(list, zip(*PHOTOS, strict=True)))],
    ids=["scenes", "photos"],
)
def test_bleu_is_sacrebleus_on_the_same_tokens(data: tuple[list[str], list[list[str]]]):
    captions, references = data
    tokens = [" ".join(tokenise(caption)) for caption in captions]
    most = max(map(len, references))
    streams = [
        [" ".join(tokenise(texts[i])) if i < len(texts) else None for texts in references]
        for i in range(most)
    ]
    for n, ours in enumerate(bleu(captions, references), 1):
        metric = sacrebleu.BLEU(
            max_ngram_order=n, tokenize="none", smooth_method="none", force=True
        )
        theirs = metric.corpus_score(tokens, streams).score
        assert ours == pytest.approx(theirs, abs=1e-6)
        assert 5 < ours < 100


def test_bleu_of_a_reference_is_100_and_of_nothing_common_0():
    assert bleu([texts[0] for texts in REFERENCES], REFERENCES) == pytest.approx((100,) * 4)
    assert bleu(["x y z w v"] * 2, [["a b c d e"]] * 2) == (0, 0, 0, 0)
    assert bleu([""], [["a cat"]]) == (0, 0, 0, 0)
    one, _, _, four = bleu(["a cat on a mat"], [["a mat under a cat"]])
    assert (round(one), four) == (80, 0)  # no smoothing


def test_bleu_punishes_captions_that_are_too_short():
    assert bleu(["a cat"], [["a cat on a mat"]])[0] == pytest.approx(100 * math.exp(1 - 5 / 2))


def test_punctuation_and_capitals_do_not_count():
    assert tokenise('A dog, a cat. The "end"!') == ["a", "dog", "a", "cat", "the", "end"]
    assert tokenise("the dog's t-shirt isn't red (or so)...") == [
        "the",
        "dog",
        "'s",
        "t-shirt",
        "is",
        "n't",
        "red",
        "or",
        "so",
    ]
    assert tokenise("") == []


def cider_d_of_the_paper(
    captions: Sequence[str], references: Sequence[Sequence[str]], sigma: float = 6.0
) -> float:
    """Equations 2 to 4 of arXiv 1411.5726 v2 with CIDEr-D's clipping and length penalty, written
    down anew.
    """

    @cache
    def grams(text: str, n: int) -> Counter[tuple[str, ...]]:
        words = tokenise(text)
        return Counter(tuple(words[i : i + n]) for i in range(len(words) - n + 1))

    total = 0.0
    for n in (1, 2, 3, 4):
        frequency: Counter[tuple[str, ...]] = Counter()
        for texts in references:
            frequency.update({g for text in texts for g in grams(text, n)})

        def vector(
            text: str, n: int = n, frequency: Counter[tuple[str, ...]] = frequency
        ) -> dict[tuple[str, ...], float]:
            return {
                g: c * math.log(len(references) / max(1, frequency[g]))
                for g, c in grams(text, n).items()
            }

        for caption, texts in zip(captions, references, strict=True):
            own = vector(caption)
            for text in texts:
                other = vector(text)
                norms = math.sqrt(sum(v * v for v in own.values())) * math.sqrt(
                    sum(v * v for v in other.values())
                )
                dot = sum(min(v, other.get(g, 0)) * other.get(g, 0) for g, v in own.items())
                gap = max(0, len(tokenise(caption)) - 1) - max(0, len(tokenise(text)) - 1)
                if norms:
                    total += (
                        10
                        / 4
                        * math.exp(-(gap**2) / (2 * sigma**2))
                        * dot
                        / norms
                        / len(texts)
                        / len(captions)
                    )
    return 100 * total


@pytest.mark.parametrize(
    "data",
    [(CAPTIONS, REFERENCES), tuple(map(list, zip(*PHOTOS, strict=True)))],
    ids=["scenes", "photos"],
)
def test_cider_d_is_the_papers(data: tuple[list[str], list[list[str]]]):
    assert cider_d(*data) == pytest.approx(cider_d_of_the_paper(*data), abs=1e-6)


def test_cider_d_of_the_only_reference_is_1000():
    texts = ["a red ball left of a cube", "two dogs play in the snow", "food lies on a plate"]
    assert cider_d(texts, [[text] for text in texts]) == pytest.approx(1000)
    assert cider_d(texts, [[text] for text in texts[1:] + texts[:1]]) < 100


@pytest.mark.parametrize(
    ("call", "reason"),
    [
        (lambda: bleu([], []), "no captions"),
        (lambda: bleu(["a"], [["a"], ["b"]]), "1 captions, but references for 2"),
        (lambda: bleu(["a", "b"], [["a"], []]), "number 1 has 0 references"),
        (lambda: bleu(["a"], ["a"]), "number 0 must be a list"),
        (lambda: bleu("a", [["a"]]), "captions must be a list"),
        (lambda: bleu([None], [["a"]]), "captions must be a list of texts"),  # type: ignore[list-item]
        (lambda: cider_d(["a"], [["a"]]), "two pictures"),
        (lambda: cider_d([], []), "no captions"),
    ],
)
def test_what_cannot_be_scored_is_refused_with_the_reason(
    call: Callable[[], object], reason: str
) -> None:
    with pytest.raises(ValueError, match=reason):
        call()
