"""Answers a day by link: from the sweeps that ship."""

from __future__ import annotations

import pytest

from codec.link.profiles import profile
from codec.model.checkpoint import shipped_names
from eval.link import answers
from eval.link.answers import Sent, codec_sent, table

PHOTOGRAPHS = "vit-small-caltech101"
"""No quality of it keeps to half a point, so it has no row."""


@pytest.mark.parametrize("name", [name for name in shipped_names() if name != PHOTOGRAPHS])
def test_every_codec_of_small_pictures_answers_in_one_frame_of_the_slowest_lorawan(
    name: str,
) -> None:
    ours, *_, image = codec_sent(name, 0.5)
    assert ours.n_bytes <= profile("lorawan-eu868-sf12").max_payload_bytes
    assert image.n_bytes > 3 * profile("lorawan-eu868-sf12").max_payload_bytes


@pytest.mark.parametrize("name", ["vit-tiny-cifar10", "blip-tiny-easyvqa"])
def test_labels_and_simple_questions_go_in_one_sigfox_message(name: str) -> None:
    assert codec_sent(name, 0.5)[0].n_bytes <= 12


def test_the_label_of_the_device_alone_stands_beside_the_codec_that_it_rivals() -> None:
    assert [one.what for one in codec_sent("vit-tiny-cifar10", 0.5)][1:2] == [
        "the device alone, its label"
    ]
    assert len(codec_sent("blip-tiny-scenes", 0.5)) == 2


def test_a_drop_that_no_quality_keeps_to_is_refused() -> None:
    with pytest.raises(ValueError, match="no quality of blip-tiny-scenes"):
        codec_sent("blip-tiny-scenes", -5.0)


def test_the_table_has_a_row_for_each_thing_and_a_column_for_each_link() -> None:
    links = [profile(name) for name in ("lorawan-eu868-sf12", "sigfox", "iridium-sbd", "sms")]
    lines = table([Sent("ours", 5), Sent("a file", 851, least=True)], links).splitlines()
    assert lines[2] == "| ours | 5 | 22 | 140 | 50 B billed | no limit |"
    assert lines[3] == (
        "| a file | over 851 | 0.6 (17 messages) | 1 (71 messages) | 900 B billed (3 messages) | "
        "no limit (7 messages) |"
    )


def test_the_command_prints_all_and_refuses_an_unknown_link(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert answers.main(["--profile", "sigfox"]) == 0
    printed = capsys.readouterr().out
    assert all(name in printed for name in (*shipped_names(), "LimitNet, CIFAR-100"))
    assert answers.main(["--profile", "smoke"]) == 2
    assert "no link profile 'smoke'" in capsys.readouterr().err
