"""Saving: load(save(x)) = x, and a failed save leaves what was there."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from faster_higgs.checkpoint import save
from faster_higgs.checkpoint.load import load_model
from faster_higgs.checkpoint.save import save_model, write_checkpoint
from faster_higgs.config import Layout
from faster_higgs.errors import CheckpointError, OutputError
from faster_higgs.model.dual_ffn import DualFFN
from faster_higgs.quant.apply import swap
from faster_higgs.quant.quantization import Quantization
from tests.model.tiny_model import tiny_config, tiny_model


def same(left: DualFFN, right: DualFFN) -> None:
    assert list(left.state_dict()) == list(right.state_dict())
    for name, value in left.state_dict().items():
        assert value.dtype == right.state_dict()[name].dtype
        assert torch.equal(value, right.state_dict()[name]), name


@pytest.mark.parametrize("layout", ["original", "transformers"])
@pytest.mark.parametrize("shard_bytes", [10**9, 30_000, 1])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_loading_what_was_saved_gives_it_back_bit_for_bit(
    tmp_path: Path, layout: Layout, shard_bytes: int, dtype: torch.dtype
) -> None:
    model = tiny_model().to(dtype)
    save_model(model, tiny_config(), tmp_path, layout, shard_bytes=shard_bytes)
    config, again = load_model(tmp_path)
    assert config == tiny_config()
    same(model, again)


@settings(max_examples=10, deadline=None)
@given(st.integers(0, 2**31), st.sampled_from(["text", "phonemes"]), st.booleans())
def test_from_one_layout_to_the_other_and_back(
    tmp_path_factory: pytest.TempPathFactory, seed: int, text_input: str, scaled: bool
) -> None:
    changes = {"text_input": text_input} | ({} if scaled else {"rope_scaling": None})
    model, config = tiny_model(seed, **changes), tiny_config(**changes)
    for layout in ("original", "transformers", "original"):
        folder = tmp_path_factory.mktemp("saved")
        save_model(model, config, folder, layout)  # type: ignore[arg-type]
        config, model = load_model(folder)
    assert config == tiny_config(**changes)
    same(tiny_model(seed, **changes), model)


def test_packed_weights_are_refused_in_a_sentence(tmp_path: Path) -> None:
    model = tiny_model()
    swap(model, Quantization("int8", None))
    with pytest.raises(CheckpointError, match="export the model they were made from"):
        save_model(model, tiny_config(), tmp_path)
    assert not any(tmp_path.iterdir())


@pytest.mark.parametrize("shard_bytes", [10**9, 30_000])
def test_everyone_may_read_what_was_saved(tmp_path: Path, shard_bytes: int) -> None:
    save_model(tiny_model(), tiny_config(), tmp_path, shard_bytes=shard_bytes)
    for path in tmp_path.iterdir():
        assert path.stat().st_mode & 0o444 == 0o444, path.name


def test_a_model_without_text_head_is_saved_without_one(tmp_path: Path) -> None:
    save_model(tiny_model(), tiny_config(), tmp_path)
    config, model = load_model(tmp_path, text_head=False)
    save_model(model, config, tmp_path)
    same(model, load_model(tmp_path, text_head=False)[1])


def test_saving_over_the_files_a_model_is_mapped_from_is_safe(tmp_path: Path) -> None:
    save_model(tiny_model(), tiny_config(), tmp_path, shard_bytes=30_000)
    config, model = load_model(tmp_path)
    save_model(model, config, tmp_path, "original")
    same(tiny_model(), model)
    same(tiny_model(), load_model(tmp_path)[1])


def test_weights_of_an_earlier_save_do_not_stay_behind(tmp_path: Path) -> None:
    (tmp_path / "tokenizer.json").write_text("kept")
    save_model(tiny_model(1), tiny_config(), tmp_path, shard_bytes=30_000)
    save_model(tiny_model(2), tiny_config(), tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {
        "tokenizer.json",
        "config.json",
        "model.safetensors",
    }
    save_model(tiny_model(3), tiny_config(), tmp_path, shard_bytes=30_000)
    assert not (tmp_path / "model.safetensors").exists()
    same(tiny_model(3), load_model(tmp_path)[1])


def test_the_index_counts_bytes_and_no_shard_is_over_the_limit(tmp_path: Path) -> None:
    save_model(tiny_model(), tiny_config(), tmp_path, shard_bytes=30_000)
    index = json.loads((tmp_path / "model.safetensors.index.json").read_text())
    assert index["metadata"]["total_size"] == sum(w.nbytes for w in tiny_model().parameters())
    assert len(index["weight_map"]) == len(tiny_model().state_dict())
    shards = [tmp_path / name for name in set(index["weight_map"].values())]
    assert all(shard.stat().st_size < 35_000 for shard in shards)


def test_a_failed_save_leaves_the_old_checkpoint_and_no_litter(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save_model(tiny_model(1), tiny_config(), tmp_path)
    before = sorted(tmp_path.iterdir())
    write = save.save_file
    calls = []

    def full_disk(tensors, path, metadata) -> None:  # type: ignore[no-untyped-def]
        write(tensors, path, metadata=metadata)
        calls.append(path)
        if len(calls) == 2:
            raise OSError(28, "No space left on device")

    monkeypatch.setattr(save, "save_file", full_disk)
    with pytest.raises(OutputError, match=r"could not be written to .*No space left on device"):
        save_model(tiny_model(2), tiny_config(), tmp_path, shard_bytes=30_000)
    assert sorted(tmp_path.iterdir()) == before
    same(tiny_model(1), load_model(tmp_path)[1])


def test_a_place_that_cannot_be_a_folder_is_an_output_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="could not be written"):
        write_checkpoint(tmp_path / "file", {"a": torch.ones(1)}, {})
