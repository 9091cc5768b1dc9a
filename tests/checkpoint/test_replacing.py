"""A folder that takes another's place is there whole, or the other one is."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from faster_higgs.checkpoint.replacing import put_in_place, replacing_whole, standing
from faster_higgs.errors import OutputError


def write(folder: Path, text: str) -> None:
    with replacing_whole(folder, "model") as partial:
        (partial / "one").write_text(text)
        (partial / "two").write_text(text)


def read(folder: Path | None) -> list[str]:
    assert folder is not None
    return [(folder / name).read_text() for name in ("one", "two")]


def test_a_folder_is_replaced_whole_and_nothing_else_stays(tmp_path: Path) -> None:
    for text in ("old", "new"):
        write(tmp_path / "best", text)
        assert read(standing(tmp_path / "best")) == [text, text]
    assert [path.name for path in tmp_path.iterdir()] == ["best"]


def test_what_stops_the_writing_leaves_the_old_folder(tmp_path: Path) -> None:
    write(tmp_path / "best", "old")
    with pytest.raises(OutputError, match="The model could not be written"):  # noqa: SIM117
        with replacing_whole(tmp_path / "best", "model") as partial:
            (partial / "one").write_text("new")
            raise OSError(28, "No space left on device")
    assert read(standing(tmp_path / "best")) == ["old", "old"]
    assert [path.name for path in tmp_path.iterdir()] == ["best"]


def test_between_the_two_renames_the_old_folder_is_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path / "best", "old")
    rename = os.replace

    def cut_off(source: Path, target: Path) -> None:
        if Path(target) == tmp_path / "best":
            raise KeyboardInterrupt
        rename(source, target)

    monkeypatch.setattr(os, "replace", cut_off)
    (tmp_path / "new").mkdir()
    with pytest.raises(KeyboardInterrupt):
        put_in_place(tmp_path / "new", tmp_path / "best")
    assert not (tmp_path / "best").exists()
    assert read(standing(tmp_path / "best")) == ["old", "old"]
