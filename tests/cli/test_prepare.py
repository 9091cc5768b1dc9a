"""`higgs prepare` from the shell: a folder of recordings to training data."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import pytest

from faster_higgs.cli import prepare
from faster_higgs.cli.main import build, main
from faster_higgs.cli.prepare_flags import settings_of
from faster_higgs.cli.reading import read_settings
from faster_higgs.data import pipeline
from faster_higgs.data.cache import Cache
from faster_higgs.data.choose import ChooseSettings
from faster_higgs.data.clean import CleanSettings
from faster_higgs.data.measure import Limits
from faster_higgs.data.moods import Moods, packaged
from faster_higgs.data.plan import PrepareSettings
from faster_higgs.data.readers import ReadSettings
from faster_higgs.data.readers import recordings as read_all
from faster_higgs.data.split import SplitSettings
from faster_higgs.errors import DataError, SettingError
from faster_higgs.locks import alone_in
from tests.data.recordings import recordings
from tests.data.tiny import PICO
from tests.project.source import ROOT


@pytest.fixture(scope="module")
def corpus(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("corpus")
    for one in recordings(8):
        place = folder / one.speaker / one.origin
        place.parent.mkdir(exist_ok=True)
        place.write_bytes(one.audio)
        place.with_suffix(".txt").write_text(one.text)
    return folder


@pytest.fixture
def parsed(monkeypatch):
    def parse(*arguments):
        seen = []
        monkeypatch.setattr(prepare, "run", seen.append)
        assert main(["prepare", *map(str, arguments)]) == 0
        return seen[0]

    return parse


def made(run, corpus, *arguments):
    words = ("--workers", 1, "--model", PICO, "--device", "cpu", *arguments)
    return run("prepare", corpus, *words)


def test_a_folder_becomes_training_data(run, corpus, here):
    ended = made(run, corpus, "--out", "data")
    assert ended.code == 0 and not ended.err, ended.err
    assert (
        "8 recordings, 8 clips, 6.5 s." in ended.out
        and "higgs train --preset voice --data" in ended.out
    )
    cache = Cache(here / "data")
    assert len(cache) == 8 and set(cache.column("language")) == {"en"}
    assert made(run, corpus, "--out", "data") == ended
    assert run("data", "check", "data").code == 0


def test_a_bad_clip_is_counted_and_the_others_kept(run, corpus, here):
    shutil.copytree(corpus, here / "corpus")
    (here / "corpus" / "angus" / "bad.flac").write_bytes(b"fLaC nonsense")
    (here / "corpus" / "angus" / "bad.txt").write_text("Bad.")
    ended = made(run, "corpus", "--out", "data")
    assert ended.code == 0 and "1  left out: its sound cannot be read (unreadable)" in ended.out


def test_sounds_and_texts_without_each_other_are_counted(run, corpus, here):
    shutil.copytree(corpus, here / "corpus")
    (here / "corpus" / "angus" / "alone.txt").write_text("Nobody says this.")
    shutil.copy(next((here / "corpus" / "clara").glob("*.flac")), here / "corpus" / "mute.flac")
    for ended in (made(run, "corpus", "--out", "data"), run("prepare", "corpus", "--dry-run")):
        assert ended.code == 0 and ended.out.startswith("10 recordings"), ended
        assert "1  left out: a sound without its text (lone_sound)" in ended.out
        assert "1  left out: a text without its sound (lone_text)" in ended.out
    told = json.loads((here / "data" / "report.json").read_text())
    assert told["left_out"] == {"lone_sound": 1, "lone_text": 1}
    rows = map(json.loads, (here / "data" / "recordings.jsonl").read_text().splitlines())
    assert {row["origin"] for row in rows if row["reason"]} == {"mute.flac", "angus/alone.txt"}


def test_nothing_usable_ends_with_1_and_says_where_to_look(run, corpus, here):
    ended = made(run, corpus, "--out", "data", "--min-seconds", 20)
    assert ended.code == 1 and "recordings.jsonl says why" in ended.error
    told = json.loads((here / "data" / "report.json").read_text())
    assert told["left_out"] == {"too_short": 8}


def test_older_trainers_get_their_folder(run, corpus, here):
    ended = made(run, corpus, "--out", "data", "--export-seed", "seed")
    assert ended.code == 0, ended.err
    again = list(read_all(here / "seed", ReadSettings()))
    cache = Cache(here / "data")
    assert sorted(one.text for one in again) == sorted(cache.column("text"))
    assert {one.audio.stem for one in again} == set(cache.column("id"))


def test_nobody_else_works_in_the_folder_while_older_trainers_get_theirs(
    run, corpus, here, monkeypatch
):
    held = []

    def export(clips, folder, source):
        with pytest.raises(SettingError, match="Another process"), alone_in(here / "data"):
            pass
        held.append(folder)

    monkeypatch.setattr(pipeline, "export", export)
    ended = made(run, corpus, "--out", "data", "--export-seed", "seed")
    assert ended.code == 0 and held == [here / "seed"], ended.err


def test_a_dry_run_writes_nothing(run, corpus, here):
    ended = run("prepare", corpus, "--dry-run", "--max-samples-per-speaker", 3)
    assert ended.code == 0 and not list(here.iterdir())
    assert "8 recordings of 2 speakers" in ended.out and "6 recordings." in ended.out


def test_a_wrong_place_or_value_is_told(run, corpus, here):
    (here / "full").mkdir()
    (here / "full" / "thesis.txt").write_text("mine")
    for words, told in (
        ((), "No recordings were given"),
        ((corpus, "--input", corpus, "--out", "data"), "both given"),
        ((corpus,), "with --out FOLDER"),
        ((corpus, "--out", corpus / "data"), f"lies in {corpus}; give a folder beside it"),
        ((corpus, "--out", "data", "--export-seed", "data/seed"), "--export-seed"),
        ((corpus, "--out", "data", "--export-seed", "full"), "not empty"),
        ((corpus, "--out", "full"), "holds other files"),
        (("nowhere", "--out", "data"), "nowhere"),
        ((corpus, "--out", "data", "--balance", "weight=1"), "--balance takes temperature=T"),
        ((corpus, "--out", "data", "--balance", "temperature=x"), "--balance takes"),
        ((corpus, "--out", "data", "--workers", 0), "use 1 or more"),
        ((corpus, "--moods", "none.json", "--out", "data"), "The rules none.json cannot be read"),
        ((corpus, "--out", "data", "--loudness", 5), "use -50 to -10"),
        ((corpus, "--out", "data", "--validation", 1.5), "nothing to train on"),
        ((corpus, "--out", "data", "--split-by", "moon"), "not by 'moon'"),
        ((corpus, "--out", "data", "--device", "abacus"), "abacus"),
        ((corpus, "--out", "data", "--model", "no-such-model"), "no-such-model"),
    ):
        ended = run("prepare", *words)
        assert ended.code == 2 and told in ended.error, (words, ended)


def test_the_flags_of_older_tools_are_taken(parsed):
    old = parsed(
        *("--mode", "csv", "--input", "x.csv", "--audio_dir", "wavs", "--output", "o"),
        *("--max_workers", 16, "--max_samples_per_speaker", 100, "--dataset_name", "vlsp"),
    )
    new = parsed(
        *("x.csv", "--format", "csv", "--audio-dir", "wavs", "--out", "o", "--workers", 16),
        *("--max-samples-per-speaker", 100, "--dataset-name", "vlsp"),
    )
    assert {**vars(old), "source": old.input, "input": None} == vars(new)
    assert read_settings(new) == ReadSettings("csv", Path("wavs"), unnamed="vlsp_speaker")


def test_a_table_without_speakers_is_of_the_data_set(tmp_path):
    (one, *_) = recordings(1)
    (tmp_path / "a.flac").write_bytes(one.audio)
    (tmp_path / "t.csv").write_text("audio,text\na.flac,Hello\n")
    (found,) = read_all(tmp_path / "t.csv", ReadSettings(unnamed="vlsp_speaker"))
    assert found.speaker == "vlsp_speaker"


def test_every_flag_reaches_the_settings(parsed):
    assert settings_of(parsed("x")) == PrepareSettings()
    found = settings_of(
        parsed(
            *("x", "--trim", "--loudness", -20, "--moods", "--min-seconds", 1, "--seed", 7),
            *("--max-seconds", 9, "--drop-outliers", "--keep-duplicates"),
            *("--max-samples-per-speaker", 5, "--balance", "temperature=0.5"),
            *("--split-by", "speaker", "--validation", 0.1, "--test", 0.2),
        )
    )
    limits = Limits(least_seconds=1, most_seconds=9)
    assert found == PrepareSettings(
        CleanSettings(-20, True),
        ChooseSettings(limits, True, True, 5, 7),
        SplitSettings("speaker", 0.1, 0.2, 7, 0.5),
        packaged(),
    )


def test_rules_of_ones_own_are_taken_by_content(run, parsed, here):
    rules = here / "rules.json"
    rules.write_text('{"moods": [{"name": "sad", "words": {"en": ["alas"]}}]}')
    (here / "bad.json").write_text('{"mood": []}')
    found = parsed("x", "--moods", "rules.json")
    assert (str(found.source), settings_of(found).moods) == ("x", Moods.load(rules))
    assert settings_of(parsed("--moods=rules.json", "x")).moods == Moods.load(rules)
    assert settings_of(parsed("--moods", "x")).moods == packaged()
    assert settings_of(parsed("x")).moods is None
    with pytest.raises(DataError, match=r"bad\.json cannot be used"):
        settings_of(parsed("x", "--moods", "bad.json"))


def test_loudness_is_said_to_be_a_plain_rms(run, corpus):
    page = (ROOT / "docs" / "data.md").read_text(encoding="utf-8")
    told = run("prepare", corpus, "--out", "data", "--loudness", 5).error
    for said in (run("prepare", "--help").out, page, told):
        (line,) = [one for one in said.splitlines() if re.search("--loudness (DB|is|-23`)", one)]
        assert "RMS" in line
        assert "LUFS" not in line or "not LUFS" in line


def test_the_page_names_every_flag():
    page = (ROOT / "docs" / "data.md").read_text(encoding="utf-8")
    command = build().get_command(None, "prepare")
    names = {name for param in command.params for name in param.opts if name.startswith("--")}
    spelled = page.replace("_", "-")
    missing = [name for name in names if not re.search(rf"{name}\b", spelled)]
    assert sorted(missing) == ["--model-path", "--verbose"]
