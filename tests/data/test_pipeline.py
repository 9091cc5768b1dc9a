"""A prepared folder is the same however it was made, and survives what may happen meanwhile."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from faster_higgs.audio.files import read
from faster_higgs.audio.levels import Samples
from faster_higgs.checkpoint.codec_files import load_codec
from faster_higgs.data import encode, pipeline
from faster_higgs.data.cache import ABOUT, SHARDS, Cache, read_shard
from faster_higgs.data.choose import ChooseSettings
from faster_higgs.data.clean import CleanSettings
from faster_higgs.data.crews import Processes
from faster_higgs.data.measure import Limits
from faster_higgs.data.moods import Moods, packaged, scene_line
from faster_higgs.data.plan import PrepareSettings
from faster_higgs.data.record import BadRow, Recording, Reference
from faster_higgs.data.split import SplitSettings
from faster_higgs.data.spool import SOUND
from faster_higgs.errors import DataError, EngineError, OutputError, SettingError
from faster_higgs.locks import LOCK, alone_in
from faster_higgs.prompt.conversation import QUIET_ROOM, Conversation, Setting
from faster_higgs.prompt.template import write
from faster_higgs.prompt.tokens import TextTokenizer
from faster_higgs.speech import fingerprint
from faster_higgs.text.pronounce import spelling
from tests.data.recordings import PLACE, noise, prepared, recordings
from tests.data.tiny import PICO
from tests.project.source import ROOT


@pytest.fixture(autouse=True)
def small_parts(monkeypatch):
    """Several parts and shards of few clips."""
    monkeypatch.setattr(pipeline, "PART", 3)
    monkeypatch.setattr(encode, "SHARD_SECONDS", 2.5)


@pytest.fixture(scope="module")
def crew():
    """Processes take long to begin."""
    with Processes(2) as found:
        yield found


def content(folder: Path) -> dict[str, str]:
    """Every file that is written, by a hash of what is in it."""
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def rows_of(folder: Path) -> list[dict[str, Any]]:
    told = (folder / "recordings.jsonl").read_text(encoding="utf-8")
    return [json.loads(line) for line in told.splitlines()]


def heard(audio: bytes, hop: int) -> Samples:
    return encode.closed(read(audio, rate=24_000), hop)


def times(folder: Path) -> dict[str, int]:
    return {path.name: path.stat().st_mtime_ns for path in sorted(folder.iterdir())}


@pytest.fixture(scope="module")
def codec():
    return load_codec(PICO / "codec", encoder=True)


def test_a_corpus_becomes_training_data(tmp_path, codec):
    report = prepared(tmp_path, recordings(8))
    cache = Cache(tmp_path)
    assert len(cache) == report.clips == report.recordings == 8
    assert cache.about["codec"]["fingerprint"] == fingerprint(codec)
    assert cache.about["splits"] == report.splits and report.speakers == {"angus": 4, "clara": 4}
    assert set(cache.column("split")) == {"train", "validation"}
    for clip in map(cache.clip, range(8)):
        assert clip.codes.shape == (8, clip.frames) and 20 <= clip.frames <= 21
        assert clip.text.startswith("this is ") and clip.language == "en"


def test_codes_are_those_of_each_clip_alone(tmp_path, codec):
    found = recordings(8)
    prepared(tmp_path, found)
    cache = Cache(tmp_path)
    rows = rows_of(tmp_path)
    origins = {row["id"]: row["origin"] for row in rows}
    audio = {one.origin: one.audio for one in found}
    for clip in map(cache.clip, range(8)):
        samples = heard(audio[origins[clip.id]], codec.hop)
        assert torch.equal(codec.encode(torch.from_numpy(samples)), clip.codes)


def test_a_batch_has_the_codes_of_each_alone(codec):
    found = [heard(one.audio, codec.hop) for one in recordings(12)]
    together = encode.coded(codec, found, 60.0)
    for samples, codes in zip(found, together, strict=True):
        assert torch.equal(codec.encode(torch.from_numpy(samples)), codes)
    lengths = [len(one) // codec.hop for one in found]
    assert max(map(len, encode.batches(lengths, codec, 60.0))) > 3
    assert max(map(len, encode.batches(lengths, codec, 1.7))) == 2


def test_tokens_are_those_of_a_prompt(tmp_path):
    prepared(tmp_path, recordings(2))
    clip, tokenizer = Cache(tmp_path).clip(0), TextTokenizer.load(PICO)
    talk = Conversation(Setting(), spell=spelling("phonemes"))
    ids = write(talk.ask(clip.text), tokenizer).ids
    told = " ".join(map(str, clip.tokens))
    assert told in " ".join(map(str, ids))
    assert len(clip.tokens) > 5


def test_two_processes_make_what_one_makes(tmp_path, crew):
    found = recordings(8)
    prepared(tmp_path / "a", found)
    prepared(tmp_path / "b", found, crew=crew)
    assert content(tmp_path / "a") == content(tmp_path / "b")


def test_the_order_of_the_corpus_changes_no_clip(tmp_path):
    found = recordings(8)
    prepared(tmp_path / "a", found)
    prepared(tmp_path / "b", found[::-1])
    one, other = content(tmp_path / "a"), content(tmp_path / "b")
    assert {n: h for n, h in one.items() if SOUND not in n} == {
        n: h for n, h in other.items() if SOUND not in n
    }


def test_the_second_run_makes_nothing_again(tmp_path):
    prepared(tmp_path, recordings(6))
    before = times(tmp_path / SHARDS) | times(tmp_path / SOUND)
    prepared(tmp_path, recordings(6))
    assert times(tmp_path / SHARDS) | times(tmp_path / SOUND) == before


def test_a_changed_setting_is_told_and_only_what_it_changes_is_made_again(tmp_path):
    prepared(tmp_path, recordings(6))
    sound, said = times(tmp_path / SOUND), []
    wish = PrepareSettings(split=SplitSettings(seed=3, validation=0.4))
    prepared(tmp_path, recordings(6), wish, said=said)
    assert said == [
        "Changed since the last run: settings.split.seed was 0, is 3.",
        "Changed since the last run: settings.split.validation was 0.05, is 0.4.",
    ]
    assert times(tmp_path / SOUND) == sound
    prepared(tmp_path, recordings(6), replace(wish, clean=CleanSettings(trim=True)))
    assert times(tmp_path / SOUND) != sound
    fresh = tmp_path / "fresh"
    prepared(fresh, recordings(6), replace(wish, clean=CleanSettings(trim=True)))
    assert {n: h for n, h in content(tmp_path).items() if "fresh" not in n} == content(fresh)


def test_a_smaller_corpus_leaves_nothing_of_the_larger(tmp_path):
    prepared(tmp_path / "a", recordings(9))
    prepared(tmp_path / "a", recordings(3))
    prepared(tmp_path / "b", recordings(3))
    assert content(tmp_path / "a") == content(tmp_path / "b")


def test_a_damaged_shard_is_made_again(tmp_path):
    prepared(tmp_path, recordings(6))
    before = content(tmp_path)
    shard = tmp_path / SHARDS / "part-00001.arrow"
    data = bytearray(shard.read_bytes())
    data[len(data) // 2] ^= 1
    shard.write_bytes(data)
    (tmp_path / SHARDS / "part-00000.arrow").write_bytes(b"")
    with pytest.raises(DataError, match="damaged"):
        Cache(tmp_path)
    prepared(tmp_path, recordings(6))
    assert content(tmp_path) == before


def test_a_damaged_shard_is_made_again_by_a_run_that_was_broken_off(tmp_path, monkeypatch):
    prepared(tmp_path, recordings(6))
    before = content(tmp_path)
    shard = tmp_path / SHARDS / "part-00001.arrow"
    data = bytearray(shard.read_bytes())
    data[len(data) // 2] ^= 1
    shard.write_bytes(data)
    with monkeypatch.context() as patch:
        patch.setattr(pipeline, "make_shard", _fail)
        with pytest.raises(ZeroDivisionError):
            prepared(tmp_path, recordings(6))
    prepared(tmp_path, recordings(6))
    assert content(tmp_path) == before


def _fail(task: Any) -> str:
    raise ZeroDivisionError


def test_a_run_broken_off_at_its_very_beginning_goes_on(tmp_path, monkeypatch):
    (tmp_path / ".prepare.json.7.partial").write_text("{")
    prepared(tmp_path, recordings(2))
    assert not list(tmp_path.glob(".*.partial"))


def test_two_do_not_prepare_in_one_folder(tmp_path):
    prepared(tmp_path / "a", recordings(4))
    before = content(tmp_path / "a")
    other = tmp_path / "a" / SHARDS / ".part-00000.arrow.7.partial"
    other.write_bytes(b"of the one at work")
    with alone_in(tmp_path / "a"), pytest.raises(SettingError, match="Another process") as caught:
        prepared(tmp_path / "a", recordings(2))
    assert caught.value.exit_code == 2 and other.is_file()
    prepared(tmp_path / "a", recordings(4))
    assert content(tmp_path / "a") == before


def test_one_that_is_refused_leaves_a_new_folder_to_the_other(tmp_path):
    with alone_in(tmp_path / "a"):
        with pytest.raises(SettingError, match="Another process"):
            prepared(tmp_path / "a", recordings(2))
        assert os.listdir(tmp_path / "a") == [LOCK]


def test_bad_clips_are_counted_told_and_harm_nobody(tmp_path):
    good = recordings(6)
    bad = [
        Recording(b"fLaC nonsense", "hello", "angus", "bad.flac"),
        Recording(Path("nowhere.wav"), "hello", "angus", "nowhere.wav"),
        Recording(noise(0.1), "hello there", "angus", "short.flac"),
        Recording(good[0].audio, "another text", "angus", "again.flac"),
        Recording(good[1].audio, " *** ", "clara", "mute.flac"),
        BadRow("row 7", "It names no sound.", "file"),
    ]
    report = prepared(tmp_path / "a", [*bad[:3], *good, *bad[3:]])
    assert report.clips == 6 and report.left_out == {
        "bad_row": 1,
        "unreadable": 2,
        "no_text": 1,
        "too_short": 1,
        "same_sound": 1,
    }
    rows = rows_of(tmp_path / "a")
    told = {row["origin"]: row["why"] for row in rows if row["reason"]}
    assert told["row 7"] == "It names no sound." and "nowhere.wav" in told["nowhere.wav"]
    assert json.loads((tmp_path / "a" / "report.json").read_text())["left_out"] == report.left_out
    kept = {row["origin"] for row in rows if row["id"]}
    assert len(kept) == 6 and kept >= {one.origin for one in good[1:]}


def test_the_unusual_is_counted(tmp_path):
    slow = Recording(noise(4.0), "hm", "angus", "slow.flac", "en")
    report = prepared(tmp_path / "a", [*recordings(4), slow])
    assert report.clips == 5 and report.flags["pace"] == 1
    strict = PrepareSettings(choose=ChooseSettings(drop_outliers=True))
    report = prepared(tmp_path / "a", [*recordings(4), slow], strict)
    assert report.left_out["outlier"] >= 1


def test_without_a_usable_clip_there_is_a_report_and_no_data(tmp_path):
    prepared(tmp_path, recordings(4))
    report = prepared(
        tmp_path, recordings(4), PrepareSettings(choose=ChooseSettings(Limits(20.0, 30.0)))
    )
    assert not report.clips and report.left_out == {"too_short": 4}
    assert (tmp_path / "report.json").is_file() and not (tmp_path / ABOUT).exists()


def test_references_of_the_corpus_are_named_by_id(tmp_path):
    one, other, third = recordings(5)[::2]
    alone = recordings(8)[6]
    beside = (
        Reference(other.audio, other.text, other.speaker),
        Reference(alone.audio, alone.text, alone.speaker),
    )
    prepared(tmp_path, [replace(one, references=beside), other, third])
    clips = {clip.id: clip for clip in map(Cache(tmp_path).clip, range(4))}
    (told,) = [c.columns["references"] for c in clips.values() if "references" in c.columns]
    assert [clips[id].text for id in told.split()] == [f"{other.text}.", f"{alone.text}."]


def test_scenes_and_moods_are_those_of_the_corpus_else_guessed_on_request(tmp_path):
    one, other, third = recordings(3)
    found = [
        replace(one, columns={"scene": "cave", "emotion": "sad"}),
        replace(other, text="why is this"),
        replace(third, text="are you there?", origin="calls/phone_3.flac"),
    ]
    prepared(tmp_path / "a", found)
    assert sorted(Cache(tmp_path / "a").column("scene")) == [
        *("Audio is recorded from a cave.", QUIET_ROOM, QUIET_ROOM),
    ]
    prepared(tmp_path / "b", found, PrepareSettings(moods=packaged()))
    clips = {clip.text: clip for clip in map(Cache(tmp_path / "b").clip, range(3))}
    assert clips[f"{one.text}."].columns == {"scene": "cave", "emotion": "sad"}
    asked = clips["are you there?"]
    assert asked.columns == {"scene": "phone_call", "emotion": "questioning"}
    assert asked.scene == scene_line("phone_call") != QUIET_ROOM


def test_other_rules_of_moods_are_told_and_clips_coded_again(tmp_path):
    def ruled(*words: str) -> Moods:
        rules = {"scenes": [{"name": "car", "line": "In a car.", "words": {"en": words}}]}
        (tmp_path / "rules.json").write_text(json.dumps(rules))
        return Moods.load(tmp_path / "rules.json")

    said: list[str] = []
    one, other = ruled("two"), ruled("two", "three")
    prepared(tmp_path / "a", recordings(4), PrepareSettings(moods=one))
    assert sorted(Cache(tmp_path / "a").column("scene")) == [*[QUIET_ROOM] * 3, "In a car."]
    prepared(tmp_path / "a", recordings(4), PrepareSettings(moods=ruled("two")), said=said)
    assert not said
    prepared(tmp_path / "a", recordings(4), PrepareSettings(moods=other), said=said)
    assert said == [
        "Changed since the last run: settings.moods was "
        f"{one.fingerprint}, is {other.fingerprint}.",
    ]
    assert sorted(Cache(tmp_path / "a").column("scene")) == [
        *[QUIET_ROOM] * 2,
        *["In a car."] * 2,
    ]


def test_a_few_validation_clips_are_kept_for_the_ear(tmp_path):
    prepared(tmp_path, recordings(8), PrepareSettings(split=SplitSettings(validation=0.5)))
    cache = Cache(tmp_path)
    held = {c.id for c in map(cache.clip, range(8)) if c.split == "validation"}
    assert {one["id"] for one in cache.about["listen"]} == held and len(held) == 4
    for one in cache.about["listen"]:
        assert (tmp_path / one["audio"]).read_bytes().startswith(b"fLaC")


@pytest.mark.parametrize("where", [SOUND, SHARDS])
def test_a_full_disk_is_told_and_the_next_run_goes_on(tmp_path, monkeypatch, where):
    import pyarrow as pa

    opened, wrote = pa.OSFile, []

    def full(path, mode):
        wrote.append(path)
        if f"/{where}/" in path and sum(f"/{where}/" in one for one in wrote) == 2:
            raise OSError(errno.ENOSPC, "No space left on device")
        return opened(path, mode)

    monkeypatch.setattr(pa, "OSFile", full)
    with pytest.raises(OutputError, match="No space left on device") as caught:
        prepared(tmp_path / "a", recordings(8))
    assert caught.value.exit_code == 1 and not (tmp_path / "a" / ABOUT).exists()
    kept = times(tmp_path / "a" / where)
    assert len(kept) == 1
    monkeypatch.setattr(pa, "OSFile", opened)
    prepared(tmp_path / "a", recordings(8))
    assert kept.items() <= times(tmp_path / "a" / where).items()
    prepared(tmp_path / "b", recordings(8))
    assert content(tmp_path / "a") == content(tmp_path / "b")


SCRIPT = """
import sys
from pathlib import Path
from faster_higgs.data import encode, pipeline
from faster_higgs.data.crews import Processes
from tests.data.recordings import prepared, recordings

