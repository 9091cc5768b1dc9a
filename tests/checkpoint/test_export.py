"""Exporting: a folder appears whole or not at all, in bounded memory, with what belongs to it."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from faster_higgs.checkpoint import appearing, shards
from faster_higgs.checkpoint.export import export
from faster_higgs.checkpoint.load import load_model
from faster_higgs.checkpoint.save import save_model
from faster_higgs.checkpoint.shards import Shards
from faster_higgs.checkpoint.tensors import open_tensors
from faster_higgs.errors import CheckpointError, HiggsError, OutputError, SettingError
from faster_higgs.model.dual_ffn import DualFFN
from faster_higgs.quant.apply import swap
from faster_higgs.quant.quantization import Quantization
from tests.fresh import Fresh
from tests.model.tiny_model import tiny_config, tiny_model

INT8 = Quantization("int8", "int8")


@pytest.fixture
def model(tmp_path: Path) -> Path:
    folder = tmp_path / "model"
    save_model(tiny_model(), tiny_config(), folder)
    return folder


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "out"


def test_what_belongs_to_a_model_is_copied_and_the_rest_is_told(model: Path, out: Path) -> None:
    small = ("tokenizer.json", "speech.json", "lexicon.bin", "LICENSE")
    for name in (*small, ".gitattributes", "codec/config.json", "voices/a.flac", "runs/1/event"):
        (model / name).parent.mkdir(parents=True, exist_ok=True)
        (model / name).write_text(name)
    (model / "adapter.safetensors").write_text("of no use here")
    with (model / "optimizer.pt").open("wb") as file:
        file.truncate(60_000_000)
    done = export(model, out, INT8)
    assert done.left_out == ("adapter.safetensors", "optimizer.pt", "runs")
    copied = {path.relative_to(out).as_posix() for path in out.rglob("*") if path.is_file()}
    assert copied == {
        *small,
        *("codec/config.json", "voices/a.flac", "config.json", "model.safetensors"),
    }
    for name in small:
        assert (out / name).read_text() == name
    assert done.bytes == (out / "model.safetensors").stat().st_size
    assert done.bytes_before == (model / "model.safetensors").stat().st_size


def test_links_into_a_cache_become_files(tmp_path: Path, model: Path, out: Path) -> None:
    moved = tmp_path / "blobs"
    model.rename(moved)
    (moved / "tokenizer.json").write_text("kept")
    model.mkdir()
    for path in moved.iterdir():
        (model / path.name).symlink_to(path)
    export(model, out, INT8)
    shutil.rmtree(moved)
    assert not any(path.is_symlink() for path in out.iterdir())
    assert (out / "tokenizer.json").read_text() == "kept"
    load_model(out)


def test_the_config_is_that_of_the_model_with_what_was_done(model: Path, out: Path) -> None:
    wish = Quantization("int8", "int4", 64)
    save_model(tiny_model().to(torch.bfloat16), tiny_config(), model, "original")
    export(model, out, wish)
    data = json.loads((out / "config.json").read_text())
    assert data["dtype"] == "bfloat16" and data["model_type"] == "higgs_audio_v2"
    found = data["quantization"]
    assert (found["audio"], found["text"], found["group"]) == ("int8", "int4", 64)
    assert list(found["sha256"]) == ["model.safetensors"]


@pytest.mark.parametrize("limit", [1, 20_000, 10**9])
def test_files_are_cut_at_the_limit_and_found_through_the_index(
    model: Path, out: Path, limit: int
) -> None:
    export(model, out, INT8, shard_bytes=limit)
    files = open_tensors(out).files
    largest = max(value.nbytes for path in files for value in load_file(path).values())
    for path in files:
        assert sum(value.nbytes for value in load_file(path).values()) <= max(limit, largest)
    if limit < 10**9:
        total = json.loads((out / "model.safetensors.index.json").read_text())["metadata"]
        values = [value for path in files for value in load_file(path).values()]
        assert total == {"total_size": sum(value.nbytes for value in values)}


def test_mapped_weights_begin_where_a_line_of_the_cache_does(model: Path, out: Path) -> None:
    export(model, out, INT8)
    _, loaded = load_model(out)
    packed = {name: v for name, v in loaded.state_dict().items() if name.endswith(".codes")}
    assert packed and all(value.data_ptr() % 64 == 0 for value in packed.values())


def test_every_kind_of_tensor_can_be_read_again(tmp_path: Path) -> None:
    tensors = {
        "odd": torch.arange(7, dtype=torch.uint8),
        "one": torch.tensor(3.5),
        "none": torch.zeros(0, 4),
        "turned": torch.arange(6).view(2, 3).t(),
        **{str(kind): torch.arange(40).to(kind).view(5, 8) for kind in shards._TYPES},
    }
    files = Shards(tmp_path, 10**9)
    for name, value in tensors.items():
        files.add(name, value)
    assert list(files.finish()) == ["model.safetensors"]
    found = load_file(tmp_path / "model.safetensors")
    assert found.keys() == tensors.keys()
    for name, value in tensors.items():
        assert found[name].dtype == value.dtype and torch.equal(found[name], value), name


def test_progress_ends_with_all_weights(model: Path, out: Path) -> None:
    told: list[tuple[int, int]] = []
    export(model, out, Quantization("int8", "int4"), lambda *pair: told.append(pair))
    weights = sum(weight.numel() for weight in tiny_model().parameters())
    assert told[-1] == (weights, weights) and sorted(told) == told
    assert len(told) > 20


@pytest.mark.parametrize("made_before", [False, True])
@pytest.mark.parametrize("stop", [KeyboardInterrupt(), OSError(28, "No space left on device")])
def test_what_is_broken_off_leaves_nothing(
    model: Path, out: Path, monkeypatch: pytest.MonkeyPatch, stop: BaseException, made_before: bool
) -> None:
    (model / "tokenizer.json").write_text("kept")
    if made_before:
        out.mkdir()
    before, write, calls = sorted(out.parent.rglob("*")), shards.write, []

    def failing(path: Path, tensors: Any) -> str:
        calls.append(path)
        if len(calls) == 3:
            raise stop
        return write(path, tensors)

    monkeypatch.setattr(shards, "write", failing)
    if isinstance(stop, OSError):
        with pytest.raises(OutputError, match=r"cannot be written to '.*out': No space left"):
            export(model, out, INT8, shard_bytes=20_000)
    else:
        with pytest.raises(KeyboardInterrupt):
            export(model, out, INT8, shard_bytes=20_000)
    assert len(calls) == 3 and sorted(out.parent.rglob("*")) == before


def test_an_empty_folder_that_is_there_is_filled(model: Path, out: Path) -> None:
    out.mkdir()
    export(model, out, INT8, shard_bytes=20_000)
    load_model(out)
    assert not any(path.name.startswith(".") for path in out.iterdir())


def refused(error: type[HiggsError], model: Path, out: Path, wish: Quantization = INT8) -> str:
    """What is said before anything is written."""
    before = sorted(out.parent.rglob("*")) if out.parent.is_dir() else []
    with pytest.raises(error) as caught:
        export(model, out, wish)
    assert "\n" not in str(caught.value)
    assert (sorted(out.parent.rglob("*")) if out.parent.is_dir() else []) == before
    return str(caught.value)


def test_a_place_that_is_taken_or_not_there_is_refused(model: Path, out: Path) -> None:
    out.mkdir()
    (out / "mine").write_text("")
    assert "is not empty" in refused(OutputError, model, out)
    assert "is not empty" in refused(OutputError, model, model)
    assert "is a file" in refused(OutputError, model, out / "mine")
    assert "make it first" in refused(OutputError, model, out / "not" / "there")


def test_an_export_of_an_export_is_refused(model: Path, out: Path) -> None:
    export(model, out, INT8)
    found = refused(CheckpointError, out, out.parent / "second", Quantization("int4", "int4"))
    assert "holds int8 weights already" in found


def test_a_disk_without_room_is_told_before_anything_is_written(
    model: Path, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = shutil._ntuple_diskusage  # type: ignore[attr-defined]
    monkeypatch.setattr(appearing.shutil, "disk_usage", lambda _: usage(10, 10, 1000))
    assert "0.0 GB free" in refused(OutputError, model, out)
    size = sum(value.nbytes for value in load_file(model / "model.safetensors").values())
    monkeypatch.setattr(appearing.shutil, "disk_usage", lambda _: usage(10, 10, size))
    export(model, out, INT8)


@pytest.mark.parametrize("wish", [Quantization(), Quantization("int8", "host")], ids=str)
def test_what_is_no_export_is_refused(model: Path, out: Path, wish: Quantization) -> None:
    assert "has packed weights" in refused(SettingError, model, out, wish)


def test_a_model_that_is_damaged_is_refused(model: Path, out: Path) -> None:
    (model / "config.json").unlink()
    assert "has no config.json" in refused(CheckpointError, model, out)


# ---- memory ----

MEASURE = r"""
import re, sys
from pathlib import Path
from faster_higgs.checkpoint.export import export
from faster_higgs.checkpoint.load import load_model
from faster_higgs.quant.quantization import Quantization
what, small, large, out = sys.argv[1:]
wish = Quantization("int8", "int8")
def high():  # getrusage would count what the parent process held, too
    return int(re.search(r"VmHWM:\s+(\d+)", open("/proc/self/status").read())[1]) * 1024
