"""A check finds what was put in, and nothing else."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from faster_higgs.data import pipeline
from faster_higgs.data.cache import ABOUT, SHARDS, write_shard
from faster_higgs.data.check import check
from faster_higgs.data.checked import CheckReport
from faster_higgs.data.clean import CleanSettings
from faster_higgs.data.plan import PrepareSettings
from faster_higgs.data.readers.settings import ReadSettings
from faster_higgs.data.record import Clip
from faster_higgs.data.spool import SOUND, PartTask, make_part
from faster_higgs.errors import DataError, SettingError
from tests.data import corpora
from tests.data.corpora import RATE
from tests.data.recordings import noise, prepared, recordings
from tests.data.tiny import tiny_cache, tiny_clips


def test_a_format_that_is_said_need_not_be_recognised(tmp_path: Path) -> None:
    table = corpora.as_csv(tmp_path)
    odd = table.rename(tmp_path / "table.dat")
    assert check(odd, ReadSettings(format="csv")).format == "csv"


def names(report: CheckReport, errors: bool = True) -> dict[str, int]:
    return {name: len(found) for name, found in report.counts(errors).items()}


@pytest.mark.parametrize("name", corpora.FORMATS)
def test_a_good_corpus_of_any_format_passes(name, tmp_path):
    report = check(corpora.FORMATS[name](tmp_path / "corpus"))
    assert report.passed and not report.problems and len(report.clips) == 4
    assert report.seconds == pytest.approx(4.8)
    assert report.format == name.split("-")[0]


def damaged(folder: Path) -> Path:
    """Seeds' folder with one fault of each kind."""
    corpora.as_seeds(folder)
    about = json.loads((folder / "metadata.json").read_text())
    samples = about["samples"]
    (folder / "a1.wav").unlink()
    (folder / "a2.wav").write_bytes(b"")
    (folder / "b1.txt").write_text(" \n")
    samples += [samples[3], {**samples[3], "id": "other", "ref_audio_file": "x.wav"}, 7]
    (folder / "x.wav").write_bytes(b"RIFF no sound")
    (folder / "metadata.json").write_text(json.dumps(about))
    return folder


@pytest.mark.parametrize("workers", [1, 3])
def test_every_fault_is_found_and_named(tmp_path, workers):
    report = check(damaged(tmp_path / "corpus"), workers=workers)
    assert names(report) == {"missing": 1, "no_text": 1, "row": 1, "same_id": 1, "unreadable": 2}
    assert names(report, errors=False) == {"same_sound": 2, "same_text": 2}
    assert not report.passed
    told = {problem.origin: problem.message for problem in report.problems if problem.is_error}
    assert "0 bytes" in told["a2.wav"]
    assert any("Its reference: " in problem.message for problem in report.problems)


def test_the_limit_counts_rows(tmp_path):
    assert len(check(corpora.as_folder(tmp_path), limit=2).clips) == 2


def test_unusual_clips_pass_and_are_told(tmp_path):
    corpora.as_folder(tmp_path)
    loud = np.sign(corpora.sound(9, 2.0)) * 0.9999
    soundfile.write(tmp_path / "An" / "a1.wav", loud, RATE)
    report = check(tmp_path)
    assert report.passed and "clipped" in names(report, errors=False)


def test_a_sound_or_a_text_alone_is_unusual_and_no_fault(tmp_path):
    corpora.as_folder(tmp_path)
    (tmp_path / "An" / "a1.txt").rename(tmp_path / "An" / "a9.txt")
    report = check(tmp_path)
    assert report.passed and names(report, errors=False) == {"lone_sound": 1, "lone_text": 1}
    assert len(report.clips) == 3


def test_rows_marked_as_not_valid_are_no_fault(tmp_path):
    path = corpora.as_csv(tmp_path)
    path.write_text(path.read_text("utf-8-sig").replace("True", "False", 1))
    report = check(path)
    assert report.passed and report.marked == 1 and len(report.clips) == 3


def test_a_corpus_without_a_usable_clip_divides_by_nothing(tmp_path):
    (tmp_path / "t.csv").write_text("audio,text\ngone.wav,One\n")
    report = check(tmp_path / "t.csv")
    assert report.figures() == {} and report.to_json()["clips"] == 0 and not report.passed


def test_prepared_data_pass(tmp_path):
    report = check(tiny_cache(tmp_path / "data"))
    assert report.passed and len(report.clips) == 24
    assert report.splits() == {"train": 20, "validation": 2, "test": 2}
    assert report.clips[0].seconds == 12 / 25
    assert len(check(tmp_path / "data", limit=3).clips) == 3


