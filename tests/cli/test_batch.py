"""`higgs batch`: many texts, each as if it were spoken alone."""

from __future__ import annotations

import json

import numpy as np
import pytest

from faster_higgs.audio.files import read
from faster_higgs.checkpoint.adapter import write_adapter
from faster_higgs.checkpoint.load import load_model
from faster_higgs.cli.items import items
from faster_higgs.errors import SettingError, TextError
from faster_higgs.testing import FakeHiggs
from tests.checkpoint.adapters import an_adapter

SHORT = ["--max_new_tokens", 30, "--device", "cpu"]
TEXTS = ["One.", "Two and a half.", "Three.", "Four is more than three."]


def rows(folder):
    """The manifest, by id."""
    lines = (folder / "manifest.jsonl").read_text().splitlines()
    found = [json.loads(line) for line in lines]
    assert len({row["id"] for row in found}) == len(found)
    return {row["id"]: row for row in found}


def sounds(folder):
    return {path.name: path.read_bytes() for path in folder.glob("*.wav")}


def is_same(left, right):
    """The same speech: who else is decoded changes the last bit of a sample at most."""
    left, right = read(left), read(right)
    return left.shape == right.shape and np.abs(left - right).max() < 2.5 / 32768


@pytest.fixture
def texts(here):
    folder = here / "texts"
    folder.mkdir()
    for number, text in enumerate(TEXTS):
        (folder / f"t {number}.txt").write_text(text)
    return folder


def test_each_text_is_what_it_is_alone(run, here, tiny, texts):
    ended = run("batch", texts, "--out", "all", "--model", tiny, *SHORT)
    assert ended.code == 0 and "4 spoken, 0 kept, 0 failed" in ended.err
    assert run("batch", texts, "-o", "alone", "--batch-size", 1, "--model", tiny, *SHORT).code == 0
    (texts / "t 1.txt").unlink()
    assert run("batch", texts, "-o", "fewer", "--batch-size", 3, "--model", tiny, *SHORT).code == 0
    alone = sounds(here / "alone")
    assert len(alone) == 4 and len(set(alone.values())) == 4
    assert all(is_same(here / "all" / name, here / "alone" / name) for name in alone)
    fewer = sounds(here / "fewer")
    assert fewer.keys() == alone.keys() - {"t 1.wav"}
    assert all(is_same(here / "fewer" / name, here / "alone" / name) for name in fewer)
    row = rows(here / "all")["t 2"]
    assert row["text"] == "Three." and row["file"] == "t 2.wav" and row["status"] == "ok"
    assert row["seconds"] == pytest.approx(len(read(here / "all" / "t 2.wav")) / 24_000, abs=1e-3)
    say = ["say", "Three.", "--seed", row["seed"], "-o", "x.wav", "--model", tiny, *SHORT]
    assert run(*say).code == 0
    assert (here / "x.wav").read_bytes() == alone["t 2.wav"]


def test_another_seed_and_an_adapter_give_other_sound(run, here, tiny, texts):
    write_adapter(here / "mine", an_adapter(load_model(tiny)[1]))
    for out, flags in [("a", []), ("b", ["--seed", 1]), ("c", ["--adapter", "mine"])]:
        assert run("batch", texts, "-o", out, "--model", tiny, *flags, *SHORT).code == 0
    a, b, c = (sounds(here / name) for name in "abc")
    assert all(a[name] != b[name] and a[name] != c[name] for name in a)


def test_it_goes_on_where_it_was_stopped(run, here, fake, texts, monkeypatch):
    speak, spoken = FakeHiggs.speak, []

    def counting(self, text, *rest, **more):
        if len(spoken) == 3:
            raise KeyboardInterrupt
        spoken.append(text)
        return speak(self, text, *rest, **more)

    monkeypatch.setattr(FakeHiggs, "speak", counting)
    assert run("batch", texts, "-o", "out", "--batch-size", 1).code == 130
    assert len(sounds(here / "out")) == 3 == len(rows(here / "out"))
    spoken.append("")
    ended = run("batch", texts, "-o", "out", "--batch-size", 1)
    assert ended.code == 0 and "1 spoken, 3 kept" in ended.err
    assert spoken == [*TEXTS[:3], "", TEXTS[3]]
    assert list(rows(here / "out")) == [f"t {n}" for n in range(4)]
    assert "0 spoken, 4 kept" in run("batch", texts, "-o", "out").err
    assert "4 spoken" in run("batch", texts, "-o", "out", "--overwrite").err


