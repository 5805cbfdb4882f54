"""tokens -> label, caption, answers: blobs that were decoded once, and all that is asked of them.

    blobs --decode--> tokens --vision blocks--> states --the rest of each task's tail--> answers

Tokens and states are made once, whatever the number of labels, captions and questions.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from codec.model.adapters import merged
from codec.model.asking import cut_at_the_end, may_have_several
from codec.model.chunks import chunks, in_chunks
from codec.model.codec import FeatureCodec
from codec.tasks import CAPTIONS, LABELS, QUESTIONS
from codec.tasks import generate as text
from codec.tasks.labels import best_labels

KEPT_QUESTIONS = 256


class Tails:
    """The tails of a codec, or its uncut models, each cut once more, behind its vision blocks.

    Args:
        codec: whose they are.
        models: one for each task; all have the same vision blocks.

    Attributes:
        look: the vision blocks, which all tasks share, with the codec's adapters merged into them:
            tokens (B, N, D), or pixels for uncut models, -> states (B, N, D). Made once, of the
            weights as they are then.
        labels: what a classification codec answers, by index; of another codec, none.
    """

    def __init__(self, codec: FeatureCodec, models: Mapping[str, Any]) -> None:
        self._codec = codec
        whole = {task: getattr(model, "_orig_mod", model) for task, model in models.items()}
        cut = {task: cut_at_the_end(tail) for task, tail in whole.items()}
        self.look = merged(cut[codec.config.tasks[0]].head)
        self._rest: Mapping[str, Any] = {task: parts.tail for task, parts in cut.items()}
        self._tokenizers: dict[str, Any] = {}
        self._question_ids: dict[str, list[int]] = {}
        classifier = self._rest.get(LABELS)
        self.labels: dict[int, str] = {} if classifier is None else classifier.config.id2label

    def rest(self, task: str) -> Any:
        """What is behind the vision blocks in the tail of a task.

        Raises:
            ValueError: the codec does not serve the task; the message says what it serves.
        """
        if task not in self._rest:
            config = self._codec.config
            raise ValueError(f"{config.name} serves {config.task}, not {task}")
        return self._rest[task]

    def tokenizer(self, task: str) -> Any:
        """The tokenizer of a task, loaded once."""
        if task not in self._tokenizers:
            self._tokenizers[task] = self._codec.load_tokenizer(task)
        return self._tokenizers[task]

    def question_ids(self, question: Any) -> list[int]:
        """The ids of a question's tokens, kept for some questions that were asked before: most
        cameras ask the same again. Errors as `codec.tasks.generate.question_ids`, and as `rest`.
        """
        found = self._question_ids.get(question) if isinstance(question, str) else None
        if found is None:
            found = text.question_ids(self.rest(QUESTIONS), self.tokenizer(QUESTIONS), question)
            if len(self._question_ids) >= KEPT_QUESTIONS:
                self._question_ids.clear()
            self._question_ids[question] = found
        return list(found)


class Opened:
    """Blobs that were decoded; `Server.open` gives it. `opened[i]` is one of several, and
    `opened[[0, 0, 2]]` some of them; what their tails share is made once for all.

    Attributes:
        tokens: (B, N, D) float32, the tokens at the cut; for uncut models pixels (B, 3, S, S).
        qualities: (B,) int64, the rate index of each blob.
        single: whether one blob was opened, and not a list: then one answer comes back, and not a
            list.
    """

    def __init__(
        self, tails: Tails, tokens: torch.Tensor, qualities: NDArray[np.int64], single: bool
    ) -> None:
        self._tails = tails
        self.tokens, self.qualities, self.single = tokens, qualities, single
        self._whole: tuple[Opened, list[int]] | None = None

    def __len__(self) -> int:
        return len(self.tokens)

    def __getitem__(self, places: int | Sequence[int]) -> Opened:
        """The blob at a place; or those at several, in any order and as often as they are named.

        Raises:
            IndexError: there is no such place.
        """
        single = isinstance(places, (int, np.integer))
        several: Any = [places] if single else places
        rows = [range(len(self))[i] for i in several]
        part = Opened(self._tails, self.tokens[rows], self.qualities[rows], single)
        part._whole = self, rows
        return part

    @staticmethod
    def together(parts: Sequence[Opened]) -> Opened:
        """Several that are of one codec -> one of all their blobs, in order. Parts that were opened
        together still share what their tails share.

        Raises:
            ValueError: there are none.
        """
        if not parts:
            raise ValueError("nothing to put together")
        tokens = torch.cat([part.tokens for part in parts])
        qualities = np.concatenate([part.qualities for part in parts])
        joined = Opened(parts[0]._tails, tokens, qualities, single=False)
        origins = [part._whole for part in parts if part._whole is not None]
        if len(origins) == len(parts) and len({id(whole) for whole, _ in origins}) == 1:
            joined._whole = origins[0][0], [row for _, rows in origins for row in rows]
        return joined

    @functools.cached_property
    def states(self) -> torch.Tensor:
        """What the vision blocks behind the cut make of the tokens, (B, N, D); they run once."""
        if self._whole is not None:
            whole, rows = self._whole
            return whole.states[rows]
        with torch.inference_mode():
            return in_chunks(self._tails.look, self.tokens)

    @torch.inference_mode()
    def probabilities(self) -> NDArray[np.float32]:
        """Probability of each label (B, n_labels) float32, as transformers' pipeline gives them: of
        one label for each picture; or each by itself, where the model says that a picture may have
        several, or knows one. Errors as `labels`.
        """
        tail = self._tails.rest(LABELS)
        logits = in_chunks(lambda states: tail(states).logits.float(), self.states)
        found = logits.sigmoid() if may_have_several(tail.config) else logits.softmax(-1)
        return np.asarray(found.cpu().numpy())

    def labels(self, top_k: int = 5) -> Any:
        """The `top_k` most probable labels as `Label`s, best first, each of which also reads as a
        dict of transformers' pipelines; a list of these where a list was opened.

        Raises:
            ValueError: `top_k` is below 1, or the codec does not classify.
        """
        names = self._tails.labels
        answers = [best_labels(row, names, top_k) for row in self.probabilities()]
        return answers[0] if self.single else answers

    @torch.inference_mode()
    def caption(self, *, max_new_tokens: int | None = None, num_beams: int = 1) -> Any:
        """A caption; a list of captions where a list was opened.

        Args:
            max_new_tokens: where a caption is cut off, in tokens; None for 64, or fewer where the
                model writes no more.
            num_beams: hypotheses of beam search, 1 for greedy.

        Raises:
            ValueError: a limit out of range, or the codec has no captions.
        """
        tail = self._tails.rest(CAPTIONS)
        limits = text.checked_limits(tail, max_new_tokens, num_beams, text.CAPTION_TOKENS)
        tokenizer, states = self._tails.tokenizer(CAPTIONS), self.states
        captions = [
            said
            for some in chunks(len(states))
            for said in text.caption(tail, tokenizer, states[some], limits)
        ]
        return captions[0] if self.single else captions

    def check_question(self, question: str) -> None:
        """Raise `ValueError` for a question that `answer` would refuse, whatever the blob."""
        self._tails.question_ids(question)

    @torch.inference_mode()
    def answer(
        self,
        questions: str | Sequence[str],
        *,
        max_new_tokens: int | None = None,
        num_beams: int = 1,
    ) -> Any:
        """A question -> its answer; a list of questions -> their answers.

        Where a list of blobs was opened: a question -> its answer for each blob; as many questions
        as blobs -> the answer to each blob's own.

        Args:
            max_new_tokens: where an answer is cut off, in tokens; None for 16, or fewer where the
                model writes no more.
            num_beams: hypotheses of beam search, 1 for greedy.

        Raises:
            ValueError: no questions, or not as many as blobs; a question that is empty, too long,
                or has no word of the model's vocabulary; a limit out of range; or the codec answers
                no questions.
        """
        tail, tokenizer = self._tails.rest(QUESTIONS), self._tails.tokenizer(QUESTIONS)
        limits = text.checked_limits(tail, max_new_tokens, num_beams, text.ANSWER_TOKENS)
        one = isinstance(questions, str) or not isinstance(questions, Sequence)
        asked: Any = [questions] if one else questions
        ids = [self._tails.question_ids(question) for question in asked]
        check_questions(len(ids) if self.single or one else len(self), len(ids))
        n = max(len(self), len(ids))
        states = self.states.expand(n, -1, -1)
        ids *= n // len(ids)
        answers = [
            said
            for some in chunks(n)
            for said in text.answer(tail, tokenizer, states[some], ids[some], limits)
        ]
        return answers[0] if self.single and one else answers


def check_questions(n_blobs: int, n_questions: int) -> None:
    """
    Raises:
        ValueError: there are no questions, or not as many as blobs.
    """
    if not n_questions:
        raise ValueError("no questions to answer")
    if n_blobs != n_questions:
        raise ValueError(
            f"{n_blobs} blobs and {n_questions} questions: give one question, or one for each blob"
        )
