"""a transcript -> a table that a person can read: captions and answers of some pictures, with what
is wrong marked.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rich.console import Console, Group
from rich.text import Text

from codec.show.console import make_table
from codec.tasks import QUESTIONS
from codec.tasks.judge import right
from eval.measuring.transcript import Transcript
from training.data.texts import SceneSource, TextImages
from training.scenes.facts import Span, judge_caption

WRONG = "bold red"
QUESTIONS_SHOWN = 3


def marked(text: str, wrong: Sequence[Span]) -> Text:
    """A text with these characters of it between asterisks and in red."""
    pieces, end = Text(), 0
    for span in wrong:
        if span.start >= end:
            pieces.append(text[end : span.start]).append(f"*{text[span.start : span.end]}*", WRONG)
            end = span.end
    return pieces.append(text[end:])


def show(transcript: Transcript, images: TextImages, n: int, console: Console) -> None:
    """Print the first `n` pictures' captions and some of their answers, other kinds of questions
    from picture to picture.
    """
    headings = [
        ">picture",
        *(["caption"] if transcript.captions else []),
        *(["questions"] if transcript.answers else []),
    ]
    table = make_table(*headings)
    table.show_lines = True
    for i in range(min(n, len(images))):
        cells: list[Text | Group] = [Text(str(i))]
        words = images.words[i]
        if transcript.captions and isinstance(images.source, SceneSource):
            cells.append(
                marked(
                    transcript.captions[i],
                    judge_caption(transcript.captions[i], images.source.scene(i)).wrong,
                )
            )
        elif transcript.captions:
            cells.append(
                Group(
                    Text(transcript.captions[i]),
                    *(Text(f"reference: {text}", "dim") for text in words.captions[:1]),
                )
            )
        if transcript.answers:
            first, count = QUESTIONS_SHOWN * i, len(words.questions)
            chosen = [(first + j) % count for j in range(min(QUESTIONS_SHOWN, count))]
            cells.append(
                Text("\n").join(
                    _answered(*words.questions[j], transcript.answers[i][j]) for j in chosen
                )
            )
        table.add_row(*cells)
    console.print(table)


def _answered(question: str, truth: Any, answer: str) -> Text:
    if right(QUESTIONS, [answer], [truth]) == [1]:
        return Text(f"{question} {answer}")
    truth = truth if isinstance(truth, str) else ", ".join(dict.fromkeys(truth))
    return Text(f"{question} ").append(f"*{answer}*", WRONG).append(f" ({truth})")
