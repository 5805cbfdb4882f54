"""Scores of captions and answers, against other implementations, the papers' formulas and the
published examples.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Sequence
from functools import cache
from itertools import combinations

import pytest
import sacrebleu

from codec.tasks.captions import bleu, cider_d, tokenise
from codec.tasks.scores import answer_agreement, caption_agreement, score_answers, score_captions
from codec.tasks.vqa import exact_accuracies, normalise_answer, soft_accuracies, soft_accuracy
from eval.measuring.scene_facts import caption_facts
from training.scenes import Scenes
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


def test_facts_are_summed_over_all_captions():
    captions = list(CAPTIONS)
    whole = caption_facts(captions, SCENES)
    assert (whole.true, whole.named) == (100, 100)
    assert whole.n_visible == sum(len(scene.things) for scene in SCENES)
    captions[0] = "nothing to see"
    fewer = caption_facts(captions, SCENES)
    assert fewer.true == 100
    assert fewer.named == 100 * (1 - len(SCENES[0].things) / whole.n_visible)
    assert caption_facts(["words"], SCENES[:1]).true == 0
    turned = caption_facts(CAPTIONS[1:] + CAPTIONS[:1], SCENES)
    assert turned.true < 70
    assert turned.named < 50


@pytest.mark.parametrize(
    ("answer", "normal"),
    [
        ("dont", "don't"),  # the examples of visualqa.org/evaluation
        ("girl's", "girl's"),
        ("2:50 pm", "2:50 pm"),
        ("100,978", "100978"),
        ("Yes.", "yes"),  # one for each of its rules
        ("3.5", "3.5"),
        ("Two", "2"),
        ("none", "0"),
        ("The  dog", "dog"),
        ("a an the", ""),
        ("black/white", "black white"),
        ("black, white", "black white"),
        ("black & white", "black & white"),
        ("t-shirt", "t shirt"),
        ("(left)", "left"),
        ("shouldnt've", "shouldn't've"),
        ("couldn'tve", "couldn't've"),
        ("YOURE\n right", "you're right"),
        ("1,000 - 2,000 people?", "1000 2000 people"),
        ("U.S.A.", "usa"),
        ("", ""),
    ],
)
def test_an_answer_is_normalised_as_the_vqa_evaluation_does(answer: str, normal: str):
    assert normalise_answer(answer) == normal
    assert normalise_answer(normal) == normal


@pytest.mark.parametrize(("n", "accuracy"), [(0, 0), (1, 0.3), (2, 0.6), (3, 0.9), (4, 1), (10, 1)])
def test_soft_accuracy_is_the_mean_over_all_sets_of_nine(n: int, accuracy: float):
    people = ["two"] * n + ["3"] * (10 - n)
    assert soft_accuracy("2", people) == pytest.approx(accuracy)
    sets = [min(sum(answer == "two" for answer in nine) / 3, 1) for nine in combinations(people, 9)]
    assert soft_accuracy("2", people) == pytest.approx(sum(sets) / 10)


def test_vqa_accuracy_is_the_mean_over_questions():
    people = [["yes"] * 10, ["red"] * 2 + ["dark red"] * 8, ["1"] * 10]
    assert soft_accuracies(["Yes!", "a red", "two"], people) == pytest.approx([1, 0.6, 0])
    assert score_answers(["Yes!", "a red", "two"], people, ["yes", "red", "2"]) == (
        pytest.approx(100 * 1.6 / 3),
        100,
    )


def test_exact_accuracy_and_agreement_count_normalised_answers():
    assert exact_accuracies(["two", "red", "no"], ["2", "a red", "yes"]) == [1, 1, 0]
    assert answer_agreement(["two", "left"], ["2", "right"]) == 50
    assert caption_agreement(["A red ball.", "a cube"], ["a red ball", "a cone"]) == 50


def test_scores_of_a_task_together():
    scores = score_captions(CAPTIONS, REFERENCES, [*CAPTIONS[:20], *["a cube"] * 20], SCENES)
    assert scores.bleu == bleu(CAPTIONS, REFERENCES)
    assert scores.cider_d == cider_d(CAPTIONS, REFERENCES)
    assert scores.agreement == pytest.approx(50)
    assert scores.facts is not None
    assert scores.facts.true == 100
    assert score_captions(CAPTIONS, REFERENCES, CAPTIONS).facts is None
    assert score_answers(["yes", "2"], ["yes", "three"], ["yes", "two"]) == (50, 100)
    assert score_answers(["yes"], [["yes"] * 4 + ["no"] * 6], ["no"]) == (100, 0)


def test_a_data_set_scores_itself_fully():
    data = Scenes("test", 4)
    answers = [question.answer for sample in data for question in sample.questions]
    assert score_answers(answers, answers, answers) == (100, 100)


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
        (lambda: caption_facts(["a"], []), "1 captions, but scenes for 0"),
        (lambda: caption_facts([], []), "no captions"),
        (lambda: soft_accuracies(["a"], []), "1 answers, but people's answers for 0"),
        (lambda: soft_accuracies(["a"], [["a"]]), "number 0 has 1 references: at least 2"),
        (lambda: exact_accuracies([], []), "no answers"),
        (lambda: exact_accuracies(["a"], ["a", "b"]), "1 answers, but right answers for 2"),
        (
            lambda: score_answers(["a", "b"], ["a", ["b", "c"]], ["a", "b"]),
            "some questions have one",
        ),  # type: ignore[list-item]
        (lambda: answer_agreement(["a"], []), "uncut model's for 0"),
        (lambda: caption_agreement([], []), "no captions"),
    ],
)
def test_what_cannot_be_scored_is_refused_with_the_reason(call: Callable[[], object], reason: str):
    with pytest.raises(ValueError, match=reason):
        call()