def test_a_file_of_another_text_is_not_overwritten_unasked(run, here, fake, texts):
    assert run("batch", texts, "-o", "out").code == 0
    before = sounds(here / "out")
    (texts / "t 0.txt").write_text("Something else.")
    (here / "out" / "new.wav").write_bytes(b"mine")
    (texts / "new.txt").write_text("New.")
    for _ in range(2):
        ended = run("batch", texts, "-o", "out")
        assert ended.code == 1 and ended.err.count("use --overwrite") == 2
        assert "3 kept, 2 failed" in ended.err
    assert sounds(here / "out") == {**before, "new.wav": b"mine"}
    assert run("batch", texts, "-o", "out", "--overwrite").code == 0
    assert sounds(here / "out")["t 0.wav"] != before["t 0.wav"]


def test_bad_texts_are_told_and_stop_no_other(run, here, fake):
    (here / "in.jsonl").write_text(
        '{"id": "good", "text": "Good.", "voice": "bob"}\n'
        '{"id": "none", "text": " "}\n'
        '{"id": "who", "text": "Who?", "voice": "nobody"}\n'
        "not json\n"
        '{"id": "good", "text": "Again."}\n'
        '{"id": "../up", "text": "Up."}\n'
        '{"text": "No name.", "seed": 7}\n'
        '{"id": "s", "text": "Seed.", "seed": "x"}\n'
    )
    ended = run("batch", "in.jsonl", "-o", "out")
    assert ended.code == 1 and "2 spoken, 0 kept, 6 failed" in ended.err
    assert ended.err.splitlines()[-1].startswith("Error: 6 of 8 texts could not be spoken")
    assert sorted(sounds(here / "out")) == ["00007.wav", "good.wav"]
    found = rows(here / "out")
    assert found["good"]["voice"] == "bob" and found["00007"]["seed"] == 7
    assert "no text" in found["none"]["error"] and "nobody" in found["who"]["error"]
    assert "not JSON" in found["00004"]["error"]
    assert not (here / "up.wav").exists()


@pytest.mark.parametrize("suffix", ["mp3", "flac"])
def test_tables_lines_and_formats(run, here, fake, suffix):
    (here / "t.csv").write_text('id,text,extra\na,"One, two.",x\nb,"Three\nfour.",y\n')
    assert run("batch", "t.csv", "-o", "out", "--format", suffix, "--voice", "alice").code == 0
    assert {row["text"] for row in rows(here / "out").values()} == {"One, two.", "Three\nfour."}
    assert len(read(here / "out" / f"a.{suffix}"))
    (here / "lines.txt").write_text("\ufeffFirst.\n\n  Second. \n")
    assert [(item.id, item.text) for item in items(here / "lines.txt")] == [
        ("00001", "First."),
        ("00003", "Second."),
    ]


def test_what_concerns_all_is_told_in_one_line(run, here, fake):
    (here / "empty").mkdir()
    (here / "t.csv").write_text("id,words\na,b\n")
    (here / "ok.txt").write_text("Fine.\n")
    (here / "bad.txt").write_bytes(b"\xff\xfe")
    for flags, told in [
        (["none", "-o", "out"], "no folder or file none"),
        (["empty", "-o", "out"], "holds no text"),
        (["t.csv", "-o", "out"], "no column 'text'"),
        (["bad.txt", "-o", "out"], "not UTF-8"),
        (["ok.txt"], "Missing option '--out'"),
        (["ok.txt", "-o", "out", "--batch-size", 0], "use 1 to 64"),
        (["ok.txt", "-o", "out", "--format", "au"], "no audio format 'au'"),
        (["ok.txt", "-o", "out", "--voice", "nobody"], "nobody"),
        (["ok.txt", "-o", "ok.txt/out"], "cannot be made"),
        (["ok.txt", "-o", "out", "--top-k", -1], "--top-k is -1"),
    ]:
        ended = run("batch", *flags)
        assert ended.code == 2 and told in ended.error, flags
    with pytest.raises(SettingError):
        items(here / "t.csv")
    with pytest.raises(TextError):
        items(here / "none")


def test_half_a_line_of_the_manifest_is_passed_over(run, here, fake, texts):
    assert run("batch", texts, "-o", "out").code == 0
    with (here / "out" / "manifest.jsonl").open("a") as file:
        file.write('{"id": "t 1", "tex')
    ended = run("batch", texts, "-o", "out")
    assert ended.code == 0 and "4 kept" in ended.err
    assert len(rows(here / "out")) == 4
