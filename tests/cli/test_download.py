"""`higgs download`: what is fetched, what is said before, and what when it cannot be."""

from __future__ import annotations

from pathlib import Path

import pytest

from faster_higgs.checkpoint import files
from faster_higgs.cli import machine

MODEL, CODEC = files.MODEL_IDS[0], files.CODEC_IDS[0]


@pytest.fixture
def hub(monkeypatch, tmp_path):
    """A hub that gives an empty folder for everything; notes what was asked for."""
    asked: list[tuple[str, str | None]] = []

    def download(hub_id: str, revision: str | None = None) -> Path:
        asked.append((hub_id, revision))
        folder = tmp_path / hub_id.replace("/", "--")
        folder.mkdir()
        return folder

    monkeypatch.setattr(files, "download", download)
    return asked


def test_the_model_and_its_codec_are_fetched(run, hub):
    ended = run("download")
    assert ended.code == 0 and hub == [(MODEL, None), (CODEC, None)]
    assert [Path(line).name for line in ended.out.splitlines()] == [
        MODEL.replace("/", "--"),
        CODEC.replace("/", "--"),
    ]
    assert "11.6 GB" in ended.err and "0.8 GB" in ended.err and "licence" in ended.err


def test_the_codec_alone(run, hub):
    assert run("download", "--codec").code == 0
    assert hub == [(CODEC, None)]


def test_a_codec_needs_no_codec(run, hub):
    run("download", CODEC)
    assert hub == [(CODEC, None)]


def test_another_model_in_another_version(run, hub):
    run("download", "some/one", "--revision", "v1")
    assert hub == [("some/one", "v1"), (CODEC, None)]


def test_a_model_with_its_own_codec_needs_no_other(run, hub, monkeypatch, tiny):
    monkeypatch.setattr(files, "download", lambda hub_id, revision=None: tiny)
    assert run("download", "some/one").out == f"{tiny}\n"


def test_what_is_here_is_not_fetched_again(run, hub, monkeypatch, tiny):
    monkeypatch.setattr(files, "find_cached", lambda hub_id, revision=None: tiny)
    ended = run("download")
    assert ended == (0, f"{tiny}\n", "") and hub == []


def test_a_disk_without_room_is_told_before_anything_is_fetched(run, hub, monkeypatch):
    monkeypatch.setattr(machine, "disk_free", lambda folder: 3_000_000_000)
    ended = run("download")
    assert ended.code == 1 and hub == []
    assert "needs 11.6 GB" in ended.err and "3.0 GB free" in ended.err


@pytest.mark.parametrize("arguments", [[], ["--codec"], ["some/one"], ["not an id"]])
def test_offline_it_says_so_in_one_line(run, arguments):
    ended = run("download", *arguments)
    assert ended.code == 2 and ended.out == ""
    errors = [line for line in ended.err.splitlines() if line.startswith("Error: ")]
    assert len(errors) == 1 and "Traceback" not in ended.err
