"""Saving a codec: a failed save leaves the one that was there, weights and configs."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from faster_higgs.checkpoint import codec_files
from faster_higgs.checkpoint.codec_files import load_codec, save_codec
from faster_higgs.checkpoint.replacing import replacing
from faster_higgs.codec.codec import Codec
from faster_higgs.config import Layout
from faster_higgs.errors import OutputError
from tests.codec.conftest import TINY


def contents(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


@pytest.fixture(params=["original", "transformers"])
def layout(request: pytest.FixtureRequest) -> Any:
    return request.param


def full_disk(write: Any) -> Any:
    def failing(tensors: Any, path: Path, **options: Any) -> None:
        write(tensors, path, **options)
        os.truncate(path, 1000)
        raise OSError(28, "No space left on device")

    return failing


def test_a_disk_full_at_the_weights_leaves_the_old_codec(
    tmp_path: Path, layout: Layout, monkeypatch: pytest.MonkeyPatch
) -> None:
    codec = Codec(replace(TINY, acoustic_pad=7))
    save_codec(codec, tmp_path, layout)
    before = contents(tmp_path)
    monkeypatch.setattr(codec_files, "save_file", full_disk(codec_files.save_file))
    monkeypatch.setattr(torch, "save", full_disk(torch.save))
    with pytest.raises(OutputError, match="No space left on device"):
        save_codec(Codec(replace(TINY, acoustic_pad=9)), tmp_path, layout)
    assert contents(tmp_path) == before
    assert load_codec(tmp_path).config.acoustic_pad == 7


@pytest.mark.parametrize("name", ["config.json", "preprocessor_config.json"])
def test_a_config_that_cannot_be_written_leaves_the_old_weights(tmp_path: Path, name: str) -> None:
    save_codec(Codec(TINY), tmp_path, "transformers")
    (tmp_path / name).unlink()
    (tmp_path / name).mkdir()
    before = contents(tmp_path)
    with pytest.raises(OutputError, match="A folder has that name"):
        save_codec(Codec(TINY), tmp_path, "transformers")
    assert contents(tmp_path) == before


def test_weights_that_would_be_read_instead_are_not_left_in_the_way(tmp_path: Path) -> None:
    (tmp_path / "model.safetensors.index.json").write_text("{}")
    with pytest.raises(OutputError, match=r"already holds a model\.safetensors\.index\.json"):
        save_codec(Codec(TINY), tmp_path, "transformers")
    save_codec(Codec(TINY), tmp_path, "original")
    load_codec(tmp_path)


def test_everyone_may_read_what_was_saved(tmp_path: Path, layout: Layout) -> None:
    save_codec(Codec(TINY), tmp_path, layout)
    for path in tmp_path.rglob("*.*"):
        assert path.stat().st_mode & 0o444 == 0o444, path.name


def test_files_are_replaced_together_or_not_at_all(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("old")
    stopped = pytest.raises(OutputError, match="The list could not be written to")
    with stopped, replacing(tmp_path, "list") as partial:
        partial("a").write_text("new")
        partial("b/c").write_text("new")
        raise OSError("stop")
    assert contents(tmp_path) == {"a": b"old"}
    with replacing(tmp_path, "list") as partial:
        partial("a").write_text("new")
        partial("b/c").write_text("new")
        assert (tmp_path / "a").read_text() == "old"
    assert contents(tmp_path) == {"a": b"new", "b/c": b"new"}
