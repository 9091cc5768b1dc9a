"""What is written in the layout of older trainers is what is read back."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest
import soundfile

from faster_higgs.audio.files import read
from faster_higgs.data.readers import recordings
from faster_higgs.data.record import Recording
from faster_higgs.data.seed_layout import RATE, SeedClip, SeedReference, export_seed
from faster_higgs.errors import OutputPlaceError
from tests.data.corpora import sound
from tests.project.source import ROOT

CLIPS = [
    SeedClip(sound(0), "Xin chào.", "An", "vi", "raw/1.mp3", {"emotion": "vui vẻ", "age": "30"}),
    SeedClip(sound(1), "Two\nlines.", "Bình 2/b", "vi", "", {"id": "x9", "quality_score": "0.5"}),
    SeedClip(sound(2), "Three.", "an", "vi", references=(SeedReference(sound(3), "R.", "an"),)),
    SeedClip(
        *(sound(1), "Four.", "An", "vi"),
        references=(SeedReference(sound(3), "R.", "an"), SeedReference(sound(4), "S.", "Bo")),
    ),
]


def exported(folder: Path) -> list[Recording]:
    export_seed(iter(CLIPS), folder, ["corpus.csv"])
    found = list(recordings(folder))
    assert all(isinstance(one, Recording) for one in found)
    return found  # type: ignore[return-value]


def test_what_is_exported_is_read_back(tmp_path):
    for clip, one in zip(CLIPS, exported(tmp_path / "out"), strict=True):
        assert (one.text, one.speaker, one.language) == (clip.text, clip.speaker, clip.language)
        assert np.abs(read(one.audio) - clip.samples).max() <= 0.5 / 32_768 + 1e-7
        kept = {name: text for name, text in clip.columns.items() if name != "id"}
        assert kept.items() <= one.columns.items()
        assert [(r.text, r.speaker) for r in one.references] == [
            (r.text, r.speaker) for r in clip.references
        ]
        for reference, wanted in zip(one.references, clip.references, strict=True):
            assert np.abs(read(reference.audio) - wanted.samples).max() < 1e-4


def test_a_second_export_of_what_was_read_is_the_same(tmp_path):
    again = [
        SeedClip(
            *(read(one.audio), one.text, one.speaker, one.language or "", "", one.columns),
            tuple(SeedReference(read(r.audio), r.text, r.speaker) for r in one.references),
        )
        for one in exported(tmp_path / "a")
    ]
    export_seed(again, tmp_path / "b", ["corpus.csv"])
    first, second = tmp_path / "a", tmp_path / "b"
    names = sorted(path.relative_to(first) for path in first.rglob("*"))
    assert names == sorted(path.relative_to(second) for path in second.rglob("*"))
    for name in names:
        if (first / name).is_file():
            assert (first / name).read_bytes() == (second / name).read_bytes(), name


def test_files_are_named_by_speaker_and_never_clash(tmp_path):
    folder = tmp_path / "out"
    exported(folder)
    names = {path.name for path in folder.glob("*.wav")}
    assert names == {"An_000000.wav", "An_000001.wav", "Bình_2_b_000000.wav", "an-2_000000.wav"}
    assert all(path.with_suffix(".txt").is_file() for path in folder.glob("*.wav"))
    assert len(list((folder / "references").iterdir())) == 2  # each sound once
    assert soundfile.info(folder / "An_000000.wav").samplerate == RATE


def test_the_figures_are_those_of_the_files(tmp_path):
    exported(tmp_path / "out")
    info = json.loads((tmp_path / "out" / "metadata.json").read_text())["dataset_info"]
    assert info["total_samples"] == 4 and info["speaker_counts"] == {
        "An": 2,
        "Bình 2/b": 1,
        "an": 1,
    }
    assert info["total_duration"] == pytest.approx(4.8) and info["avg_duration"] == 1.2
    assert (info["languages"], info["created_from"]) == (["vi"], ["corpus.csv"])


def test_an_empty_set_divides_by_nothing(tmp_path):
    assert export_seed([], tmp_path / "out")["avg_duration"] == 0


def test_a_break_leaves_nothing_behind(tmp_path):
    def broken():
        yield CLIPS[0]
        raise RuntimeError("broken")

    with pytest.raises(RuntimeError, match="broken"):
        export_seed(broken(), tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


def test_what_lies_there_is_kept(tmp_path):
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(OutputPlaceError, match="not empty"):
        export_seed(CLIPS, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


def test_the_schema_of_the_documents_is_that_of_the_files(tmp_path):
    jsonschema = pytest.importorskip("jsonschema")
    page = (ROOT / "docs" / "data.md").read_text(encoding="utf-8")
    schema = json.loads(re.findall(r"```json\n(.*?)```", page, re.DOTALL)[-1])
    exported(tmp_path / "out")
    written = json.loads((tmp_path / "out" / "metadata.json").read_text())
    jsonschema.validate(written, schema)
    known = schema["properties"]["samples"]["items"]["properties"]
    assert {*known} >= {name for sample in written["samples"] for name in sample} - {"age"}
    del written["samples"][0]["audio_file"]
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(written, schema)
