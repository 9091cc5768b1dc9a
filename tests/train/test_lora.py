"""Pairs on the model: where they stand, that they begin as nothing, and what they fold into."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

import tiny_training as tiny
from faster_higgs.checkpoint.folding import AdapterConfig, folded
from faster_higgs.engine.engine import Engine
from faster_higgs.model.dual_ffn import DualFFN
from faster_higgs.quant.apply import swap
from faster_higgs.quant.linear import Int4Linear
from faster_higgs.quant.quantization import Quantization
from faster_higgs.train import lora, modes
from faster_higgs.train.config import LossSettings, OptimizerSettings
from faster_higgs.train.loss import language_loss
from faster_higgs.train.optimizers import optimizer
from faster_higgs.train.packing import join
from faster_higgs.train.tune_config import PRESETS, AdapterSettings, TuneSettings

pytest.importorskip("peft")

BATCH = join([tiny.example(6, 1), tiny.example(9, 2, reference=4)])
ABOUT = AdapterConfig(1, 1.0)


def of_preset(name: str, **more: Any) -> AdapterSettings:
    chosen = {k.split(".")[1]: v for k, v in PRESETS[name].items() if k.startswith("adapter.")}
    return AdapterSettings(**{**chosen, "rank": 4, "alpha": 8.0, **more})


def hidden(model: DualFFN, checkpointing: bool = False) -> Tensor:
    return model.train_forward(
        BATCH.ids, BATCH.columns, BATCH.is_audio, BATCH.segment, BATCH.positions, checkpointing
    )


def learn(model: DualFFN, steps: int = 3, rate: float = 1e-2) -> None:
    """A few steps, so that no pair is nothing."""
    made = optimizer(model, OptimizerSettings(rate))
    for _ in range(steps):
        made.zero_grad()
        language_loss(model, hidden(model), BATCH, LossSettings()).total.backward()
        made.step()


@pytest.mark.parametrize(
    ("preset", "parts", "whole"),
    [
        ("voice", {"attention", "audio_ffn"}, set()),
        ("language", {"attention", "audio_ffn", "text_ffn"}, {"embed_audio", "audio_head"}),
        ("light", {"attention"}, set()),
    ],
)
def test_a_preset_puts_pairs_on_its_parts_and_nothing_else_learns(
    preset: str, parts: set[str], whole: set[str]
) -> None:
    model = tiny.model()
    before = {name: weight.clone() for name, weight in model.state_dict().items()}
    lora.put(model, of_preset(preset))
    counts = modes.table(model).counts
    assert {part for part, count in counts.items() if count.adapter} == parts
    assert {part for part, count in counts.items() if count.trained} == whole
    widths = 3 * (32 + 64) if "audio_ffn" in parts else 0
    attention = (32 + 32) * 2 + (32 + 16) * 2
    assert counts["attention"].adapter == 2 * 4 * attention
    assert counts["audio_ffn"].adapter == 2 * 4 * widths
    total = modes.table(model).total
    assert total.trained + total.frozen == sum(weight.numel() for weight in before.values())
    learn(model)
    after = {name.replace(".base_layer", ""): w for name, w in model.state_dict().items()}
    changed = {modes.part_of(name) for name, w in before.items() if not torch.equal(w, after[name])}
    assert changed == whole


@pytest.mark.parametrize("mode", ["full", "audio_path", "audio_only"])
def test_a_mode_without_pairs_frees_its_parts(mode: str) -> None:
    model = tiny.model()
    modes.free(model, TuneSettings(mode=mode))  # type: ignore[arg-type]
    learnt = {part for part, count in modes.table(model).counts.items() if count.trained}
    audio = {"audio_ffn", "embed_audio", "audio_head", "audio_norms"}
    text = {"text_ffn", "embed_text", "text_norms"}
    wanted = {"full": audio | text | {"attention"}, "audio_path": audio | {"attention"}}
    assert learnt == wanted.get(mode, audio)


@pytest.mark.parametrize("init", ["default", "pissa", "pissa_niter_16", "olora", "orthogonal"])
def test_a_fresh_adapter_changes_nothing(init: str) -> None:
    model = tiny.model()
    wanted = hidden(model)
    lora.put(model, of_preset("language", init=init))
    torch.testing.assert_close(hidden(model), wanted, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    "more",
    [
        {},
        {"rslora": True},
        {"dora": True},
        {"init": "pissa"},
        {"init": "olora", "rslora": True},
        {"init": "gaussian", "dtype": "float32"},
    ],
)
def test_the_adapter_folded_into_the_model_as_it_was_gives_what_was_trained(
    more: dict[str, Any],
) -> None:
    model, plain = tiny.model(), tiny.model()
    settings = of_preset("language", **more)
    begun = lora.put(model, settings)
    start = hidden(model)
    learn(model)
    adapter = lora.lifted(model, settings, ABOUT, begun)
    assert set(adapter.replaced) == {"embed_audio.weight", "audio_head.weight"}
    weights = {name: folded(name, w, adapter) for name, w in plain.state_dict().items()}
    plain.load_state_dict(weights)
    trained = hidden(model)
    assert not torch.allclose(trained, start, atol=1e-2)
    torch.testing.assert_close(hidden(plain), trained, rtol=1e-4, atol=1e-4)


def test_pairs_have_the_type_of_the_base_unless_told() -> None:
    for dtype, wanted in (("auto", torch.bfloat16), ("float32", torch.float32)):
        model = tiny.model().bfloat16()
        lora.put(model, of_preset("voice", dtype=dtype))
        pairs = {w.dtype for name, w in model.named_parameters() if modes.is_pair(name)}
        assert pairs == {wanted}
        learn(model)
        assert hidden(model).dtype == torch.bfloat16


@pytest.mark.parametrize("checkpointing", [False, True])
def test_pairs_on_packed_layers_have_the_gradients_of_pairs_on_what_they_hold(
    checkpointing: bool,
) -> None:
    packed, plain = tiny.model(), tiny.model()
    swap(packed, Quantization("int4", "int4"))
    with torch.no_grad():
        for name, module in packed.named_modules():
            if isinstance(module, Int4Linear):
                plain.get_submodule(name).weight.copy_(module.dequantized())
    gradients = []
    for model in (packed, plain):
        lora.put(model, of_preset("language"))
        with torch.no_grad():
            for name, weight in model.named_parameters():
                if ".lora_B." in name:
                    weight.fill_(0.01)
        language_loss(model, hidden(model, checkpointing), BATCH, LossSettings()).total.backward()
        gradients.append({n: w.grad for n, w in model.named_parameters() if w.requires_grad})
    assert gradients[0].keys() == gradients[1].keys()
    assert sum(float(g.abs().sum() > 0) for g in gradients[0].values() if g is not None) > 20
    for name, gradient in gradients[0].items():
        torch.testing.assert_close(gradient, gradients[1][name], rtol=1e-3, atol=1e-5)


def test_pairs_on_layers_of_nf4_learn() -> None:
    pytest.importorskip("bitsandbytes")
    model = tiny.model(width=64)
    lora.pack_nf4(model, "cpu", torch.float32)
    frozen = {name: w.clone() for name, w in model.named_parameters()}
    lora.put(model, of_preset("language"))
    before = language_loss(model, hidden(model), BATCH, LossSettings()).total
    learn(model)
    assert language_loss(model, hidden(model), BATCH, LossSettings()).total < before
    assert type(model.layers[0].q_proj.base_layer).__name__ == "Linear4bit"  # type: ignore[union-attr]
    for name, weight in model.named_parameters():
        was = frozen.get(name.replace(".base_layer", ""))
        assert was is None or weight.requires_grad or torch.equal(was, weight)


@pytest.mark.parametrize("packed", [False, True])
def test_a_model_with_pairs_speaks_with_them(packed: bool) -> None:
    """The compiled step reads weights itself; it must not speak as if there were no pairs."""
    from faster_higgs.model.compiled import compiled_step

    model = tiny.model()
    if packed:
        swap(model, Quantization("int4", "int4"))
    cache, bare = model.new_cache(), model.new_cache()
    columns = BATCH.columns[:1]
    lora.put(model, of_preset("voice"))
    without = model.decode(columns, _batch(bare))
    learn(model, steps=5, rate=5e-2)
    assert compiled_step(model, model.new_pool(1)) is None
    assert not torch.allclose(model.decode(columns, _batch(cache)), without, atol=1e-2)
    assert Engine(model) is not None


def _batch(cache: Any) -> Any:
    from faster_higgs.model.attention import KVCaches

    return KVCaches([cache])


def test_a_checkpoint_keeps_only_what_learns_and_refuses_another() -> None:
    model = tiny.model()
    lora.put(model, of_preset("voice"))
    kept = modes.Learnt(model)
    state = {name: value.clone() for name, value in kept.state_dict().items()}
    assert all(modes.is_pair(name) for name in state)
    learn(model)
    kept.load_state_dict(state)
    assert all(torch.equal(value, state[name]) for name, value in kept.state_dict().items())
    other = tiny.model()
    lora.put(other, of_preset("light"))
    with pytest.raises(RuntimeError, match="other weights"):
        modes.Learnt(other).load_state_dict(state)
    wider = tiny.model()
    lora.put(wider, of_preset("voice", rank=5))
    with pytest.raises(RuntimeError, match="another shape"):
        modes.Learnt(wider).load_state_dict(state)
