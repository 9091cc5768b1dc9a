"""Jobs on disk: what is there is true, what is damaged is told by name and harms nothing else."""

from __future__ import annotations

import errno
import logging
import os
from dataclasses import replace

import numpy as np
import pytest

from faster_higgs.errors import OutputError
from faster_higgs.server import shelf as module
from faster_higgs.server.shelf import Damaged, Record, Row, Shelf

ASK = {"text": "Hello."}
CODES = bytes(range(48))  # [8, 3]


def record(number: int = 0, **more: object) -> Record:
    plain = Record(f"job_{number:024x}", "queued", 1, 1, "Hello.", 7, "wav", 24_000, 1.0, "m c", 3)
    return replace(plain, **more)


def row(number: int) -> Row:
    return Row(
        f"Row {number}.", 100 * number, 100 * number + 90, 100 * number + 100, "stop", (8, 3)
    )


def fill(shelf: Shelf, id: str, rows: range) -> None:
    with shelf.reel(id).growing() as tape:
        for number in rows:
            tape.add(row(number), np.full(100, number / 100, np.float32), CODES)


@pytest.fixture
def shelf(tmp_path):
    shelf = Shelf(tmp_path / "jobs")
    yield shelf
    shelf.close()


@pytest.fixture
def place(shelf):
    """The folder of a job with three rows."""
    shelf.add(record(), ASK)
    fill(shelf, record().id, range(3))
    return shelf.place(record().id)


def test_what_was_kept_is_there_again(shelf, place):
    done = record(status="done")
    shelf.keep(done)
    assert shelf.load() == [done] and shelf.ask(done.id) == ASK
    reel = shelf.reel(done.id)
    assert reel.rows == tuple(map(row, range(3))) and reel.samples == 300
    assert reel.remembered() == [(CODES, 8)] * 3
    sound = np.concatenate(list(reel.sound()))
    np.testing.assert_allclose(sound, np.repeat([0, 0.01, 0.02], 100), atol=1e-4)


def test_utterances_without_codes_have_none(shelf):
    shelf.add(record(), ASK)
    with shelf.reel(record().id).growing() as tape:
        tape.add(replace(row(0), codes=None), np.zeros(100, np.float32), b"")
        tape.add(row(1), np.zeros(100, np.float32), CODES)
    assert shelf.reel(record().id).remembered() == [None, (CODES, 8)]


@pytest.mark.parametrize(
    ("name", "length"),
    [("sound.pcm", 599), ("codes.bin", 140), ("rows.jsonl", -1), ("rows.jsonl", -30)],
)
def test_a_row_that_is_not_whole_is_made_again(shelf, place, name, length):
    """As a sudden end leaves it: the rest is kept, and what lies behind it is cut off."""
    with open(place / name, "ab") as file:
        file.truncate(length if length > 0 else (place / name).stat().st_size + length)
    assert len(shelf.reel(record().id).rows) == 2
    fill(shelf, record().id, range(2, 3))
    again = shelf.reel(record().id)
    assert again.rows == tuple(map(row, range(3)))
    assert len(np.concatenate(list(again.sound()))) == 300
    sizes = {path.name: path.stat().st_size for path in place.iterdir()}
    assert (sizes["sound.pcm"], sizes["codes.bin"]) == (600, 144)


def test_rubbish_behind_the_last_row_is_cut_off(shelf, place):
    for name in ("sound.pcm", "codes.bin", "rows.jsonl"):
        with open(place / name, "ab") as file:
            file.write(b"rubbish")
    fill(shelf, record().id, range(3, 4))
    assert shelf.reel(record().id).rows == tuple(map(row, range(4)))
    assert (place / "sound.pcm").stat().st_size == 800


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("job.json", b""),
        ("job.json", b"\xff\xfe"),
        ("job.json", b"{}"),
        ("job.json", b"[1]"),
        ("job.json", None),
        ("ask.json", b'{"text": "Hel'),
        ("ask.json", None),
        ("rows.jsonl", b""),
    ],
)
def test_a_damaged_job_is_told_by_name_and_set_aside(shelf, place, caplog, name, content):
    other = record(1)
    shelf.add(other, ASK)
    shelf.keep(record(status="done"))
    if content is None:
        (place / name).unlink()
    else:
        (place / name).write_bytes(content)
    with caplog.at_level(logging.ERROR):
        assert shelf.load() == [other]
    assert place.name in caplog.text and "Hello" not in caplog.text
    assert not place.exists() and place.with_name(f"{place.name}.damaged").is_dir()
    assert shelf.load() == [other]


def test_numbers_that_are_none_are_damage(shelf, place):
    text = (place / "job.json").read_text()
    (place / "job.json").write_text(text.replace('"utterances": 3', '"utterances": "many"'))
    assert shelf.load() == []


def test_what_is_no_job_is_left_alone(shelf, tmp_path):
    folder = tmp_path / "jobs" / "holiday"
    folder.mkdir()
    (folder / "job.json").write_text("mine")
    assert shelf.load() == [] and (folder / "job.json").read_text() == "mine"


def test_what_was_only_half_made_or_deleted_goes(shelf, tmp_path):
    for name in (f".new-{record().id}", f".gone-{record().id}"):
        (tmp_path / "jobs" / name).mkdir()
    assert shelf.load() == []
    assert [path.name for path in (tmp_path / "jobs").iterdir()] == ["lock"]


def test_a_folder_has_one_server(shelf, tmp_path):
    with pytest.raises(OutputError, match="Another server"):
        Shelf(tmp_path / "jobs")
    shelf.close()
    Shelf(tmp_path / "jobs").close()


def test_a_folder_that_cannot_be_is_told(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="Jobs cannot be kept"):
        Shelf(tmp_path / "file" / "jobs")


@pytest.mark.skipif(os.name != "posix", reason="rights")
def test_texts_are_nobody_elses_business(place):
    assert not place.stat().st_mode & 0o077 and not place.parent.stat().st_mode & 0o077


class TestFullDisk:
    @pytest.fixture
    def full(self, place, monkeypatch):
        def refuse(_):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

        monkeypatch.setattr(module, "_settle", refuse)

    def test_a_job_is_there_or_not(self, shelf, full, tmp_path):
        with pytest.raises(OutputError, match="no space left"):
            shelf.add(record(1), ASK)
        assert sorted(p.name for p in (tmp_path / "jobs").iterdir()) == [record().id, "lock"]

    def test_the_state_stays_what_it_was(self, shelf, full):
        with pytest.raises(OutputError, match="no space left"):
            shelf.keep(record(status="paused"))
        assert shelf.load() == [record()]

    def test_the_sound_stays_what_it_was(self, shelf, full):
        with (
            pytest.raises(OutputError, match="no space left"),
            shelf.reel(record().id).growing() as tape,
        ):
            tape.add(row(3), np.zeros(100, np.float32), CODES)
        assert shelf.reel(record().id).rows == tuple(map(row, range(3)))


def test_sound_that_vanished_is_told(shelf, place):
    reel = shelf.reel(record().id)
    (place / "sound.pcm").unlink()
    with pytest.raises(Damaged, match="cannot be read"):
        list(reel.sound())
