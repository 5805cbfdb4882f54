"""tokens at the cut -> answers, and how right these are: one file a task, one place for every
metric.
"""

LABELS, CAPTIONS, QUESTIONS = TASKS = (
    "image-classification",
    "image-to-text",
    "visual-question-answering",
)
"""What a codec's tails can answer, in the words of Hugging Face."""