def run(folder):
    if what == "load":
        return load_model(folder, quantization=wish)[1]
    export(Path(folder), Path(out) / Path(folder).name, wish, shard_bytes=10_000_000)
run(small)
before = high()
found = run(large)
print(high() - before)
"""
LAYER = 2048 * 512 * 4  # bytes of the largest weight
SLACK = 25_000_000  # what packing works with, which is the same for larger models


@pytest.fixture(scope="module", params=["safetensors", "pth"])
def models(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, Path]:
    """A model of one layer, and one of some 100 MB, in one file."""
    small, large = tmp_path_factory.mktemp("small"), tmp_path_factory.mktemp("large")
    for folder, layers in ((small, 1), (large, 4)):
        sizes = {"hidden_size": 512, "intermediate_size": 2048, "num_hidden_layers": layers}
        config = tiny_config(**sizes)
        with torch.device("meta"):
            model = DualFFN(config)
        model.to_empty(device="cpu").initialize()
        save_model(model, config, folder, "original")
        if request.param == "pth":
            tensors = load_file(folder / "model.safetensors")
            (folder / "model.safetensors").unlink()
            torch.save(tensors, folder / "model.pth")
    assert sum(path.stat().st_size for path in large.glob("model.*")) > 100_000_000
    return small, large


@pytest.mark.skipif(sys.platform != "linux", reason="peak memory is read from /proc")
@pytest.mark.parametrize("what", ["load", "export"])
def test_no_more_is_in_memory_than_the_packed_model_and_a_layer(
    fresh: Fresh, models: tuple[Path, Path], tmp_path: Path, what: str
) -> None:
    taken = int(fresh(MEASURE, what, *models, tmp_path))
    with torch.device("meta"):
        model = DualFFN(load_model(models[1])[0])
    swap(model, INT8)
    packed = sum(value.nbytes for value in model.state_dict().values())
    assert packed < 30_000_000
    assert taken < packed + LAYER + SLACK
