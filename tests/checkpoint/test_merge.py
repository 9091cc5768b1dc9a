"""Merging: the files hold what an adapter makes of a model, and nothing less precise."""

from __future__ import annotations

import json
import shutil
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from faster_higgs.checkpoint import adapted, appearing, folding, merge
from faster_higgs.checkpoint.adapter import Adapter, Weighted, write_adapter
from faster_higgs.checkpoint.export import export
from faster_higgs.checkpoint.fingerprint import fingerprint
from faster_higgs.checkpoint.load import load_model
from faster_higgs.checkpoint.merge import MergeSettings
from faster_higgs.checkpoint.save import save_model
from faster_higgs.config import Layout
from faster_higgs.errors import CheckpointError, HiggsError, OutputError, SettingError
from faster_higgs.model.dual_ffn import DualFFN
from faster_higgs.quant.quantization import Quantization
from tests.checkpoint.adapters import an_adapter, our_logits, with_adapter
from tests.fresh import Fresh
from tests.model.tiny_model import tiny_config, tiny_model


@pytest.fixture
def base(tmp_path: Path) -> Path:
    """In bf16, as published; with what lies beside the weights."""
    folder = tmp_path / "base"
    save_model(tiny_model().bfloat16(), tiny_config(), folder)
    (folder / "tokenizer.json").write_text("{}")
    (folder / "codec").mkdir()
    (folder / "codec" / "weights").write_text("sound")
    return folder


def one(factor: float = 1.0, **told: object) -> Weighted:
    return Weighted(an_adapter(tiny_model(), 1, **told), factor, "one")  # type: ignore[arg-type]


def logits(folder: Path, adapters: list[Weighted] | None = None) -> Tensor:
    model = load_model(folder, dtype=torch.float32, adapters=adapters or [])[1]
    return our_logits(model)


@pytest.mark.parametrize("told", [{}, {"use_rslora": True}, {"use_dora": True}], ids=str)
def test_a_merged_model_gives_the_logits_of_its_adapter(
    base: Path, tmp_path: Path, told: dict[str, object]
) -> None:
    """Against the pairs at work beside the layer, which no code of the merge has seen."""
    adapter = one(**told)
    merge.merge(base, [adapter], tmp_path / "out", MergeSettings("fp32"))
    beside = hooked(load_model(base, dtype=torch.float32)[1], adapter.adapter)
    found = logits(tmp_path / "out")
    torch.testing.assert_close(found, our_logits(beside), atol=2e-5, rtol=1e-5)
    assert (found - logits(base)).abs().max() > 0.1


def hooked(model: DualFFN, adapter: Adapter) -> DualFFN:
    """The model with the pairs beside its layers: y + s B (A x), for DoRA m / |W + s B A| of it."""
    for name, value in adapter.replaced.items():
        model.get_parameter(name).data = value
    config = adapter.config
    scale = config.alpha / (config.rank**0.5 if config.use_rslora else config.rank)
    for path, (down, up) in adapter.pairs.items():
        layer = model.get_submodule(path)
        factor = torch.ones(len(up))
        if config.use_dora:
            whole = layer.weight + scale * up @ down  # type: ignore[operator]
            factor = adapter.magnitudes[path] / whole.detach().norm(dim=1)

        def beside(layer, inputs, output, down=down, up=up, factor=factor):  # type: ignore[no-untyped-def]
            return factor * (output + scale * (inputs[0] @ down.T) @ up.T)

        layer.register_forward_hook(beside)
    return model


@pytest.mark.parametrize("defect", ["rounded before adding", "wrong scale"])
def test_the_law_above_can_fail(
    base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, defect: str
) -> None:
    right = folding.tuned

    def wrong(name: str, weight: Tensor, adapter: Adapter) -> Tensor:
        if defect == "wrong scale":
            return right(name, weight, replace(adapter, config=replace(adapter.config, rank=3)))
        return weight + (right(name, weight, adapter) - weight).bfloat16().float()

    monkeypatch.setattr(folding, "tuned", wrong)
    with pytest.raises(AssertionError, match="Tensor-likes are not close"):
        test_a_merged_model_gives_the_logits_of_its_adapter(base, tmp_path, {})


