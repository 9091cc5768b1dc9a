"""Extracting: the difference of two models as an adapter."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from faster_higgs.checkpoint.adapter import Weighted, read_adapter, write_adapter
from faster_higgs.checkpoint.export import export
from faster_higgs.checkpoint.extract import _pair, extract
from faster_higgs.checkpoint.fingerprint import fingerprint
from faster_higgs.checkpoint.layouts import ORIGINAL
from faster_higgs.checkpoint.load import load_model
from faster_higgs.checkpoint.merge import MergeSettings, merge
from faster_higgs.checkpoint.save import save_model
from faster_higgs.errors import CheckpointError, SettingError
from faster_higgs.quant.quantization import Quantization
from tests.checkpoint.adapters import an_adapter
from tests.model.tiny_model import tiny_config, tiny_model


@pytest.fixture
def base(tmp_path: Path) -> Path:
    save_model(tiny_model(), tiny_config(), tmp_path / "base")
    return tmp_path / "base"


@pytest.fixture
def full(base: Path, tmp_path: Path) -> Path:
    """The base with a change of rank 4."""
    change = [Weighted(an_adapter(tiny_model(), 1))]
    merge(base, change, tmp_path / "full", MergeSettings("fp32", "original"))
    return tmp_path / "full"


def distance(base: Path, full: Path, adapter: Weighted) -> float:
    """The largest difference of a weight between the full model and the base with the adapter."""
    made = load_model(base, adapters=[adapter])[1].state_dict()
    wanted = load_model(full)[1].state_dict()
    return max(float((made[name] - value).abs().max()) for name, value in wanted.items())


def test_an_adapter_of_the_change_s_rank_gives_it_back(
    base: Path, full: Path, tmp_path: Path
) -> None:
    found = extract(full, base, 4, named="org/base")
    assert found.kept > 0.99999
    write_adapter(tmp_path / "a", found.adapter)
    again = read_adapter(tmp_path / "a")
    assert distance(base, full, Weighted(again)) < 1e-5
    assert again.config.base == "org/base" and again.config.fingerprint == fingerprint(base)
    assert again.touched == an_adapter(tiny_model(), 1).touched


def test_a_smaller_rank_keeps_less_and_says_so(base: Path, full: Path) -> None:
    shares = [extract(full, base, rank).kept for rank in (1, 2, 4, 100)]
    assert 0.2 < shares[0] < shares[1] < 0.99 < shares[2] <= 1
    assert shares[3] == pytest.approx(shares[2])


def test_large_layers_are_decomposed_alike(monkeypatch: pytest.MonkeyPatch) -> None:
    generator = torch.Generator().manual_seed(0)
    change = torch.randn(90, 5, generator=generator) @ torch.randn(5, 200, generator=generator)
    change += 0.01 * torch.randn(90, 200, generator=generator)
    before = torch.random.get_rng_state()
    down, up = _pair(change, 5)
    assert torch.equal(before, torch.random.get_rng_state())
    left, sizes, right = torch.linalg.svd(change)
    best = (left[:, :5] * sizes[:5]) @ right[:5]
    torch.testing.assert_close(up @ down, best, atol=1e-3, rtol=0)
    assert torch.equal(_pair(change, 5)[0], down)


def wrapped(folder: Path, prefix: str) -> None:
    """The names that a trainer's wrapper gives."""
    path = folder / "model.safetensors"
    held = load_file(path)
    save_file({f"{prefix}{name}": value for name, value in held.items()}, path)


def test_a_trainer_s_prefix_is_no_hindrance(base: Path, full: Path) -> None:
    wrapped(full, "module.model.")
    (full / "config.json").unlink()
    assert extract(full, base, 4).kept > 0.99999


def pickled(folder: Path) -> None:
    """The same tensors as torch saves them, and a trainer wraps them."""
    path = folder / "model.safetensors"
    torch.save({"model": load_file(path), "step": 7}, folder / "model.pth")
    path.unlink()


@pytest.mark.parametrize("which", ["full", "base", "both"])
def test_a_torch_file_gives_what_safetensors_give(base: Path, full: Path, which: str) -> None:
    wanted = extract(full, base, 3)
    for folder in (full, base):
        if which in (folder.name, "both"):
            pickled(folder)
    found = extract(full, base, 3)
    assert found.kept == wanted.kept
    assert found.adapter.pairs.keys() == wanted.adapter.pairs.keys()
    for path, pair in wanted.adapter.pairs.items():
        assert all(map(torch.equal, pair, found.adapter.pairs[path]))
    assert found.adapter.replaced.keys() == wanted.adapter.replaced.keys()
    assert not found.adapter.config.fingerprint or which == "full"


def test_packed_weights_have_no_difference(base: Path, full: Path, tmp_path: Path) -> None:
    export(full, tmp_path / "small", Quantization("int8"))
    with pytest.raises(CheckpointError, match="are packed, so no difference can be taken"):
        extract(tmp_path / "small", base)


def test_pairs_inside_a_checkpoint_are_taken_as_they_are(
    base: Path, full: Path, tmp_path: Path
) -> None:
    adapter = an_adapter(tiny_model(), 1)
    tensors = {}
    for path, (down, up) in adapter.pairs.items():
        stem = "model.base_model.model." + ORIGINAL.stored(f"{path}.weight").removesuffix("weight")
        tensors[f"{stem}base_layer.weight"] = torch.zeros(1)
        tensors[f"{stem}lora_A.default.weight"] = down
        tensors[f"{stem}lora_B.default.weight"] = up
    (tmp_path / "checkpoint-7").mkdir()
    save_file(tensors, tmp_path / "checkpoint-7" / "model.safetensors")
    with pytest.raises(SettingError, match="--alpha"):
        extract(tmp_path / "checkpoint-7", base)
    found = extract(tmp_path / "checkpoint-7", base, alpha=6.0)
    pickled(tmp_path / "checkpoint-7")
    again = extract(tmp_path / "checkpoint-7", base, alpha=6.0)
    assert again.adapter.pairs.keys() == found.adapter.pairs.keys()
    assert found.adapter.scale == adapter.scale and not found.adapter.replaced
    for path, pair in adapter.pairs.items():
        assert all(map(torch.equal, pair, found.adapter.pairs[path]))


def test_what_cannot_be_is_told_in_a_sentence(base: Path, full: Path, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="No linear layer of the two models differs"):
        extract(base, base)
    with pytest.raises(SettingError, match="--rank is 0"):
        extract(full, base, 0)
    with pytest.raises(SettingError, match="leave --alpha out"):
        extract(full, base, alpha=1.0)
    save_model(tiny_model(hidden_size=64), tiny_config(hidden_size=64), tmp_path / "wide")
    with pytest.raises(CheckpointError, match=r"no change of the base: its audio_head\.weight has"):
        extract(tmp_path / "wide", base)
