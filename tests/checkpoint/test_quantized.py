"""Packed while loading, exported and loaded, or packed in place: the same weights, bit for bit."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file

from faster_higgs.checkpoint.export import export
from faster_higgs.checkpoint.load import count_weights, holds_text_head, load_model
from faster_higgs.checkpoint.save import save_model
from faster_higgs.digest import sha256
from faster_higgs.errors import CheckpointError, SettingError
from faster_higgs.model.dual_ffn import DualFFN
from faster_higgs.quant.apply import swap
from faster_higgs.quant.linear import PackedLinear
from faster_higgs.quant.quantization import Quantization
from tests.model.tiny_model import random_rows, tiny_config, tiny_model

INT8 = Quantization("int8", "int8")
INT4 = Quantization("int4", "int4", 16)
MIXED = Quantization("int8", "int4", 32)
FP8 = Quantization("fp8", "fp8")
WISHES = [INT8, INT4, MIXED, Quantization("int4"), Quantization(text="int8"), FP8]
NAMES = ["int8", "int4", "mixed", "audio", "text", "fp8"]

wishes = pytest.mark.parametrize("wish", WISHES, ids=NAMES)


def same(left: DualFFN, right: DualFFN) -> None:
    """Equal tensors of equal types, and equal logits."""
    ours, theirs = left.state_dict(), right.state_dict()
    assert sorted(ours) == sorted(theirs)
    for name, value in ours.items():
        assert value.dtype == theirs[name].dtype, name
        assert torch.equal(value, theirs[name]), name
    for one, other in zip(logits(left), logits(right), strict=True):
        assert torch.equal(one, other)


def logits(model: DualFFN) -> list[torch.Tensor]:
    hidden = model.prefill(*random_rows(model.config, 24, seed=1), model.new_cache())
    heads = [model.audio_logits(hidden)]
    return [*heads, model.text_logits(hidden)] if hasattr(model, "text_head") else heads


def packed_in_place(model: DualFFN, wish: Quantization) -> DualFFN:
    swap(model, wish)
    return model


def save(folder: Path, layout: Any = "transformers", kind: str = "one", **more: Any) -> None:
    """A tiny model in one file, in several, or in a torch file."""
    model = tiny_model().to(more.pop("dtype", torch.float32))
    save_model(
        model, tiny_config(), folder, layout, shard_bytes=30_000 if kind == "shards" else 10**9
    )
    if kind == "torch":
        tensors = load_file(folder / "model.safetensors")
        (folder / "model.safetensors").unlink()
        torch.save(tensors, folder / "model.pth")


@pytest.fixture
def fp8_anywhere(monkeypatch: pytest.MonkeyPatch) -> None:
    """The processor computes it, too, in torch; only nobody would want that."""
    monkeypatch.setattr("faster_higgs.checkpoint.load.refuse_without_fp8", lambda *_: None)


@pytest.fixture
def model(tmp_path: Path) -> Path:
    folder = tmp_path / "model"
    save(folder)
    return folder


@pytest.fixture
def exported(tmp_path: Path, model: Path) -> Path:
    export(model, tmp_path / "out", MIXED, shard_bytes=30_000)
    return tmp_path / "out"


@wishes
@pytest.mark.usefixtures("fp8_anywhere")
@pytest.mark.parametrize("layout", ["original", "transformers"])
@pytest.mark.parametrize("kind", ["one", "shards", "torch"])
def test_packed_while_loading_is_packed_in_place(
    tmp_path: Path, wish: Quantization, layout: str, kind: str
) -> None:
    save(tmp_path, layout, kind)
    whole = load_model(tmp_path)[1]
    config, packed = load_model(tmp_path, quantization=wish)
    assert config == tiny_config()
    same(packed_in_place(whole, wish), packed)


@wishes
@pytest.mark.usefixtures("fp8_anywhere")
@pytest.mark.parametrize("layout", ["original", "transformers"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_exported_and_loaded_is_packed_in_place(
    tmp_path: Path, wish: Quantization, layout: str, dtype: torch.dtype
) -> None:
    save(tmp_path / "model", layout, dtype=dtype)
    export(tmp_path / "model", tmp_path / "out", wish)
    config, loaded = load_model(tmp_path / "out")
    assert config == tiny_config()
    same(packed_in_place(load_model(tmp_path / "model")[1], wish), loaded)
    same(load_model(tmp_path / "out", quantization=wish)[1], loaded)


@settings(max_examples=10, deadline=None)
@given(
    kind=st.sampled_from(["one", "shards", "torch"]),
    shard_bytes=st.sampled_from([1, 5_000, 10**9]),
    seed=st.integers(0, 2**31),
    text_head=st.booleans(),
)
def test_how_files_are_cut_changes_nothing(
    tmp_path_factory: pytest.TempPathFactory,
    kind: str,
    shard_bytes: int,
    seed: int,
    text_head: bool,
) -> None:
    folder = tmp_path_factory.mktemp("cut")
    save(folder / "model", kind=kind)
    model = load_model(folder / "model")[1]
    export(folder / "model", folder / "out", MIXED, shard_bytes=shard_bytes)
    swap(model, MIXED)
    if not text_head:
        del model.text_head
    same(model, load_model(folder / "out", text_head=text_head)[1])


def test_pieces_of_a_weight_are_packed_as_one(model: Path) -> None:
    whole = load_model(model, quantization=INT4)[1]
    tensors = {
        name: value.clone() for name, value in load_file(model / "model.safetensors").items()
    }
    head = tensors.pop("text_lm_head.weight")
    tensors["text_lm_head.linear_frozen.weight"] = head[:21].clone()
    tensors["text_lm_head.linear_trainable.weight"] = head[21:].clone()
    save_file(tensors, model / "model.safetensors")
    same(whole, load_model(model, quantization=INT4)[1])
    (model / "model.safetensors").unlink()
    torch.save(tensors, model / "model.pth")
    same(whole, load_model(model, quantization=INT4)[1])


def test_a_cast_leaves_what_is_packed(model: Path, exported: Path) -> None:
    whole = load_model(model, quantization=MIXED)[1]
    for folder, wish in ((model, MIXED), (exported, None)):
        _, cast = load_model(folder, dtype=torch.bfloat16, quantization=wish)
        for name, value in cast.state_dict().items():
            owner = cast.get_submodule(name.rpartition(".")[0])
            before = whole.state_dict()[name]
            if isinstance(owner, PackedLinear):
                assert value.dtype == before.dtype and torch.equal(value, before), name
            else:
                assert torch.equal(value, before.to(torch.bfloat16)), name


def test_no_weight_stays_empty_and_only_linear_ones_are_packed(exported: Path) -> None:
    _, model = load_model(exported)
    held = model.state_dict()
    assert not any(value.is_meta for value in held.values())
    kept = {name for name in held if name.endswith(".weight")}
    assert {"embed_text.weight", "embed_audio.weight", "audio_head.weight"} < kept
    assert all("norm" in name or "embed" in name or "head" in name for name in kept)


def test_weights_are_counted_as_before_they_were_packed(model: Path, exported: Path) -> None:
    for text_head in (False, True):
        assert count_weights(exported, text_head) == count_weights(model, text_head)
    assert holds_text_head(exported)


def test_a_model_without_text_head_has_none_when_exported(tmp_path: Path, model: Path) -> None:
    config, headless = load_model(model, text_head=False)
    save_model(headless, config, model)
    export(model, tmp_path / "out", INT8)
    assert not holds_text_head(tmp_path / "out")
    with pytest.raises(
        CheckpointError, match=r"2 missing \(text_lm_head\.codes, text_lm_head\.scales\)"
    ):
        load_model(tmp_path / "out")
    same(packed_in_place(headless, INT8), load_model(tmp_path / "out", text_head=False)[1])


def said(folder: Path, error: type[Exception] = CheckpointError, **wanted: Any) -> str:
    with pytest.raises(error) as caught:
        load_model(folder, **wanted)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("size", [28, 36])
@pytest.mark.parametrize("kind", ["one", "torch"])
def test_a_layer_that_cannot_be_packed_is_named(tmp_path: Path, size: int, kind: str) -> None:
    model, config = tiny_model(intermediate_size=size), tiny_config(intermediate_size=size)
    save_model(model, config, tmp_path)
    found = said(tmp_path, quantization=INT8)
    assert "mlp.down_proj.weight in" in found and f"{size} inputs" in found
    assert load_model(tmp_path)[0] == config
    with pytest.raises(CheckpointError, match=f"{size} inputs"):
        export(tmp_path, tmp_path.parent / f"{tmp_path.name}-out", INT8)
    assert not (tmp_path.parent / f"{tmp_path.name}-out").exists()


def test_fp8_is_refused_before_anything_is_read(tmp_path: Path, model: Path) -> None:
    export(model, tmp_path / "out", FP8)
    for file in (tmp_path / "out").glob("*.safetensors"):  # so that reading would be noticed
        file.write_bytes(file.read_bytes()[:-10] + bytes(10))
    wishes = {tmp_path / "out": [None, FP8], model: [FP8, Quantization(text="fp8")]}
    for folder, asked in wishes.items():
        for wish in asked:
            found = said(folder, SettingError, quantization=wish)
            assert "fp8 needs a graphics card of compute capability 8.9" in found


@pytest.mark.usefixtures("fp8_anywhere")
def test_codes_of_one_kind_are_not_read_as_another(tmp_path: Path, model: Path) -> None:
    export(model, tmp_path / "out", FP8)
    change(tmp_path / "out", lambda found: found.update(audio="int8", text="int8"))
    assert "torch.uint8" in said(tmp_path / "out")


def test_a_tensor_of_another_shape_is_not_packed(model: Path) -> None:
    tensors = load_file(model / "model.safetensors")
    name = "model.layers.1.self_attn.q_proj.weight"
    save_file({**tensors, name: torch.zeros(32, 40)}, model / "model.safetensors")
    found = said(model, quantization=INT8)
    assert name in found and "[32, 40]" in found and "[32, 32]" in found


# ---- what an exported folder says of itself ----


def change(folder: Path, do: Callable[[dict[str, Any]], Any]) -> None:
    """Edit the quantization in config.json."""
    data = json.loads((folder / "config.json").read_text())
    do(data["quantization"])
    (folder / "config.json").write_text(json.dumps(data))


def rewrite(folder: Path, do: Callable[[dict[str, torch.Tensor]], Any]) -> None:
    """Edit the tensors of the last file, and let the hashes agree."""
    path = sorted(folder.glob("*.safetensors"))[-1]
    tensors = {name: value.clone() for name, value in load_file(path).items()}
    do(tensors)
    save_file(tensors, path)
    index = folder / "model.safetensors.index.json"
    if index.exists():
        data = json.loads(index.read_text())
        data["weight_map"] |= dict.fromkeys(tensors, path.name)
        index.write_text(json.dumps(data))
    change(folder, lambda found: found["sha256"].update({path.name: sha256(path)}))


@pytest.mark.parametrize("place", [0.0, 0.3, 0.99])
def test_one_changed_byte_is_noticed(exported: Path, place: float) -> None:
    for path in exported.glob("*.safetensors"):
        whole = path.read_bytes()
        header = 8 + int.from_bytes(whole[:8], "little")
        at = header + int(place * (len(whole) - header))
        path.write_bytes(whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :])
        assert said(exported).startswith(f"The file '{path}' is damaged")
        path.write_bytes(whole)
    load_model(exported)


def test_a_file_that_was_cut_short_is_named(exported: Path) -> None:
    path = sorted(exported.glob("*.safetensors"))[0]
    path.write_bytes(path.read_bytes()[:-10])
    assert f"The file '{path}'" in said(exported) and "damaged" in said(exported)


def test_a_file_more_or_less_than_was_exported_is_named(tmp_path: Path, exported: Path) -> None:
    name = sorted(exported.glob("*.safetensors"))[0].name
    change(exported, lambda found: found["sha256"].pop(name))
    assert f"are not those that its config.json lists: {name}" in said(exported)
    change(exported, lambda found: found["sha256"].update({name: "0", "other": "0"}))
    assert "config.json lists: other" in said(exported)
    save(exported, kind="one")  # a whole model over it, its config too
    load_model(exported)


def test_a_tensor_missing_or_too_much_is_named(exported: Path) -> None:
    rewrite(exported, lambda tensors: tensors.update({"a.weight": torch.ones(1)}))
    assert "1 not known (a.weight)" in said(exported)
    rewrite(exported, lambda tensors: tensors.pop("a.weight"))


def test_a_whole_weight_beside_packed_ones_is_refused(model: Path, exported: Path) -> None:
    name = "model.layers.0.self_attn.q_proj.weight"
    rewrite(exported, lambda tensors: tensors.update({name: torch.ones(32, 32)}))
    assert f"1 not known ({name})" in said(exported)


def test_packed_weights_that_no_config_tells_of_are_refused(exported: Path) -> None:
    data = json.loads((exported / "config.json").read_text())
    del data["quantization"]
    (exported / "config.json").write_text(json.dumps(data))
    assert "not known" in said(exported) and "missing" in said(exported)


def test_packed_weights_of_another_type_are_refused(tmp_path: Path, model: Path) -> None:
    export(model, tmp_path / "out", INT8)

    def widen(tensors: dict[str, torch.Tensor]) -> None:
        name = "model.layers.0.mlp.up_proj.scales"
        tensors[name] = tensors[name].double()

    rewrite(tmp_path / "out", widen)
    assert "up_proj.scales in" in said(tmp_path / "out")
    assert "torch.float64" in said(tmp_path / "out")


@pytest.mark.parametrize(
    "damage",
    [
        {"version": None},
        {"version": "1"},
        {"audio": None, "text": None},
        {"audio": "int3"},
        {"audio": ["int8"]},
        {"text": "host"},
        {"group": 5},
        {"group": None},
        {"sha256": []},
        {"sha256": {"model.safetensors": 5}},
        {"more": 1},
    ],
    ids=str,
)
def test_a_damaged_quantization_is_not_believed(exported: Path, damage: dict[str, Any]) -> None:
    change(exported, lambda found: found.update(damage))
    assert "The quantization in" in said(exported) and "Export the model again" in said(exported)


@pytest.mark.parametrize("value", ["int8", [], 8, {}, True])
def test_a_quantization_of_another_form_is_not_believed(exported: Path, value: Any) -> None:
    data = json.loads((exported / "config.json").read_text())
    (exported / "config.json").write_text(json.dumps({**data, "quantization": value}))
    assert "The quantization in" in said(exported)


def test_another_version_says_which_is_read(exported: Path) -> None:
    change(exported, lambda found: found.update(version=2))
    assert "has version 2, and this program reads version 1" in said(exported)


@pytest.mark.parametrize("value", [{"quant_method": "bitsandbytes", "load_in_4bit": True}, {}, 4])
def test_what_other_tools_packed_is_refused_by_name(model: Path, value: Any) -> None:
    data = json.loads((model / "config.json").read_text())
    (model / "config.json").write_text(json.dumps({**data, "quantization_config": value}))
    found = said(model)
    assert "quantised by another tool" in found and "quantization_config" in found
    assert ("(bitsandbytes)" in found) == bool(value and value != 4)


@pytest.mark.parametrize(
    "wish",
    [INT8, INT4, Quantization(), Quantization("int8"), Quantization("int8", "int4", 64)],
    ids=str,
)
def test_another_quantisation_than_the_folders_is_refused(
    exported: Path, wish: Quantization
) -> None:
    found = said(exported, SettingError, quantization=wish)
    assert "holds int8 audio and int4 text weights in groups of 32" in found
    assert "cannot be loaded as" in found


def test_the_same_quantisation_may_be_asked_for(tmp_path: Path, model: Path) -> None:
    export(model, tmp_path / "out", Quantization("int8", "int8", 64))
    asked = load_model(tmp_path / "out", quantization=Quantization("int8", "int8", 8))[1]
    same(asked, load_model(tmp_path / "out")[1])


# ---- the text side on the host ----


def test_on_the_processor_nothing_is_kept_on_the_host(model: Path) -> None:
    found = said(model, SettingError, quantization=Quantization("int8", "host"))
    assert "in main memory already" in found


@pytest.mark.parametrize("kind", ["one", "torch"])
def test_the_text_side_stays_on_the_host_and_nothing_else(tmp_path: Path, kind: str) -> None:
    save(tmp_path, kind=kind)
    wish = Quantization("int8", "host")
    _, model = load_model(tmp_path, device="meta", dtype=torch.bfloat16, quantization=wish)
    _, whole = load_model(tmp_path, dtype=torch.bfloat16)
    for name, value in model.state_dict().items():
        on_host = "text_mlp" in name or "text_head" in name
        assert value.is_meta != on_host, name
        assert not on_host or torch.equal(value, whole.state_dict()[name])


def test_an_export_with_a_whole_text_side_may_keep_it_on_the_host(
    tmp_path: Path, model: Path
) -> None:
    export(model, tmp_path / "out", Quantization("int8"))
    wish = Quantization("int8", "host")
    _, loaded = load_model(tmp_path / "out", device="meta", quantization=wish)
    assert loaded.text_head.weight.device.type == "cpu"
    assert said(
        tmp_path / "out", SettingError, device="meta", quantization=Quantization("int4", "host")
    )


@pytest.mark.gpu
def test_a_card_reads_the_text_side_from_the_host(tmp_path: Path) -> None:
    save(tmp_path)
    _, model = load_model(tmp_path, device="cuda", quantization=Quantization(text="host"))
    _, whole = load_model(tmp_path, device="cuda")
    assert model.text_head.weight.is_pinned() and not model.norm.weight.is_cpu
    rows = [part.cuda() for part in random_rows(model.config, 24, seed=1)]
    hidden, expected = (m.prefill(*rows, m.new_cache()) for m in (model, whole))
    assert torch.equal(hidden, expected)
    assert torch.equal(model.text_logits(hidden), whole.text_logits(hidden))
