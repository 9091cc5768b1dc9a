"""Adapters: ours are PEFT's, PEFT's are ours, and what they make of a weight."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from faster_higgs.checkpoint.adapter import (
    Adapter,
    AdapterConfig,
    folded,
    folded_all,
    read_adapter,
    refuse_misfit,
    write_adapter,
)
from faster_higgs.checkpoint.layouts import ORIGINAL, TRANSFORMERS
from faster_higgs.errors import CheckpointError, CheckpointNotFound, OutputError
from faster_higgs.model.dual_ffn import DualFFN
from tests.checkpoint.their_model import as_theirs, our_logits, their_logits
from tests.model.tiny_model import tiny_model

TARGETS = [
    f"layers.{n}.{part}"
    for n in range(3)
    for part in ("q_proj", "o_proj", "text_mlp.gate", "audio_mlp.down", "audio_mlp.up")
]


def an_adapter(
    model: DualFFN, seed: int = 0, *, rank: int = 4, odd_rank: int | None = None, **told: object
) -> Adapter:
    """A change of every target big enough to be seen, and of two whole tensors."""
    generator = torch.Generator().manual_seed(seed)
    config = AdapterConfig(rank, 6.0, **told)  # type: ignore[arg-type]

    def drawn(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator) * 0.2

    pairs, magnitudes = {}, {}
    for path in TARGETS:
        out, inputs = model.get_submodule(path).weight.shape  # type: ignore[union-attr, misc]
        own = odd_rank if odd_rank and path.endswith("o_proj") else rank
        pairs[path] = drawn(own, int(inputs)), drawn(int(out), own)
        if config.use_dora:
            magnitudes[path] = drawn(int(out)).abs() + 0.5
    names = ("embed_audio.weight", "audio_head.weight", "norm.weight")
    replaced = {name: value + drawn(*value.shape) for name, value in _named(model, names)}
    return Adapter(config, pairs, magnitudes, replaced)


def _named(model: DualFFN, names: tuple[str, ...]) -> Iterator[tuple[str, Tensor]]:
    for name in names:
        yield name, model.state_dict()[name]


def with_adapter(model: DualFFN, adapter: Adapter, factor: float = 1.0) -> DualFFN:
    """The model with `adapter` folded into its weights."""
    values = model.state_dict().items()
    model.load_state_dict({name: folded(name, v, adapter, factor) for name, v in values})
    return model


def same(left: Adapter, right: Adapter) -> None:
    assert left.config == right.config
    assert set(left.pairs) == set(right.pairs)
    for path, pair in left.pairs.items():
        assert all(torch.equal(a, b) for a, b in zip(pair, right.pairs[path], strict=True))
    for mine, other in ((left.magnitudes, right.magnitudes), (left.replaced, right.replaced)):
        assert set(mine) == set(other)
        assert all(torch.equal(value, other[name]) for name, value in mine.items())


VARIANTS = {
    "plain": {},
    "rslora": {"use_rslora": True},
    "dora": {"use_dora": True},
    "ranks": {"odd_rank": 2},
    "ranks rslora": {"odd_rank": 2, "use_rslora": True},
}


@pytest.mark.parametrize("told", VARIANTS.values(), ids=VARIANTS)
def test_what_is_written_is_read_again(tmp_path: Path, told: dict[str, object]) -> None:
    adapter = an_adapter(tiny_model(), base="some/base", fingerprint="abc", dropout=0.1, **told)
    write_adapter(tmp_path / "a", adapter)
    same(read_adapter(tmp_path / "a"), adapter)


# PEFT asks transformers for what it will drop.
of_peft = pytest.mark.filterwarnings("ignore:.is_gradient_checkpointing.:FutureWarning")


@of_peft
@pytest.mark.parametrize("told", VARIANTS.values(), ids=VARIANTS)
def test_peft_puts_ours_on_the_model_of_transformers(
    tmp_path: Path, told: dict[str, object]
) -> None:
    from peft import PeftModel

    model = tiny_model()
    adapter = an_adapter(model, **told)
    write_adapter(tmp_path / "adapter", adapter)
    theirs = PeftModel.from_pretrained(as_theirs(model, tmp_path / "base"), tmp_path / "adapter")
    torch.testing.assert_close(
        our_logits(with_adapter(model, adapter)), their_logits(theirs.eval()), atol=2e-5, rtol=1e-4
    )


@of_peft
@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"use_rslora": True},
        {"use_dora": True},
        {"rank_pattern": {"o_proj": 2}, "alpha_pattern": {r"layers.1.self_attn.q_proj": 20}},
        {"modules_to_save": ["audio_lm_head", "embed_audio_tokens.embed_audio_tokens"]},
    ],
    ids=str,
)
def test_one_that_peft_wrote_is_read(tmp_path: Path, settings: dict[str, object]) -> None:
    from peft import LoraConfig, get_peft_model

    model = tiny_model()
    targets = ["q_proj", "o_proj", "gate_proj", "down_proj"]
    config = LoraConfig(r=4, lora_alpha=6, target_modules=targets, **settings)
    theirs = get_peft_model(as_theirs(model, tmp_path / "base"), config).eval()
    with torch.no_grad():
        for weight in theirs.parameters():
            if weight.requires_grad:
                weight.add_(torch.randn_like(weight).abs() * 0.05)
    theirs.save_pretrained(str(tmp_path / "adapter"))
    adapter = read_adapter(tmp_path / "adapter")
    found = our_logits(with_adapter(model, adapter))
    torch.testing.assert_close(found, their_logits(theirs), atol=2e-5, rtol=1e-4)
    assert adapter.config.base == str(tmp_path / "base")


@pytest.mark.parametrize("prefix", ["base_model.model.", "base_model.model.model.", "model."])
@pytest.mark.parametrize("ending", ["", ".default"])
def test_one_of_the_original_model_is_read(tmp_path: Path, prefix: str, ending: str) -> None:
    adapter = an_adapter(tiny_model())
    write_adapter(tmp_path, adapter)
    path = tmp_path / "adapter_model.safetensors"
    kept = {}
    for stored, value in load_file(path).items():
        module, _, part = stored.removeprefix("base_model.model.").partition(".lora_")
        module = module if part else module.removesuffix(".weight")
        name = str(TRANSFORMERS.ours(f"{TRANSFORMERS.strip(module)}.weight"))
        module = prefix + ORIGINAL.stored(name).removesuffix(".weight")
        middle = f".lora_{part[0]}{ending}" if part else f".modules_to_save{ending}" * bool(ending)
        kept[f"{module}{middle}.weight"] = value
    save_file(kept, path)
    same(read_adapter(tmp_path), adapter)


def test_half_the_factor_is_half_the_change_and_changes_add_up() -> None:
    model = tiny_model()
    one, other = an_adapter(model, 1), an_adapter(model, 2)
    name = "layers.1.q_proj.weight"
    weight = model.state_dict()[name]
    changes = [folded(name, weight, adapter) - weight for adapter in (one, other)]
    torch.testing.assert_close(folded(name, weight, one, 0.5), weight + changes[0] / 2)
    both = folded_all(name, weight, [(one, 0.5), (other, -2.0)])
    torch.testing.assert_close(both, weight + changes[0] / 2 - 2 * changes[1])


def test_a_weight_that_is_not_touched_is_not_copied() -> None:
    weight = torch.ones(2, 2)
    assert folded("layers.0.k_proj.weight", weight, an_adapter(tiny_model())) is weight


def test_a_whole_tensor_comes_back_bit_for_bit() -> None:
    model = tiny_model()
    adapter = an_adapter(model)
    found = folded("norm.weight", model.norm.weight.bfloat16(), adapter)
    assert torch.equal(found, adapter.replaced["norm.weight"])


def test_narrow_weights_are_changed_in_full_precision() -> None:
    model = tiny_model()
    adapter = an_adapter(model)
    weight = model.state_dict()["layers.0.q_proj.weight"].bfloat16()
    down, up = adapter.pairs["layers.0.q_proj"]
    exact = weight.double() + adapter.scale * up.double() @ down.double()
    found = folded("layers.0.q_proj.weight", weight, adapter)
    torch.testing.assert_close(found.double(), exact, atol=1e-6, rtol=1e-6)


def changed_config(folder: Path, **changes: object) -> None:
    path = folder / "adapter_config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"peft_type": "LOHA"}, "of type LOHA"),
        ({"r": 0}, "above 0"),
        ({"lora_alpha": "much"}, "'much'"),
        ({"init_lora_weights": "pissa_niter_4"}, "with pissa_niter_4"),
        ({"fan_in_fan_out": True}, "with fan_in_fan_out"),
        ({"use_dora": True}, "damaged"),
    ],
    ids=str,
)
def test_what_cannot_be_read_is_told_in_a_sentence(
    tmp_path: Path, changes: dict[str, object], said: str
) -> None:
    write_adapter(tmp_path, an_adapter(tiny_model()))
    changed_config(tmp_path, **changes)
    with pytest.raises(CheckpointError, match=said):
        read_adapter(tmp_path)


def test_a_target_no_model_of_ours_has_is_named(tmp_path: Path) -> None:
    write_adapter(tmp_path, an_adapter(tiny_model()))
    path = tmp_path / "adapter_model.safetensors"
    save_file({**load_file(path), "base_model.model.tower.lora_A.weight": torch.ones(1)}, path)
    with pytest.raises(CheckpointError, match=r"tower\.lora_A"):
        read_adapter(tmp_path)


def test_half_a_pair_is_damage(tmp_path: Path) -> None:
    write_adapter(tmp_path, an_adapter(tiny_model()))
    path = tmp_path / "adapter_model.safetensors"
    kept = load_file(path)
    del kept["base_model.model.model.layers.0.self_attn.q_proj.lora_B.weight"]
    save_file(kept, path)
    with pytest.raises(CheckpointError, match=r"layers\.0\.self_attn\.q_proj"):
        read_adapter(tmp_path)


def test_no_adapter_is_not_found_and_a_short_file_is_damaged(tmp_path: Path) -> None:
    with pytest.raises(CheckpointNotFound, match="no folder"):
        read_adapter(tmp_path / "none")
    with pytest.raises(CheckpointNotFound, match="holds no adapter"):
        read_adapter(tmp_path)
    write_adapter(tmp_path, an_adapter(tiny_model()))
    path = tmp_path / "adapter_model.safetensors"
    path.write_bytes(path.read_bytes()[:-7])
    with pytest.raises(CheckpointError, match="cut short"):
        read_adapter(tmp_path)
    path.unlink()
    with pytest.raises(CheckpointNotFound, match=r"no adapter_model\.safetensors"):
        read_adapter(tmp_path)


def test_writing_replaces_the_old_adapter_whole_or_not_at_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = an_adapter(tiny_model(), 1)
    write_adapter(tmp_path, first)

    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("faster_higgs.checkpoint.adapter.save_file", full)
    with pytest.raises(OutputError, match="No space left"):
        write_adapter(tmp_path, an_adapter(tiny_model(), 2))
    same(read_adapter(tmp_path), first)
    assert len(list(tmp_path.iterdir())) == 2


def test_a_model_of_other_sizes_is_refused() -> None:
    model = tiny_model()
    shapes = {name: tuple(value.shape) for name, value in model.state_dict().items()}
    adapter = an_adapter(model)
    refuse_misfit(adapter, shapes, "a")
    with pytest.raises(CheckpointError, match=r"another model: its layers\.0\.q_proj\.weight"):
        refuse_misfit(adapter, {**shapes, "layers.0.q_proj.weight": (1, 2)}, "a")
    other = replace(adapter, pairs={"layers.9.q_proj": adapter.pairs["layers.0.q_proj"]})
    with pytest.raises(CheckpointError, match=r"layers\.9\.q_proj\.weight, which the model has"):
        refuse_misfit(other, shapes, "a")