@pytest.mark.parametrize("layout", ["original", "transformers", None])
@pytest.mark.parametrize("dtype", ["bf16", "fp16", "fp32", None])
def test_either_layout_and_each_type(
    base: Path, tmp_path: Path, layout: Layout | None, dtype: str | None
) -> None:
    asked = MergeSettings(dtype, layout, verify=True, shard_bytes=20_000)
    merge.merge(base, [one(0.5)], tmp_path / "out", asked)
    kind = merge.DTYPES[dtype or "bf16"]
    found = load_model(tmp_path / "out")[1]
    assert found.norm.weight.dtype == kind
    expected = load_model(base, dtype=kind, adapters=[one(0.5)])[1].state_dict()
    for name, value in found.state_dict().items():
        assert torch.equal(value, expected[name]), name
    held = json.loads((tmp_path / "out" / "model.safetensors.index.json").read_text())
    assert ("audio_codebook_embeddings.weight" in held["weight_map"]) == (layout == "original")


def test_several_adapters_add_up(base: Path, tmp_path: Path) -> None:
    both = [one(0.5), Weighted(an_adapter(tiny_model(), 2), -1.5, "two")]
    merge.merge(base, both, tmp_path / "out", MergeSettings("fp32"))
    torch.testing.assert_close(logits(tmp_path / "out"), logits(base, both), atol=1e-5, rtol=0)


def test_the_folder_is_whole_and_tells_what_it_is(base: Path, tmp_path: Path) -> None:
    done = merge.merge(base, [one(0.5)], tmp_path / "out")
    out = tmp_path / "out"
    assert (out / "tokenizer.json").exists() and (out / "codec" / "weights").exists()
    told = json.loads((out / "merge_info.json").read_text())
    assert told["base_model"] == str(base) and told["base_fingerprint"] == fingerprint(base)
    assert told["adapters"][0]["adapter"] == "one" and told["adapters"][0]["weight"] == 0.5
    assert done.bytes == (out / "model.safetensors").stat().st_size
    assert {moved.name for moved in done.moved} == one().adapter.touched
    assert len(told["moved"]) == len(done.moved)
    bare = merge.merge(base, [one()], tmp_path / "bare", MergeSettings(tokenizer=False))
    assert bare.left_out == ("tokenizer.json",) and not (bare.folder / "tokenizer.json").exists()


def test_how_far_weights_moved_is_measured(base: Path, tmp_path: Path) -> None:
    name = "layers.0.q_proj.weight"

    def moved(dtype: str, factor: float) -> merge.Moved:
        done = merge.merge(base, [one(factor)], tmp_path / dtype, MergeSettings(dtype))
        shutil.rmtree(done.folder)
        return next(moved for moved in done.moved if moved.name == name)

    before = load_model(base, dtype=torch.float32)[1].state_dict()[name]
    change = load_model(base, dtype=torch.float32, adapters=[one()])[1].state_dict()[name] - before
    found = moved("fp32", 1.0)
    assert found.mean == pytest.approx(float(change.abs().mean() / before.abs().mean()), rel=1e-4)
    assert found.largest == pytest.approx(float(change.abs().max() / before.abs().max()), rel=1e-4)
    assert found.lost == 0
    assert 0.0005 < moved("bf16", 1.0).lost < 0.05 < moved("bf16", 0.01).lost


