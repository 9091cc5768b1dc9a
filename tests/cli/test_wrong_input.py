"""What a user can get wrong: one clear sentence, status 2, no traceback, nothing written."""

from __future__ import annotations

import io
import os
import signal
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from faster_higgs.audio.save import save
from faster_higgs.cli import output as sink
from faster_higgs.testing import FakeHiggs, spoken, tiny_checkpoint, tones

RATE = 8_000


@pytest.fixture
def wrong(run, here):
    """Runs what cannot work, and gives back the sentence."""

    def call(*arguments: object, code: int = 2) -> str:
        before = sorted(here.iterdir())
        ended = run(*arguments)
        assert ended.code == code, ended
        assert ended.out == "" and "Traceback" not in ended.err
        assert sorted(here.iterdir()) == before, "something was left behind"
        assert ended.error.endswith((".", ")"))
        return ended.error

    return call


def clip(seconds: float, level: float = 0.3) -> Path:
    sound = level * np.sin(np.arange(round(seconds * RATE)) * 0.05)
    save("clip.wav", sound.astype(np.float32), rate=RATE)
    Path("clip.txt").write_text("What is said.")
    return Path("clip.wav")


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "empty"),
        ("  \n ", "empty"),
        ("x" * 100_000, "100,000 characters"),
        ("😀🎉👍", "no word"),
        ("...!?", "no word"),
    ],
)
def test_a_text_that_cannot_be_spoken(wrong, fake, text, told):
    assert told in wrong("say", text)


def test_no_text_and_too_many(wrong, fake):
    assert "There is no text" in wrong("say")
    assert "--transcript" in wrong("say", "One.", "--transcript", "Two.")
    assert "unexpected extra argument" in wrong("say", "One.", "Two.")


def test_a_transcript_that_is_not_there_is_not_read_out(wrong, fake):
    assert "There is no file transcript/en_dl.txt" in wrong(
        "say", "--transcript", "transcript/en_dl.txt"
    )


def test_bytes_that_are_no_text(wrong, fake, here, monkeypatch):
    (here / "t").write_bytes(b"caf\xe9")
    assert "UTF-8" in wrong("say", "--transcript", "t")
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"a" * 1_000_001)))
    assert "more than 1,000,000 bytes" in wrong("say", "-")


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--quantization_bits", 5], "use 4 or 8"),
        (["--precision", "int2"], "--precision is 'int2'"),
        (["--max_memory", "lots"], "--max-memory is 'lots'"),
        (["--context", -1], "--context is -1"),
        (["--temperature", -1], "--temperature is -1.0"),
        (["--temperature", "nan"], "--temperature is nan"),
        (["--top_k", "many"], "--top-k"),
        (["--top_p", 0], "--top-p is 0"),
        (["--max_new_tokens", 0], "--max-new-tokens is 0"),
        (["--rules", "loose"], "--rules is 'loose'"),
        (["--chunk_method", "paragraph"], "--chunk-method is 'paragraph'"),
        (["--chunk_max_word_num", 0], "--chunk-max-word-num is 0"),
        (["--generation_chunk_buffer_size", -1], "--generation-chunk-buffer-size is -1"),
        (["--normalization", "klingon"], "--normalization is 'klingon'"),
        (["--device", "tpu"], "no device 'tpu'"),
        (["--device", "cpu", "--device_id", 0], "leave one of them out"),
        (["--ref_text", "Hello."], "--voice"),
        (["--voice", "alice,,bob"], "commas"),
        (["--voice", "nobody"], "Known: alice, bob"),
        (["--voice", "profile:nobody"], "male_en"),
        (["--voice", "alice,bob"], "2 voices were given for 1 speaker"),
        (["--voice", "no/such.wav"], "no file no/such.wav"),
        (["--output", "speech.doc"], ".doc"),
        (["--output", "speech"], "no suffix"),
        (["--format", "doc"], "format 'doc'"),
        (["--plot", "plot.doc"], "plot.doc"),
        (["--captions", "said.txt"], "give it one of .srt, .vtt, .json"),
        (["--tempretaure", 1], "No such option"),
        (["--model", "no/such/folder"], "no checkpoint folder"),
        (["--model", "owner/name"], "higgs download owner/name"),
    ],
)
def test_a_flag_that_cannot_be_followed(wrong, fake, arguments, told):
    assert told in wrong("say", "Hello.", *arguments)


def test_three_speakers_and_two_voices(wrong, fake):
    text = "[SPEAKER0] One. [SPEAKER1] Two. [SPEAKER2] Three."
    assert "3 speakers" in wrong("say", text, "--voice", "alice,bob")


@pytest.mark.parametrize(
    ("seconds", "level", "told"),
    [(0.1, 0.3, "too short"), (3, 0.0, "silent"), (600, 0.3, "600"), (0, 0, "no sound")],
)
def test_a_clip_that_cannot_be_a_voice(wrong, fake, here, tmp_path, seconds, level, told):
    file = clip(seconds, level)
    assert told in wrong("say", "Hello.", "--voice", file)
    assert told in wrong("voices", "add", "me", file)
    assert not (tmp_path / "mine").exists()


