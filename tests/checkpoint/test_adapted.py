"""Loading a model with adapters: as if its files held the changed weights."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from faster_higgs.checkpoint.adapted import chosen, notes
from faster_higgs.checkpoint.adapter import Adapter, Weighted, folded_all, write_adapter
from faster_higgs.checkpoint.export import export
from faster_higgs.checkpoint.fingerprint import fingerprint
from faster_higgs.checkpoint.load import load_model
from faster_higgs.checkpoint.save import save_model
from faster_higgs.config import Layout
from faster_higgs.errors import CheckpointError, SettingError
from faster_higgs.model.dual_ffn import DualFFN
from faster_higgs.quant.quantization import Quantization
from tests.checkpoint.adapters import an_adapter
from tests.model.tiny_model import tiny_config, tiny_model


def saved(
    folder: Path, dtype: torch.dtype = torch.float32, layout: Layout = "transformers"
) -> Path:
    save_model(tiny_model().to(dtype), tiny_config(), folder, layout)
    return folder


def weights(model: DualFFN, adapters: list[Weighted]) -> dict[str, Tensor]:
    return {
        name: folded_all(name, value, adapters).to(value.dtype)
        for name, value in model.state_dict().items()
    }


def same(left: dict[str, Tensor], right: dict[str, Tensor]) -> None:
    assert set(left) == set(right)
    for name, value in left.items():
        assert value.dtype == right[name].dtype, name
        assert torch.equal(value, right[name]), name


@pytest.fixture
def one() -> Weighted:
    return Weighted(an_adapter(tiny_model(), 1), 0.7, "one")


@pytest.mark.parametrize("layout", ["original", "transformers"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_weights_are_those_with_the_change(
    tmp_path: Path, one: Weighted, layout: Layout, dtype: torch.dtype
) -> None:
    folder = saved(tmp_path, dtype, layout)
    both = [one, Weighted(an_adapter(tiny_model(), 2, use_dora=True), -0.3, "other")]
    found = load_model(folder, adapters=both)[1]
    same(found.state_dict(), weights(tiny_model().to(dtype), both))


def test_narrow_weights_loaded_wide_are_changed_without_rounding(
    tmp_path: Path, one: Weighted
) -> None:
    folder = saved(tmp_path, torch.bfloat16)
    found = load_model(folder, dtype=torch.float32, adapters=[one])[1]
    same(found.state_dict(), weights(tiny_model().bfloat16().float(), [one]))


def test_wide_weights_loaded_narrow_are_rounded_after_the_change(
    tmp_path: Path, one: Weighted
) -> None:
    found = load_model(saved(tmp_path), dtype=torch.bfloat16, adapters=[one])[1]
    expected = weights(tiny_model(), [one])
    same(found.state_dict(), {name: value.bfloat16() for name, value in expected.items()})


@pytest.mark.parametrize("dtype", [None, torch.bfloat16])
def test_a_torch_file_gives_the_same(
    tmp_path: Path, one: Weighted, dtype: torch.dtype | None
) -> None:
    whole, pickled = saved(tmp_path / "a"), saved(tmp_path / "b")
    (pickled / "model.safetensors").unlink()
    stored = {f"model.{name}": v for name, v in _stored().items()}
    torch.save(stored, pickled / "model.pth")
    left, right = (load_model(at, dtype=dtype, adapters=[one])[1] for at in (whole, pickled))
    same(left.state_dict(), right.state_dict())


def _stored() -> dict[str, Tensor]:
    from faster_higgs.checkpoint.layouts import ORIGINAL

    return {ORIGINAL.stored(name): value for name, value in tiny_model().state_dict().items()}


def test_packing_comes_after_the_change(tmp_path: Path, one: Weighted) -> None:
    changed = tiny_model()
    changed.load_state_dict(weights(changed, [one]))
    save_model(changed, tiny_config(), tmp_path / "changed")
    asked = Quantization("int8", "int8")
    expected = load_model(tmp_path / "changed", quantization=asked)[1]
    found = load_model(saved(tmp_path / "base"), quantization=asked, adapters=[one])[1]
    same(found.state_dict(), expected.state_dict())


def test_what_is_not_touched_stays_the_mapped_file(tmp_path: Path, one: Weighted) -> None:
    folder = saved(tmp_path)
    model = load_model(folder, adapters=[one])[1]
    path = str(folder / "model.safetensors")
    lines = [line.split() for line in Path("/proc/self/maps").read_text().splitlines()]
    ends = [[int(end, 16) for end in line[0].split("-")] for line in lines if line[-1] == path]

    def is_mapped(value: Tensor) -> bool:
        return any(begin <= value.data_ptr() < end for begin, end in ends)

    for name, value in model.state_dict().items():
        assert is_mapped(value) == (name not in one.adapter.touched), name


def test_a_change_of_the_text_head_waits_for_a_model_with_one(tmp_path: Path) -> None:
    model = tiny_model()
    head = {"text_head.weight": model.text_head.weight.detach() + 1}
    changed = Weighted(replace(an_adapter(model), replaced=head), label="a")
    folder = saved(tmp_path)
    assert not hasattr(load_model(folder, text_head=False, adapters=[changed])[1], "text_head")
    found = load_model(folder, adapters=[changed])[1]
    assert torch.equal(found.text_head.weight, head["text_head.weight"])


def test_an_adapter_of_another_model_is_refused(tmp_path: Path) -> None:
    wide = tiny_model(hidden_size=64)
    other = Weighted(an_adapter(wide), label="mine")
    with pytest.raises(CheckpointError, match="'mine' was trained on another model"):
        load_model(saved(tmp_path), adapters=[other])


def test_packed_files_take_no_adapter_and_say_what_to_do(tmp_path: Path, one: Weighted) -> None:
    export(saved(tmp_path / "base"), tmp_path / "small", Quantization("int8", "int8"))
    with pytest.raises(CheckpointError, match=r"holds int8 weights.*`higgs merge`"):
        load_model(tmp_path / "small", adapters=[one])


def test_adapters_are_read_by_folder_and_weight(tmp_path: Path) -> None:
    write_adapter(tmp_path / "a", an_adapter(tiny_model()))
    found = chosen([str(tmp_path / "a"), (tmp_path / "a", 0.5)])
    assert [(one.factor, one.label) for one in found] == [
        (1.0, str(tmp_path / "a")),
        (0.5, str(tmp_path / "a")),
    ]
    with pytest.raises(SettingError, match="nan times"):
        chosen([(tmp_path / "a", float("nan"))])


def test_a_fingerprint_knows_the_weights_however_they_are_stored(tmp_path: Path) -> None:
    rounded = tiny_model().bfloat16()
    save_model(rounded, tiny_config(), tmp_path / "a", "transformers", shard_bytes=30_000)
    save_model(rounded.float(), tiny_config(), tmp_path / "b", "original")
    save_model(DualFFN(tiny_config(), text_head=False), tiny_config(), tmp_path / "c")
    same_weights = {fingerprint(tmp_path / name) for name in "ab"}
    assert len(same_weights) == 1 and same_weights != {fingerprint(tmp_path / "c")}


def test_a_change_of_one_layer_changes_the_fingerprint(tmp_path: Path) -> None:
    before = fingerprint(saved(tmp_path))
    model = tiny_model()
    with torch.no_grad():
        model.layers[1].k_proj.weight[0] += 1  # type: ignore[union-attr, operator]
    save_model(model, tiny_config(), tmp_path)
    assert fingerprint(tmp_path) != before


def test_of_another_base_a_word_is_said(one: Weighted) -> None:
    def told(adapter: Adapter, fingerprint: str) -> list[str]:
        return list(notes(fingerprint, [Weighted(adapter, 1.0, "mine")]))

    adapter = replace(
        one.adapter, config=replace(one.adapter.config, fingerprint="x", base="org/b")
    )
    assert told(adapter, "x") == told(adapter, "") == told(one.adapter, "y") == []
    (note,) = told(adapter, "y")
    assert "'mine' was trained on other weights" in note and "org/b" in note