def test_a_wrong_byte_on_the_disk_is_found(
    base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    finish = merge.Shards.finish

    def damaging(self: merge.Shards) -> dict[str, str]:
        names = finish(self)
        path = self._folder / "model.safetensors"
        held = bytearray(path.read_bytes())
        held[-3] ^= 1
        path.write_bytes(held)
        return names

    monkeypatch.setattr(merge.Shards, "finish", damaging)
    with pytest.raises(CheckpointError, match="not what was to be written"):
        merge.merge(base, [one()], tmp_path / "out", MergeSettings(verify=True))
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("stop", [OSError(28, "No space left on device"), KeyboardInterrupt()])
def test_what_was_stopped_leaves_nothing(
    base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stop: BaseException
) -> None:
    def failing(self: merge.Shards) -> dict[str, str]:
        raise stop

    monkeypatch.setattr(merge.Shards, "finish", failing)
    with pytest.raises((OutputError, KeyboardInterrupt)):
        merge.merge(base, [one()], tmp_path / "out")
    assert [path.name for path in tmp_path.iterdir()] == ["base"]


def test_what_cannot_be_is_told_before_anything_is_written(
    base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(error: type[HiggsError], said: str, *adapters: Weighted, at: Path = base) -> None:
        with pytest.raises(error, match=said):
            merge.merge(at, adapters, tmp_path / "out", MergeSettings())
        assert not (tmp_path / "out").exists()

    wide = Weighted(an_adapter(tiny_model(hidden_size=64)), label="wide")
    refused(CheckpointError, "'wide' was trained on another model", wide)
    export(base, tmp_path / "small", Quantization("int8", "int8"))
    refused(CheckpointError, "holds int8 weights", one(), at=tmp_path / "small")
    monkeypatch.setattr(appearing.shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(9, 9, 9))
    refused(OutputError, "GB free", one())
    with pytest.raises(SettingError, match="'int8'; use one of bf16"):
        MergeSettings("int8")
    monkeypatch.undo()
    with pytest.raises(CheckpointError, match="numbers that are none in float16"):
        merge.merge(base, [one(1e6)], tmp_path / "out", MergeSettings("fp16"))
    assert not (tmp_path / "out").exists()


def test_a_text_head_that_the_base_has_not_is_no_change(base: Path, tmp_path: Path) -> None:
    adapter = replace(one().adapter, replaced={"text_head.weight": torch.ones(50, 32)})
    path = base / "model.safetensors"
    held = load_file(path)
    del held["text_lm_head.weight"]
    save_file(held, path)
    with pytest.raises(CheckpointError, match=r"text_head\.weight, which the model has not"):
        merge.merge(base, [Weighted(adapter, label="a")], tmp_path / "out")


def test_loading_and_merging_are_one_formula(base: Path) -> None:
    assert adapted.folded_all is merge.folded_all is folding.folded_all
    model = load_model(base, dtype=torch.float32)[1]
    torch.testing.assert_close(
        our_logits(with_adapter(model, one().adapter)), logits(base, [one()]), atol=0, rtol=0
    )


MEASURE = r"""
import re, sys
from pathlib import Path
from faster_higgs.checkpoint.adapter import Weighted, read_adapter
from faster_higgs.checkpoint.merge import MergeSettings, merge
def high():  # getrusage would count what the parent process held, too
    return int(re.search(r"VmHWM:\s+(\d+)", open("/proc/self/status").read())[1]) * 1024
small, large, adapters, shard = sys.argv[1:]
def merged(name):
    change = [Weighted(read_adapter(Path(adapters) / name))]
    merge(Path(name), change, Path(f"{name}.out"), MergeSettings("fp32", shard_bytes=int(shard)))
merged(small)
before = high()
merged(large)
print(high() - before)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="peak memory is read from /proc")
def test_merging_takes_the_memory_of_a_file_and_not_of_the_model(
    fresh: Fresh, tmp_path: Path
) -> None:
    sizes = {
        "small": {"num_hidden_layers": 1},
        "large": {"hidden_size": 512, "intermediate_size": 1024, "num_hidden_layers": 16},
    }
    for name, size in sizes.items():
        model = tiny_model(**size)
        save_model(model, tiny_config(**size), tmp_path / name, shard_bytes=10_000_000)
        write_adapter(tmp_path / "adapters" / name, an_adapter(model))
    shard = 10_000_000
    taken = int(fresh(MEASURE, *sizes, "adapters", shard, cwd=tmp_path))
    written = sum(path.stat().st_size for path in (tmp_path / "large.out").glob("*.safetensors"))
    assert written > 10 * shard
    assert taken < 0.4 * written