def test_a_clip_that_is_no_sound(wrong, fake, here):
    (here / "clip.wav").write_text("not a sound")
    assert "clip.wav" in wrong("say", "Hello.", "--voice", "clip.wav", "--ref_text", "Hi.")
    assert "clip.wav" in wrong("voices", "add", "me", "clip.wav", "--text", "Hi.")
    assert "no file gone.wav" in wrong("voices", "add", "me", "gone.wav", "--text", "Hi.")


def test_a_clip_without_its_words(wrong, fake, here):
    save("clip.wav", tones(spoken("Quite some letters, that is.")))
    assert "--ref-text" in wrong("say", "Hello.", "--voice", "clip.wav")
    assert "--text" in wrong("voices", "add", "me", "clip.wav")
    more = ["--ref-text", "One.", "--ref-text", "Two."]
    assert "more --ref-text" in wrong("say", "Hello.", "--voice", "clip.wav", *more)


def damaged(folder: Path, kind: str) -> Path:
    """A checkpoint with something wrong."""
    tiny_checkpoint(folder)
    weights = folder / "model.safetensors"
    if kind == "truncated":
        weights.write_bytes(weights.read_bytes()[:-1000])
    elif kind == "no codec":
        (folder / "codec" / "model.safetensors").unlink()
    elif kind == "codec is a language model":
        (folder / "codec" / "model.safetensors").write_bytes(weights.read_bytes())
    elif kind == "model is a codec":
        weights.write_bytes((folder / "codec" / "model.safetensors").read_bytes())
    elif kind == "no tokenizer":
        (folder / "tokenizer.json").unlink()
    elif kind == "config of another":
        (folder / "config.json").write_text("{}")
    else:
        weights.unlink()
    return folder


@pytest.mark.parametrize(
    "kind",
    [
        "truncated",
        "no codec",
        "codec is a language model",
        "model is a codec",
        "no tokenizer",
        "config of another",
        "no weights",
    ],
)
def test_a_wrong_checkpoint(wrong, tmp_path, kind):
    wrong("say", "Hello.", "--model", damaged(tmp_path / "model", kind))


def test_a_file_in_place_of_a_checkpoint(wrong, here):
    (here / "model.safetensors").touch()
    assert "is a file" in wrong("say", "Hello.", "--model", "model.safetensors")


def test_no_model_at_all(wrong, monkeypatch, tmp_path):
    monkeypatch.setattr("faster_higgs.checkpoint.files.PACKAGED", tmp_path)
    assert "higgs download" in wrong("say", "Hello.")


@pytest.mark.parametrize(
    ("output", "told"),
    [
        ("gone/x.wav", "folder does not exist"),
        ("folder.wav", "is a folder"),
        ("/proc/x.wav", "cannot be written"),
    ],
)
def test_a_place_that_cannot_be_written_is_told_before_any_work(
    wrong, fake, here, monkeypatch, output, told
):
    if output.startswith("/proc") and not Path("/proc/self").exists():
        pytest.skip("this system has no folder that nobody may write")
    (here / "folder.wav").mkdir()
    monkeypatch.setattr(FakeHiggs, "load", lambda *_, **__: pytest.fail("a model was loaded"))
    assert told in wrong("say", "Hello.", "-o", output)
    if not output.startswith("gone"):
        (here / "folder.png").mkdir()
        plot = output.replace(".wav", ".png")
        assert told.split()[-1] in wrong("say", "Hello.", "--plot", plot)
        (here / "folder.srt").mkdir()
        captions = output.replace(".wav", ".srt")
        assert told.split()[-1] in wrong("say", "Hello.", "--captions", captions)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_full_disk(wrong, fake, monkeypatch):
    to_file = ["-q", "-o", "/dev/full", "--format", "wav"]
    assert "disk is full" in wrong("say", "Hello.", *to_file, code=1)
    with open("/dev/full", "wb", buffering=0) as full:
        stdout = SimpleNamespace(buffer=full, isatty=lambda: False)
        monkeypatch.setattr(sink, "sys", SimpleNamespace(stdout=stdout))
        assert "disk is full" in wrong("say", "Hello.", "-q", "-o", "-", code=1)


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)], ids=["Ctrl-C", "termination"]
)
def test_an_interrupted_run_leaves_the_old_file_and_no_other(
    run, fake, here, monkeypatch, number, code
):
    (here / "output.wav").write_text("the old one")
    frames = FakeHiggs.frames

    def interrupted(self, *asked, **urgency):
        for i, event in enumerate(frames(self, *asked, **urgency)):
            if i == 3:
                assert list(here.glob(".*.part")), "writing has not begun"
                os.kill(os.getpid(), number)
            yield event

    monkeypatch.setattr(FakeHiggs, "frames", interrupted)
    if number == signal.SIGINT:
        ended = run("say", "A text that is long enough.", "-q")
        assert ended == (code, "", "Interrupted.\n")
    else:
        with pytest.raises(SystemExit) as left:
            run("say", "A text that is long enough.", "-q")
        assert left.value.code == code
    assert (here / "output.wav").read_text() == "the old one"
    assert [path.name for path in here.iterdir()] == ["output.wav"]
