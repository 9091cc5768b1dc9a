"""Every example runs as it stands, with the fake model."""

from __future__ import annotations

import runpy
import sys

import pytest

import faster_higgs
from faster_higgs.audio.files import read
from faster_higgs.audio.save import save
from faster_higgs.testing import FakeHiggs, spoken, tones
from tests.project.source import ROOT

EXAMPLES = sorted((ROOT / "examples").glob("*.py"))
WORDS = "This is what is said in the clip."


@pytest.fixture
def example(here, monkeypatch, capsys):
    """Runs an example in a folder of its own; what it printed."""
    monkeypatch.setattr(faster_higgs, "Higgs", FakeHiggs, raising=False)

    def call(name, *arguments):
        monkeypatch.setattr(sys, "argv", [name, *map(str, arguments)])
        runpy.run_path(str(ROOT / "examples" / name), run_name="__main__")
        return capsys.readouterr().out

    return call


def test_speak(example):
    assert "seed=" in example("speak.py")
    assert len(read("hello.wav")) > 24_000


def test_stream(example, here):
    assert len(example("stream.py").splitlines()) > 3
    assert len(read("story.mp3")) > 24_000


def test_dialogue(example):
    assert len(example("dialogue.py").splitlines()) == 3
    assert len(read("dialogue.flac")) > 24_000


def test_clone(example):
    save("clip.wav", tones(spoken(WORDS)))
    assert "cloned.wav" in example("clone.py", "clip.wav", WORDS)
    assert len(read("cloned.wav")) > 24_000


def test_clone_tells_what_is_wrong_in_a_sentence(example):
    with pytest.raises(SystemExit, match=r"no file gone\.wav"):
        example("clone.py", "gone.wav", WORDS)


def test_captions(example, here):
    (here / "story.txt").write_text("It was night. Nothing moved. " * 20)
    example("captions.py", "story.txt")
    captions = (here / "story.srt").read_text().split("\n\n")
    assert captions[0].startswith("1\n00:00:00,000 --> 00:00:") and len(captions) > 2
    assert len(read("story.mp3")) > 24_000


def test_each_is_short_and_each_is_tested():
    tested = {name.removeprefix("test_") for name in globals() if name.startswith("test_")}
    assert {path.stem for path in EXAMPLES} <= tested and len(EXAMPLES) <= 5
    for path in EXAMPLES:
        assert len(path.read_text().splitlines()) <= 40
