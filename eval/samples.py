"""python -m eval.samples CODEC_OR_BACKBONE --data scenes --split 'test[:2000]': what a captioner
and question answerer say, and how right.

Prints 40 pictures of the split: the caption, where the data are scenes with the words that are
wrong marked (`*word*`, in red), else with a reference below it; and some of the questions with the
answers, a wrong one marked and followed by the right one. Then the scores over the whole split. A
backbone is asked as it is, uncut; a codec through its blobs at `--quality`. Exit code 2: something
is not there.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from rich.console import Console, Group
from rich.progress import track
from rich.text import Text
from safetensors import SafetensorError

from codec.device.preprocess import Preprocess
from codec.model import FeatureCodec
from codec.model.backbone import load_backbone, load_tokenizer, task_of
from codec.model.checkpoint import find_backbone, shipped_root
from codec.model.split import share_tower
from codec.show.console import make_table
from codec.tasks import CAPTIONS, QUESTIONS
from codec.tasks.answers import answer_accuracies
from codec.tasks.captions import bleu, cider_d
from eval.measuring.asked import ask_words
from eval.measuring.measure import BATCH_SIZE
from eval.measuring.scene_facts import caption_facts
from eval.methods.method import Coded, Cost, Method, Uncut
from training.data.texts import SceneSource, TextImages, open_source
from training.scenes.facts import Span, judge
from training.scenes.questions import QUESTION_KINDS, questions

WRONG = "bold red"
N_SHOWN = 40
QUESTIONS_SHOWN = 3


class Speaker(NamedTuple):
    """What is asked: the way to the answers, and a tokenizer for each task."""

    name: str
    method: Method
    tokenizers: dict[str, Any]
    preprocess: Preprocess


class Said(NamedTuple):
    """What was said of all pictures: captions (n,) or none, the answers to each picture's questions
    or none, and bytes of blobs (n,).
    """

    captions: list[str]
    answers: list[list[str]]
    n_bytes: list[int]


def load_speaker(name: str, quality: int | None) -> Speaker:
    """A codec or an uncut backbone: a folder or a shipped name; for a backbone also a folder of
    folders named by task.

    Args:
        quality: of a codec, None for its default.

    Raises:
        FileNotFoundError: no such thing.
        ValueError: it neither captions nor answers, a quality it does not have, or a file of it was
            altered.
    """
    if any(
        (place / "codec.safetensors").is_file() for place in (Path(name), shipped_root() / name)
    ):
        return _codec(name, quality)
    parts = (name, f"{name}/{CAPTIONS}", f"{name}/{QUESTIONS}")
    references = [
        part for part in parts if Path(find_backbone(part, Path()), "config.json").is_file()
    ]
    if not references:
        raise FileNotFoundError(f"no codec or backbone {name!r}")
    if quality is not None:
        raise ValueError(f"--quality is for codecs; {name} is none")
    models: dict[str, Any] = {}
    for reference in references:
        model = load_backbone(reference, Path())
        _served(reference, [task_of(model)])
        models[task_of(model)] = model
    share_tower(list(models.values()))
    first, *others = (
        Preprocess.from_processor(find_backbone(reference, Path())) for reference in references
    )
    if any(other != first for other in others):
        raise ValueError(f"the models in {name} prepare pictures in different ways")
    tokenizers = {
        task: load_tokenizer(reference, Path())
        for task, reference in zip(models, references, strict=True)
    }
    return Speaker(f"{name}, uncut", Uncut(models, first), tokenizers, first)


def _codec(name: str, quality: int | None) -> Speaker:
    codec = FeatureCodec.from_pretrained(name)
    config = codec.config
    tokenizers = {task: codec.load_tokenizer(task) for task in _served(name, config.tasks)}
    q = config.default_quality if quality is None else quality
    if q not in codec.qualities:
        raise ValueError(f"{name} has qualities 0 to {config.n_qualities - 1}, not {q}")
    return Speaker(
        f"{config.name}, quality {q}", Coded(codec, q, Cost(0, 0)), tokenizers, config.preprocess
    )


def _served(name: str, tasks: Sequence[str]) -> list[str]:
    """Those of a model's tasks that are asked here."""
    served = [task for task in tasks if task in (CAPTIONS, QUESTIONS)]
    if not served:
        raise ValueError(f"{name} serves {', '.join(tasks)}: neither {CAPTIONS} nor {QUESTIONS}")
    return served


@torch.inference_mode()
def listen(speaker: Speaker, images: TextImages) -> Said:
    """Ask about every picture.

    Raises:
        ValueError: the data has no words for the tasks, or a question that cannot be asked.
    """
    method = speaker.method
    models = {task: method.models[task] for task in speaker.tokenizers}
    asked = ask_words(images.words, models, speaker.tokenizers)
    given: dict[str, list[Any]] = {what.task: [] for what in asked}
    n_bytes: list[int] = []
    starts = range(0, len(images), BATCH_SIZE)
    for start in track(starts, description="asking", console=Console(stderr=True), transient=True):
        places = range(start, min(start + BATCH_SIZE, len(images)))
        blobs = method.encode(torch.stack([images[i][0] for i in places]))
        seen = method.decode(blobs)
        n_bytes += [len(blob) for blob in blobs]
        for what in asked:
            given[what.task] += what.ask(models[what.task], seen, places)
    answers = iter(given.get(QUESTIONS, []))
    grouped = (
        [[next(answers) for _ in words.questions] for words in images.words]
        if QUESTIONS in given
        else []
    )
    return Said(given.get(CAPTIONS, []), grouped, n_bytes)


