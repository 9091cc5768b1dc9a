"""`higgs export`: what is written, what is told, and what is refused in one line."""

from __future__ import annotations

import json
import shutil
import sys

import pytest

from faster_higgs.checkpoint import export as exporting
from faster_higgs.checkpoint import files
from faster_higgs.cli import export as command

SHORT = ["--seed", 3, "--max_new_tokens", 30, "--device", "cpu"]


def held(folder):
    """What its config says of it."""
    found = json.loads((folder / "config.json").read_text())["quantization"]
    return found["audio"], found["text"], found["group"]


def test_a_smaller_model_speaks_by_itself(run, here, tiny):
    ended = run("export", "--to", "int8", tiny, "small")
    assert ended.code == 0 and ended.out == f"{here / 'small'}\n"
    assert "codec was copied" in ended.err and f"--model {here / 'small'}" in ended.err
    assert held(here / "small") == ("int8", "int8", 128)
    assert run("say", "Hello.", "--model", "small", "-o", "a.wav", *SHORT).code == 0
    assert run("say", "Hello.", "--model", "small", "-o", "b.wav", *SHORT).code == 0
    assert run("say", "Hello.", "--model", tiny, "-o", "c.wav", *SHORT).code == 0
    small, again, whole = ((here / f"{name}.wav").read_bytes() for name in "abc")
    assert small == again and small != whole


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        (["--to", "int4"], ("int4", "int4", 128)),
        (["--to", "int4", "--group", 32], ("int4", "int4", 32)),
        (["--to", "int8", "--text", "int4", "--group", 64], ("int8", "int4", 64)),
        (["--to", "int4", "--text", "int8"], ("int4", "int8", 128)),
        (["--to", "int8", "--text", "same"], ("int8", None, 128)),
        (["--to", "fp8"], ("fp8", "fp8", 128)),
    ],
)
def test_each_side_as_it_was_asked_for(run, here, tiny, flags, expected):
    assert run("export", *flags, tiny, "small").code == 0
    assert held(here / "small") == expected


def test_weights_are_cut_into_files_of_a_size(run, here, tiny):
    assert run("export", "--to", "int8", tiny, "small", "--shard-size", "0.02MB").code == 0
    assert len(list((here / "small").glob("model-*-of-*.safetensors"))) > 3
    assert run("say", "Hello.", "--model", "small", "-o", "a.wav", *SHORT).code == 0
    ended = run("export", "--to", "int8", tiny, "other", "--shard-size", "some")
    assert ended.code == 2 and "--shard-size is 'some'; write a size" in ended.err
    assert not (here / "other").exists()


def test_without_a_name_it_is_the_model_that_speaks(run, here, tiny, monkeypatch):
    default = files.DefaultModel(tiny, packaged=True)
    monkeypatch.setattr(files, "default_model", lambda: default)
    assert run("export", "--to", "int8", "small").code == 0
    assert held(here / "small")


def test_where_the_codec_is_found_is_told(run, here, tiny, tmp_path, monkeypatch):
    shutil.copytree(tiny, tmp_path / "alone")
    shutil.rmtree(tmp_path / "alone" / "codec")
    ended = run("export", "--to", "int8", tmp_path / "alone", "small")
    assert ended.code == 0 and "higgs download" in ended.err
    monkeypatch.setattr(files, "find_cached", lambda hub_id, revision=None: tiny / "codec")
    ended = run("export", "--to", "int8", tmp_path / "alone", "other")
    assert ended.code == 0 and f"found in {tiny / 'codec'}" in ended.err


def test_what_was_not_copied_is_told(run, here, tiny, tmp_path):
    shutil.copytree(tiny, tmp_path / "more")
    (tmp_path / "more" / "runs").mkdir()
    assert "Not copied: runs." in run("export", "--to", "int8", tmp_path / "more", "small").err


@pytest.mark.parametrize(
    ("flags", "told"),
    [
        (["small"], "Missing option '--to'"),
        (["--to", "int8"], "Missing argument"),
        (["--to", "int8", "a", "b", "c"], "only the folder"),
        (["--to", "int3", "small"], "found 'int3'"),
        (["--to", "int8", "--text", "host", "small"], "found 'int8' and 'host'"),
        (["--to", "int8", "--group", 64, "small"], "--group belongs to int4"),
        (["--to", "int4", "--group", 5, "small"], "found 5"),
        (["--to", "int8", "no/such/model", "small"], "no checkpoint folder 'no/such/model'"),
        (["--to", "int8", "no/folder"], "make it first"),
    ],
)
def test_what_cannot_be_is_told_in_one_line(run, here, tiny, monkeypatch, flags, told):
    default = files.DefaultModel(tiny, packaged=True)
    monkeypatch.setattr(files, "default_model", lambda: default)
    ended = run("export", *flags)
    assert ended.code == 2 and told in ended.error
    assert not any(here.iterdir())


def test_an_export_of_an_export_is_told(run, here, tiny):
    run("export", "--to", "int8", tiny, "small")
    ended = run("export", "--to", "int4", "small", "smaller")
    assert ended.code == 2 and "holds int8 weights already" in ended.error
    assert not (here / "smaller").exists()


def test_where_there_is_no_fp8_it_is_told(run, here, tiny):
    assert run("export", "--to", "fp8", tiny, "small").code == 0
    for flags in (["--model", "small"], ["--model", tiny, "--precision", "fp8"]):
        ended = run("say", "Hello.", *flags, "-o", "a.wav", *SHORT)
        assert ended.code == 2 and "fp8 needs a graphics card" in ended.error
    ended = run("doctor", "small")
    assert ended.code == 0 and "fp8 needs a graphics card" in ended.out
    assert not (here / "a.wav").exists()


def test_ctrl_c_leaves_nothing(run, here, tiny, monkeypatch):
    def stop(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(exporting.Shards, "add", stop)
    assert run("export", "--to", "int8", tiny, "small").code == 130
    assert not any(here.iterdir())


def test_a_bar_is_shown_to_who_looks_and_to_no_other(run, here, tiny, monkeypatch, capsys):
    with command.progress_bar() as progress:
        assert progress is None
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    with command.progress_bar() as progress:
        assert progress is not None
        progress(3_000_000, 7_000_000)
    assert "3 of 7 M weights" in capsys.readouterr().err
