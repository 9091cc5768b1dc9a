"""`higgs data check` tells people, machines and the shell what it found."""

from __future__ import annotations

import json

import pytest

from faster_higgs.cli.main import main
from tests.data import corpora
from tests.data.tiny import tiny_cache


def test_a_good_corpus_ends_with_0_and_is_told(tmp_path, capsys):
    path = corpora.as_parquet(tmp_path / "corpus")
    assert main(["data", "check", str(path)]) == 0
    told = capsys.readouterr().out
    assert "parquet, 4 clips, 4.8 s, 2 speakers" in told and "Fit to be trained on." in told


def test_a_bad_clip_ends_with_1_and_everything_is_written(tmp_path, capsys):
    path = corpora.as_csv(tmp_path / "corpus")
    (tmp_path / "corpus" / "sounds" / "a1.wav").unlink()
    report, pictures = tmp_path / "report.json", tmp_path / "pictures"
    words = ["data", "check", str(path), "--json", str(report), "--plot", str(pictures)]
    assert main(words) == 1
    out = capsys.readouterr().out
    assert "missing: 1" in out and "Not fit: 1 error, and 0 unusual." in out
    told = json.loads(report.read_text())
    assert told["errors"] == {"missing": 1} and told["clips"] == 3 and not told["passed"]
    assert told["problems"][0]["origin"] == "table.csv, line 2"
    drawn = {file.name: file.read_bytes() for file in pictures.iterdir()}
    assert drawn.keys() == {"durations.png", "speakers.png", "levels.png"}
    assert all(content.startswith(b"\x89PNG") for content in drawn.values())


def test_a_corpus_without_clips_can_be_drawn_and_told(tmp_path, capsys):
    (tmp_path / "t.csv").write_text("audio,text\ngone.wav,One\n")
    assert main(["data", "check", str(tmp_path / "t.csv"), "--plot", str(tmp_path / "p")]) == 1
    assert "0 clips, 0.0 s, 0 speakers" in capsys.readouterr().out


def test_without_sound_prepared_data_have_no_levels_and_it_is_told(tmp_path, capsys):
    folder = tiny_cache(tmp_path / "data")
    assert main(["data", "check", str(folder), "--plot", str(tmp_path / "p")]) == 0
    told = capsys.readouterr().out
    assert "Splits: train 20" in told
    assert "Levels were not measured: only codes are kept here, no sound." in told
    assert {file.name for file in (tmp_path / "p").iterdir()} == {"durations.png", "speakers.png"}


def test_flags_of_reading_reach_the_reader(tmp_path, capsys):
    corpora.wavs(tmp_path / "far")
    (tmp_path / "t.csv").write_text("clip,said\na1.wav,One two three four.\n")
    words = ["data", "check", str(tmp_path / "t.csv"), "--audio_dir", str(tmp_path / "far")]
    words += ["--columns", "audio=clip,text=said", "--speaker", "me", "--workers", "2"]
    assert main([*words, "--limit", "1"]) == 0
    assert "me " in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["nowhere.csv"], "no file or folder nowhere.csv"),
        (["t.csv"], "no column for the audio; its columns are a, b. Name it with --columns"),
        (["t.csv", "--limit", "0"], "--limit is at least 1"),
        (["t.csv", "--json", "none/x.json"], "folder does not exist"),
        (["t.csv", "--plot", "t.csv"], "is no folder"),
        (["t.csv", "--columns", "text"], "part=column"),
        (["t.csv", "--format", "xml"], "no format 'xml'"),
        (["."], "no column for the audio"),
    ],
)
def test_wrong_input_ends_with_2_and_a_sentence(tmp_path, monkeypatch, capsys, words, expected):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "t.csv").write_text("a,b\n1,2\n")
    assert main(["data", "check", *words]) == 2
    said = capsys.readouterr().err
    assert expected in said and said.count("\n") == 1