def marked(text: str, wrong: Sequence[Span]) -> Text:
    """A text with these characters of it between asterisks and in red."""
    pieces, end = Text(), 0
    for span in wrong:
        if span.start >= end:
            pieces.append(text[end : span.start]).append(f"*{text[span.start : span.end]}*", WRONG)
            end = span.end
    return pieces.append(text[end:])


def show(said: Said, images: TextImages, n: int, console: Console) -> None:
    """Print the first `n` pictures' captions and some of their answers, other kinds of questions
    from picture to picture.
    """
    headings = [
        ">picture",
        *(["caption"] if said.captions else []),
        *(["questions"] if said.answers else []),
    ]
    table = make_table(*headings)
    table.show_lines = True
    for i in range(min(n, len(images))):
        cells: list[Text | Group] = [Text(str(i))]
        words = images.words[i]
        if said.captions and isinstance(images.source, SceneSource):
            cells.append(
                marked(said.captions[i], judge(said.captions[i], images.source.scene(i)).wrong)
            )
        elif said.captions:
            cells.append(
                Group(
                    Text(said.captions[i]),
                    *(Text(f"reference: {text}", "dim") for text in words.captions[:1]),
                )
            )
        if said.answers:
            first, count = QUESTIONS_SHOWN * i, len(words.questions)
            chosen = [(first + j) % count for j in range(min(QUESTIONS_SHOWN, count))]
            cells.append(
                Text("\n").join(_answered(*words.questions[j], said.answers[i][j]) for j in chosen)
            )
        table.add_row(*cells)
    console.print(table)


def _answered(question: str, truth: Any, answer: str) -> Text:
    if answer_accuracies([answer], [truth]) == [1]:
        return Text(f"{question} {answer}")
    right = truth if isinstance(truth, str) else ", ".join(dict.fromkeys(truth))
    return Text(f"{question} ").append(f"*{answer}*", WRONG).append(f" ({right})")


def totals(said: Said, images: TextImages) -> Iterator[tuple[str, float, str]]:
    """What is measured over all pictures: name, value, and what it is the mean of.

    Raises:
        ValueError: captions of a single picture, which CIDEr-D cannot score.
    """
    n = f"{len(images):,} pictures"
    scenes = (
        [images.source.scene(i) for i in range(len(images))]
        if isinstance(images.source, SceneSource)
        else None
    )
    yield "bytes sent for a picture", float(np.mean(said.n_bytes)), n
    if said.captions:
        references = [words.captions for words in images.words]
        yield from (
            (f"BLEU-{order}, %", value, n)
            for order, value in enumerate(bleu(said.captions, references), 1)
        )
        yield "CIDEr-D x 100", cider_d(said.captions, references), n
    if said.captions and scenes is not None:
        facts = caption_facts(said.captions, scenes)
        yield "stated facts that are true, %", facts.true, f"{facts.n_stated:,} facts"
        yield "visible things that are named, %", facts.named, f"{facts.n_visible:,} things"
    if said.answers:
        truth: list[Any] = [answer for words in images.words for _, answer in words.questions]
        right = np.array(
            answer_accuracies([answer for answers in said.answers for answer in answers], truth)
        )
        kinds = np.array([question.kind for scene in scenes or () for question in questions(scene)])
        for kind in QUESTION_KINDS if len(kinds) else ():
            if (kinds == kind).any():
                yield (
                    f"answers right, {kind}, %",
                    100 * float(right[kinds == kind].mean()),
                    f"{(kinds == kind).sum():,} questions",
                )
        yield "answers right, in all, %", 100 * float(right.mean()), f"{len(right):,} questions"


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="eval.samples",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("name", help="a codec or an uncut backbone: a folder or a shipped name")
    parser.add_argument(
        "--data",
        required=True,
        help="scenes, or folder or hub id of a data set with captions, or questions and answers",
    )
    parser.add_argument("--split", default="test[:2000]", help="default: %(default)s")
    parser.add_argument("--quality", type=int, help="of a codec; default: the codec's own")
    parser.add_argument(
        "--shown", type=int, default=N_SHOWN, help="pictures that are printed; default: %(default)d"
    )
    args = parser.parse_args(argv)
    console = Console()
    if not console.is_terminal:
        console = Console(width=160)
    try:
        speaker = load_speaker(args.name, args.quality)
        images = TextImages(open_source(args.data, args.split), speaker.preprocess)
        said = listen(speaker, images)
        table = make_table(
            f"{speaker.name}; {os.path.basename(os.path.abspath(args.data))}:{args.split}",
            ">",
            "of",
        )
        for name, value, of in totals(said, images):
            table.add_row(name, f"{value:.2f}", of)
        if args.shown > 0:
            show(said, images, args.shown, console)
        console.print(table)
    except (ValueError, OSError, ImportError, SafetensorError) as error:
        print(
            f"eval.samples: {(str(error).splitlines() or [type(error).__name__])[0]}",
            file=sys.stderr,
        )
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
