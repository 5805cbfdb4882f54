"""split, size, seed -> pictures with captions, questions and the facts behind them."""

from training.scenes.dataset import Question, Sample, Scene, Scenes, Thing

__all__ = ["Question", "Sample", "Scene", "Scenes", "Thing"]