def test_prepared_data_are_measured_where_their_sound_is_kept(tmp_path):
    folder, found = tmp_path / "data", recordings(6)
    quiet = replace(found[0], audio=noise(0.8, 0.001), text="this is quiet")
    prepared(folder, [quiet, *found[1:]])
    report = check(folder, workers=2)
    levels = {clip.measures.level for clip in report.clips}
    assert report.passed and len(levels) == 6 and report.unmeasured == 0
    (told,) = report.counts(errors=False)["level"]
    assert "very quiet: -60 dBFS" in told.message and told.origin in {
        c.origin for c in report.clips
    }
    prepared(folder, [quiet, *found[1:]], PrepareSettings(CleanSettings(loudness=-23)))
    assert check(folder).figures()["level"][0] == pytest.approx(-23, abs=1)


def test_sound_that_is_gone_damaged_or_of_other_clips_is_not_measured(tmp_path, monkeypatch):
    monkeypatch.setattr(pipeline, "PART", 2)
    folder = tmp_path / "data"
    prepared(folder, recordings(6))
    first, second, _ = sorted((folder / SOUND).iterdir())
    first.unlink()
    second.write_bytes(b"no table")
    report = check(folder)
    assert report.passed and report.unmeasured == 4 and not report.problems
    assert report.to_json()["not_measured"] == 4
    assert report.figures()["seconds"][0] == min(clip.seconds for clip in report.clips)
    assert report.figures()["level"][0] > -40
    longer = [replace(one, audio=noise(2.0)) for one in recordings(6)]
    make_part(PartTask(first, "", tuple(longer), CleanSettings()))
    assert check(folder).unmeasured == 4


def _twice(clips: list[Clip]) -> list[Clip]:
    return [*clips[:-1], replace(clips[-1], id=clips[0].id)]


def _across(clips: list[Clip]) -> list[Clip]:
    return [*clips[:-1], replace(clips[-1], codes=clips[0].codes, split="test")]


def _same(clips: list[Clip]) -> list[Clip]:
    return [*clips[:-1], replace(clips[-1], codes=clips[0].codes)]


def _last(**changes: object) -> Callable[[list[Clip]], list[Clip]]:
    return lambda clips: [*clips[:-1], replace(clips[-1], **changes)]  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("fault", "change"),
    [
        ("same_id", _twice),
        ("overlap", _across),
        ("same_sound", _same),
        ("no_text", _last(text=" ")),
        ("tokens", _last(tokens=())),
        ("codes", _last(codes=torch.full((8, 5), 1024))),
        ("codes", _last(codes=torch.zeros((8, 0), dtype=torch.int64))),
        ("count", lambda clips: clips[:-1]),
    ],
)
def test_what_is_wrong_with_prepared_data_is_found(tmp_path, fault, change):
    clips = change(tiny_clips(4))
    folder = tmp_path / "data"
    (folder / SHARDS).mkdir(parents=True)
    digest = write_shard(folder / SHARDS / "a.arrow", clips)
    about = {
        "version": 1,
        "codec": {"num_codebooks": 8, "codebook_size": 1024, "frame_rate": 25},
        "shards": [{"name": "a.arrow", "clips": len(clips), "sha256": digest}],
        "splits": {split: {"clips": sum(c.split == split for c in clips)} for split in ("test",)},
        "speakers": {"speaker0": 2},
    }
    (folder / ABOUT).write_text(json.dumps(about))
    report = check(folder)
    assert names(report, errors=fault != "same_sound") == {fault: 1}


def test_damaged_and_missing_shards_are_found_and_the_others_checked(tmp_path):
    folder = tiny_cache(tmp_path / "data")
    about = json.loads((folder / ABOUT).read_text())
    (folder / ABOUT).write_text(json.dumps({**about, "splits": {"train": {"clips": 20}}}))
    first, second, _ = sorted((folder / SHARDS).iterdir())
    data = bytearray(first.read_bytes())
    data[len(data) // 2] ^= 1  # still a table, of other codes
    first.write_bytes(data)
    second.unlink()
    report = check(folder)
    assert names(report) == {"shard": 2} and len(report.clips) == 4


def test_a_clip_for_the_ear_that_is_gone_is_found(tmp_path):
    folder = tiny_cache(tmp_path / "data")
    about = json.loads((folder / ABOUT).read_text())
    about["listen"] = [{"id": "clip-0005", "audio": "listen/clip-0005.flac"}]
    (folder / ABOUT).write_text(json.dumps(about))
    assert names(check(folder)) == {"unreadable": 1}


def test_wrong_input_is_refused(tmp_path):
    folder = tiny_cache(tmp_path / "data")
    with pytest.raises(SettingError, match="belong to a corpus"):
        check(folder, ReadSettings(speaker="me"))
    (folder / ABOUT).write_text('{"version": 1}')
    with pytest.raises(DataError, match="how the codes are made"):
        check(folder)
