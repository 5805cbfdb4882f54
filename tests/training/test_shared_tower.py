"""BLIP models in folders of their own whose vision tower lies once."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from transformers import BlipForConditionalGeneration, BlipForQuestionAnswering

from codec.tasks import CAPTIONS, QUESTIONS
from tests import tiny_blip
from training.backbones.shared_tower import INDEX, REST, TOWER, save_apart


def test_each_folder_loads_by_itself_and_the_tower_lies_once(tiny_blips: Path) -> None:
    of_task = {CAPTIONS: BlipForConditionalGeneration, QUESTIONS: BlipForQuestionAnswering}
    read = {task: of.from_pretrained(tiny_blips / task) for task, of in of_task.items()}
    tower = tiny_blip.build(CAPTIONS, seed=len(CAPTIONS)).vision_model.state_dict()
    for task, model in read.items():
        whole = tiny_blip.build(task, seed=len(task)).state_dict()
        whole |= {f"vision_model.{name}": weight for name, weight in tower.items()}
        assert all(torch.equal(w, whole[name]) for name, w in model.state_dict().items())
        sizes = json.loads((tiny_blips / task / INDEX).read_text())["weight_map"]
        assert set(sizes.values()) == {TOWER, REST}
    assert (tiny_blips / QUESTIONS / TOWER).is_symlink()
    assert not (tiny_blips / CAPTIONS / TOWER).is_symlink()


def test_both_folders_go_to_another_place_together(tiny_blips: Path, tmp_path: Path) -> None:
    shutil.copytree(tiny_blips, tmp_path / "moved", symlinks=True)
    moved = BlipForQuestionAnswering.from_pretrained(tmp_path / "moved" / QUESTIONS)
    stayed = BlipForQuestionAnswering.from_pretrained(tiny_blips / QUESTIONS)
    for name, weight in stayed.state_dict().items():
        assert torch.equal(moved.state_dict()[name], weight), name


def test_models_with_other_towers_are_refused(tmp_path: Path) -> None:
    models = {
        tmp_path / task: tiny_blip.build(task, seed=len(task)) for task in (CAPTIONS, QUESTIONS)
    }
    with pytest.raises(ValueError, match=rf"tower of {QUESTIONS} is not that of {CAPTIONS}"):
        save_apart(models)
