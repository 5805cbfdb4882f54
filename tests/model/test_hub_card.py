"""A codec on the hub: its card has the fields that the hub reads, and only what is known."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest.mock import MagicMock, create_autospec

import pytest
from huggingface_hub import HfApi, ModelCard
from huggingface_hub.repocard_data import ModelCardData

from codec import FeatureCodec
from codec.model.hub_card import write_hub_card

TEXT = "# mine\n\nTrained well.\n\n## Recipe\n\n```yaml\nname: mine\ndata: uoft-cs/cifar10\n```\n"


@pytest.fixture
def api(monkeypatch: pytest.MonkeyPatch) -> MagicMock:
    """The hub's client, which takes calls of the real signatures alone, and keeps the card."""
    made = create_autospec(HfApi)
    api: MagicMock = made.return_value

    def keep(**given: Any) -> str:
        api.card = ModelCard.load(Path(given["folder_path"]) / "README.md")
        return "https://hub/commit"

    api.upload_folder.side_effect = keep
    monkeypatch.setattr("huggingface_hub.HfApi", made)
    return api


def data(api: MagicMock) -> dict[str, Any]:
    fields: dict[str, Any] = api.card.data.to_dict()
    return fields


@pytest.fixture
def saved(tiny_codec: FeatureCodec, tmp_path: Path) -> Path:
    tiny_codec.save_pretrained(tmp_path / "saved")
    (tmp_path / "saved" / "README.md").write_text(TEXT)
    return tmp_path / "saved"


def test_a_private_repository_gets_a_standard_card(saved: Path, api: MagicMock) -> None:
    codec = FeatureCodec.from_pretrained(saved)
    url = codec.push_to_hub("me/mine", card={"license": "mit"}, private=True)
    assert url == "https://hub/commit"
    assert api.create_repo.call_args.kwargs["private"] is True
    assert "private" not in api.upload_folder.call_args.kwargs
    assert data(api) == {
        "library_name": "task-codec",
        "license": "mit",
        "pipeline_tag": "image-classification",
        "tags": ["task-codec", "feature-compression", "split-computing"],
        "metrics": ["accuracy"],
        "datasets": ["uoft-cs/cifar10"],
    }
    assert api.card.text.strip() == TEXT.strip()
    assert (saved / "README.md").read_text() == TEXT, "the codec's own card stays as it is"


def test_what_nobody_said_is_unknown(saved: Path, api: MagicMock) -> None:
    (saved / "README.md").write_text("# mine\n\n```yaml\ndata: pictures\n```\n")
    FeatureCodec.from_pretrained(saved).push_to_hub("me/mine")
    assert data(api)["license"] == "unknown"
    assert "datasets" not in data(api), "a folder is no data set of the hub"
    assert "base_model" not in data(api), "the backbone lies in the codec"
    assert api.create_repo.call_args.kwargs.get("private") is None


def test_fields_that_a_card_has_stay(saved: Path, api: MagicMock) -> None:
    front = "---\nlicense: apache-2.0\nlanguage: en\n---\n"
    (saved / "README.md").write_text(front + TEXT)
    codec = FeatureCodec.from_pretrained(saved)
    codec.push_to_hub("me/mine", card={"language": "de"})
    assert (data(api)["license"], data(api)["language"]) == ("apache-2.0", "de")
    assert data(api)["library_name"] == "task-codec"
    (saved / "README.md").write_text("---\na: [\n---\n")
    with pytest.raises(ValueError, match="begins with YAML that is none"):
        codec.push_to_hub("me/mine")


def test_a_backbone_on_the_hub_is_the_base_model_and_calibration_is_shown(
    make_codec: Callable[..., FeatureCodec], tmp_path: Path
) -> None:
    config = make_codec().config
    text = config.to_json().replace(f'"{config.backbone}"', '"owner/vit"')
    (tmp_path / "config.json").write_text(text)
    write_hub_card(tmp_path, Path("nowhere"), "me/mine")
    card = ModelCard.load(tmp_path / "README.md")
    assert isinstance(card.data, ModelCardData)
    assert card.data.to_dict()["base_model"] == "owner/vit"
    assert 'end.from_pretrained("me/mine")' in card.text
    if config.calibration:
        assert f"| 0 | {config.calibration[0].bytes_mean:.1f} |" in card.text
