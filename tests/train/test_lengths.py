"""The longest conversation is known before it comes, whatever epoch brings it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

import tiny_data as data
from faster_higgs.train import lengths
from faster_higgs.train.config import TASKS, MixtureSettings
from faster_higgs.train.dataset import Dataset
from faster_higgs.train.lengths import Lengths, longest

WAYS = {
    "usual": MixtureSettings(),
    "all": MixtureSettings(**dict.fromkeys(TASKS, 1.0), in_system=0.4, max_speakers=3),
    "cloning": MixtureSettings.only(TASKS[1], in_system=0.0, drop_reference=0.0, drop_scene=0.0),
    "in the system": MixtureSettings.only(TASKS[1], in_system=1.0, max_reference_seconds=0.9),
    "no scene": MixtureSettings.only(TASKS[2], drop_scene=1.0),
    "dialogue": MixtureSettings.only(TASKS[3], drop_reference=0.5),
    "described": MixtureSettings.only(TASKS[0], speaker_prompt="description"),
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One long clip, one long scene, one long description."""
    made = data.clips(18, speakers=4)
    codes = torch.cat([made[13].codes] * 4, dim=1)
    made[13] = replace(made[13], codes=codes)
    made[7] = replace(made[7], scene="Audio is recorded in a car that drives over cobbles.")
    made[8] = replace(made[8], columns={"description": "A woman who speaks fast, and is tired."})
    place = tmp_path_factory.mktemp("lengths") / "data"
    data.cache(place, made)
    return place


@pytest.mark.parametrize("way", WAYS)
def test_no_epoch_brings_a_longer_one_and_one_brings_it(
    folder: Path, way: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lengths, "_WRITTEN", 2)  # of so few clips
    made = data.dataset(folder, WAYS[way])
    most, _ = longest(made)
    talks = {made.draw(i, epoch) for epoch in range(100) for i in range(len(made))}
    found = max(len(made.tell(talk)) for talk in talks)
    assert found <= most <= found + (60 if way == "all" else 12)  # which has rare ones


def test_the_rare_long_one_of_any_set_is_found_without_being_in_the_sample(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lengths, "_SAMPLE", 1)
    long = data.dataset(folder, WAYS["usual"])
    short = Dataset(data.cache(tmp_path / "short", data.clips()), data.demands(), WAYS["usual"])
    found = Lengths.of(short, (short, long))
    assert (found.longest, found.clip) == longest(long) > longest(short)
    assert found.count == len(short) and found.mean < longest(short)[0]


def test_what_is_counted_is_what_is_written(folder: Path) -> None:
    made = data.dataset(folder, WAYS["usual"])
    clips = [made.cache.clip(i) for i in range(len(made.cache))]
    assert made.cache.counts("tokens") == [len(clip.tokens) for clip in clips]
    assert made.cache.counts("codes") == [clip.codes.numel() for clip in clips]
