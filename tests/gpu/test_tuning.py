"""On a GPU: every base of 16 and of 4 bits learns, and 4 bits keep no floats of their weights."""

from __future__ import annotations

import pytest
import torch

import tiny_training as tiny
from faster_higgs.model.dual_ffn import DualFFN
from faster_higgs.quant.apply import swap
from faster_higgs.quant.quantization import Quantization
from faster_higgs.train import lora
from faster_higgs.train.config import LanguageSettings, OptimizerSettings
from faster_higgs.train.loop import LanguageTask
from faster_higgs.train.tune_config import AdapterSettings

needs_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
WHERE = AdapterSettings(parts=("attention", "text_ffn", "audio_ffn"), rank=8, alpha=16)


def on_card(base: str, width: int = 64) -> DualFFN:
    model = tiny.model(width=width).bfloat16()
    if base == "nf4":
        pytest.importorskip("bitsandbytes")
        lora.pack_nf4(model, "cuda", torch.bfloat16)
    if base == "int4":
        swap(model, Quantization("int4", "int4"))
    return model.cuda()


@pytest.mark.gpu
@needs_gpu
@pytest.mark.parametrize("base", ["whole", "int4", "nf4"])
@pytest.mark.parametrize("kind", ["adamw", "adamw8bit"])
def test_pairs_learn_on_a_card(base: str, kind: str) -> None:
    pytest.importorskip("peft")
    if kind == "adamw8bit":
        pytest.importorskip("bitsandbytes")
    model = on_card(base)
    lora.put(model, WHERE)
    assert {w.device.type for w in model.parameters()} == {"cuda"}
    settings = LanguageSettings(
        budget=120,
        checkpointing=True,
        optimizer=OptimizerSettings(1e-2, kind=kind),  # type: ignore[arg-type]
    )
    task = LanguageTask(model, tiny.Conversations(6), settings)
    losses = [task.step(step)["loss"] for step in range(12)]
    assert sum(losses[-3:]) < sum(losses[:3])


@pytest.mark.gpu
@needs_gpu
def test_a_packed_layer_keeps_no_floats_for_the_gradient() -> None:
    model = on_card("int4", width=1024)
    layer = model.layers[0].audio_mlp.gate
    x = torch.randn(32, 1024, device="cuda", dtype=torch.bfloat16, requires_grad=True)
    before = torch.cuda.memory_allocated()
    made = layer(x)
    kept = torch.cuda.memory_allocated() - before
    assert kept < 2 * made.nbytes
    made.sum().backward()
    wanted = torch.ones_like(made) @ layer.dequantized(torch.bfloat16)
    torch.testing.assert_close(x.grad, wanted, rtol=2e-2, atol=2e-2)