if __name__ == "__main__":
    pipeline.PART, encode.SHARD_SECONDS = 3, 2.5
    prepared(Path(sys.argv[1]), recordings(15))
"""


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="no such signal")
@pytest.mark.parametrize("where", [(SOUND,), pytest.param((SOUND, SHARDS), marks=pytest.mark.slow)])
def test_killed_runs_that_go_on_end_where_one_run_ends(tmp_path, where):
    script = tmp_path / "run.py"
    script.write_text(SCRIPT)
    paths = os.pathsep.join([str(ROOT / "src"), str(ROOT)])
    out = tmp_path / "a"
    command = [sys.executable, str(script), str(out)]
    for folder in where:
        child = subprocess.Popen(command, env={**os.environ, "PYTHONPATH": paths})
        while len(list((out / folder).glob("part-*"))) < 3 and child.poll() is None:
            time.sleep(0.01)
        child.kill()
        assert child.wait() == -signal.SIGKILL, "it was done before it could be killed"
        assert not (out / ABOUT).exists()
    kept = {path: path.stat().st_mtime_ns for path in out.rglob("part-*")}
    assert subprocess.run(command, env={**os.environ, "PYTHONPATH": paths}).returncode == 0
    assert len(kept) >= 3 and kept == {path: path.stat().st_mtime_ns for path in kept}
    prepared(tmp_path / "b", recordings(15))
    assert content(out) == content(tmp_path / "b")


def _die(task: int) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def test_a_worker_that_dies_is_told(crew):
    """The last that asks this crew for anything."""
    with pytest.raises(EngineError, match="fewer --workers"):
        list(crew.map(_die, range(4)))


def test_a_folder_of_somebody_else_is_not_touched(tmp_path):
    (tmp_path / "thesis.txt").write_text("mine")
    with pytest.raises(SettingError, match="holds other files"):
        prepared(tmp_path, recordings(2))
    assert content(tmp_path).keys() == {"thesis.txt"}


def test_too_few_are_told_with_what_became_of_the_others(tmp_path):
    short = Recording(noise(0.1), "hello", "angus", "short.flac")
    with pytest.raises(DataError, match=r"1 utterance to split.*recordings\.jsonl says"):
        prepared(tmp_path, [*recordings(1), short])
    assert [row["reason"] for row in rows_of(tmp_path)] == [None, "too_short"]


def test_no_recording_at_all_is_told(tmp_path):
    with pytest.raises(DataError, match="not one recording"):
        prepared(tmp_path, [])


def test_shards_say_what_they_were_made_of(tmp_path):
    prepared(tmp_path, recordings(6))
    cache = Cache(tmp_path)
    shards = [read_shard(tmp_path / SHARDS / one["name"], 8) for one in cache.about["shards"]]
    lengths = [clip.frames for shard in shards for clip in shard]
    assert len(shards) > 1 and lengths == sorted(lengths)


def test_the_place_of_the_model_is_no_part_of_the_data(tmp_path, monkeypatch):
    prepared(tmp_path / "a", recordings(4))
    monkeypatch.setattr("tests.data.recordings.PLACE", replace(PLACE, batch_seconds=0.1))
    prepared(tmp_path / "b", recordings(4))
    assert content(tmp_path / "a") == content(tmp_path / "b")
