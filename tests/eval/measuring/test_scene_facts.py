"""Facts that captions of scenes state, summed over captions."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from eval.measuring.scene_facts import caption_facts
from training.scenes.layout import draw_scene
from training.scenes.text import captions as captions_of

SCENES = [draw_scene("validation", index) for index in range(40)]
CAPTIONS = [captions_of(scene)[4] for scene in SCENES]


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
    ("call", "reason"),
    [
        (lambda: caption_facts(["a"], []), "1 captions, but scenes for 0"),
        (lambda: caption_facts([], []), "no captions"),
    ],
)
def test_what_cannot_be_judged_is_refused_with_the_reason(
    call: Callable[[], object], reason: str
) -> None:
    with pytest.raises(ValueError, match=reason):
        call()
