"""Which layers become smaller, and that a swapped model is the one that was packed."""

from __future__ import annotations

import pytest
import torch

from faster_higgs.errors import SettingError
from faster_higgs.model.dual_ffn import DualFFN
from faster_higgs.model.layers import Linear
from faster_higgs.quant.apply import refuse_without_fp8, swap
from faster_higgs.quant.linear import Fp8Linear, Int4Linear, Int8Linear, PackedLinear
from faster_higgs.quant.quantization import Quantization
from tests.model.tiny_model import tiny_config


def kinds(model):
    return {name: type(found) for name, found in model.named_modules()}


def model(device="cpu"):
    with torch.device(device):
        return DualFFN(tiny_config())


def test_each_side_has_its_own_precision():
    swapped = model()
    swap(swapped, Quantization(audio="int8", text="int4", group=32))
    found = kinds(swapped)
    for layer in range(len(swapped.layers)):
        for name in ("q_proj", "k_proj", "v_proj", "o_proj", "audio_mlp.gate", "audio_mlp.down"):
            assert found[f"layers.{layer}.{name}"] is Int8Linear
        for name in ("text_mlp.gate", "text_mlp.up", "text_mlp.down"):
            assert found[f"layers.{layer}.{name}"] is Int4Linear
    assert found["text_head"] is Int4Linear


@pytest.mark.parametrize("text", [None, "host"])
def test_what_is_not_named_stays(text):
    swapped = model()
    swap(swapped, Quantization(audio="int4", text=text))
    found = kinds(swapped)
    assert found["audio_head"] is Linear and found["text_head"] is Linear
    assert found["layers.0.text_mlp.up"] is Linear


def test_the_audio_head_and_the_embeddings_are_never_smaller():
    swapped = model()
    swap(swapped, Quantization(audio="int4", text="int4"))
    for name in ("audio_head", "embed_audio", "embed_text", "norm"):
        assert not isinstance(swapped.get_submodule(name), PackedLinear)


def test_swapping_weights_is_swapping_on_meta_and_filling():
    quantization = Quantization(audio="int8", text="int4")
    whole, empty = model(), model("meta")
    weights = dict(whole.state_dict())
    swap(whole, quantization)
    swap(empty, quantization)
    for name, packed in empty.named_modules():
        if isinstance(packed, PackedLinear):
            assert packed.codes.is_meta
            for key, value in packed.pack(weights[f"{name}.weight"]).items():
                assert value.equal(whole.get_submodule(name).get_buffer(key))
    assert whole.state_dict().keys() == empty.state_dict().keys()


@pytest.mark.parametrize(
    ("bad", "word"), [({"audio": "int3"}, "int3"), ({"audio": "host"}, "host"), ({"group": 7}, "7")]
)
def test_what_cannot_be_is_refused_in_words(bad, word):
    with pytest.raises(SettingError, match=word):
        Quantization(**bad)


def test_fp8_is_a_layer_like_any():
    swapped = model()
    swap(swapped, Quantization(audio="fp8", text="int8"))
    assert kinds(swapped)["layers.0.q_proj"] is Fp8Linear
    assert kinds(swapped)["layers.0.text_mlp.up"] is Int8Linear


@pytest.mark.parametrize("wish", [Quantization("fp8"), Quantization(text="fp8")])
def test_fp8_is_for_cards_that_have_it(monkeypatch, wish):
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    monkeypatch.setattr("torch.cuda.get_device_capability", lambda card: (8, 6))
    for device in ("cpu", "mps", "cuda:0"):
        refuse_without_fp8(Quantization("int8", "int4"), device)
        with pytest.raises(SettingError, match=r"compute capability 8\.9 or newer"):
            refuse_without_fp8(wish, device)
    monkeypatch.setattr("torch.cuda.get_device_capability", lambda card: (8, 9))
    refuse_without_fp8(wish, "cuda:0")
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    with pytest.raises(SettingError, match="fp8 needs"):
        refuse_without_fp8(wish, "cuda:0")
