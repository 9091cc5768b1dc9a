"""The loss: equal to the plain formula, blind to the future, packed like alone, lean."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.nn import functional

import tiny_training as tiny
from faster_higgs.errors import SettingError
from faster_higgs.model.dual_ffn import DualFFN
from faster_higgs.train import loss as loss_module
from faster_higgs.train.config import LossSettings
from faster_higgs.train.loss import Loss, language_loss
from faster_higgs.train.packing import Batch, join
from faster_higgs.train.sample import IGNORE


def forward(model: DualFFN, batch: Batch, checkpointing: bool = False) -> Tensor:
    parts = (batch.ids, batch.columns, batch.is_audio, batch.segment, batch.positions)
    return model.train_forward(*parts, checkpointing=checkpointing)


def run(model: DualFFN, batch: Batch, settings: LossSettings = LossSettings(), **more) -> Loss:  # type: ignore[no-untyped-def]
    return language_loss(model, forward(model, batch), batch, settings, **more)


def gradients(model: DualFFN) -> dict[str, Tensor]:
    found = {n: w.grad.clone() for n, w in model.named_parameters() if w.grad is not None}
    model.zero_grad()
    return found


def plain(model: DualFFN, batch: Batch, settings: LossSettings) -> Tensor:
    """The same numbers from whole logits, one conversation's columns after the other."""
    hidden = forward(model, batch)
    logits = model.audio_logits(hidden)[batch.is_audio][:-1]
    labels = batch.audio_labels[1:]
    books = [
        functional.cross_entropy(logits[:, k], labels[:, k], ignore_index=IGNORE)
        for k in range(tiny.BOOKS)
    ]
    counts = (labels != IGNORE).sum(0)
    weights = torch.tensor(settings.codebook_weights or (1.0,) * tiny.BOOKS)
    means = torch.stack(books) * weights
    audio = {
        "ours": (means * counts).sum() / (weights * counts).sum(),
        "hf": means.sum(),
        "mean": means.mean(),
    }[settings.reduction]
    text = functional.cross_entropy(model.text_logits(hidden)[:-1], batch.text_labels[1:])
    return audio + settings.text_weight * text


@pytest.mark.parametrize("reduction", ["ours", "hf", "mean"])
@pytest.mark.parametrize("weights", [None, (3.0, 2.0, 1.0, 0.5)])
def test_loss_and_gradients_equal_the_plain_formula(reduction, weights, monkeypatch) -> None:  # type: ignore[no-untyped-def]
    monkeypatch.setattr(loss_module, "SLICE", 5 * 72)  # five rows at a time
    model = tiny.model()
    batch = join([tiny.example(6, 1), tiny.example(3, 2, reference=4)])
    settings = LossSettings(reduction, weights, text_weight=0.7)
    expected = plain(model, batch, settings)
    expected.backward()
    wanted = gradients(model)
    found = run(model, batch, settings)
    found.total.backward()
    assert torch.allclose(found.total, expected, atol=1e-5)
    got = gradients(model)
    assert got.keys() == wanted.keys()
    for name, grad in got.items():
        assert torch.allclose(grad, wanted[name], atol=2e-6, rtol=1e-4), name


def test_metrics_tell_every_codebook_and_its_accuracy() -> None:
    model, batch = tiny.model(), join([tiny.example(6, 1)])
    found = run(model, batch, LossSettings(text_weight=1.0), eos=tiny.EOS)
    logits = model.audio_logits(forward(model, batch))[batch.is_audio][:-1]
    labels = batch.audio_labels[1:]
    valid = labels != IGNORE
    hits = ((logits.argmax(-1) == labels) & valid).sum(0) / valid.sum(0)
    metrics = found.metrics()
    five = logits.topk(5, -1).indices
    near = ((five == labels[..., None]).any(-1) & valid).sum(0) / valid.sum(0)
    for k in range(tiny.BOOKS):
        assert metrics[f"accuracy_codebook_{k}"] == pytest.approx(float(hits[k]))
        assert metrics[f"accuracy_top5_codebook_{k}"] == pytest.approx(float(near[k]))
    assert metrics["accuracy"] == pytest.approx(float(hits.mean()))
    assert metrics["accuracy_top5"] == pytest.approx(float(near.mean()))
    ends = labels == tiny.EOS
    assert int(ends.sum()) == tiny.BOOKS
    lost = functional.cross_entropy(logits[ends], labels[ends]).detach()
    assert metrics["loss_eos"] == pytest.approx(float(lost), abs=1e-5)
    assert "loss_eos" not in run(model, batch).metrics()
    means = [metrics[f"loss_codebook_{k}"] for k in range(tiny.BOOKS)]
    assert metrics["loss_audio"] == pytest.approx(sum(means) / tiny.BOOKS, abs=1e-5)
    assert metrics["loss_text"] > 0


def test_fresh_weights_cost_as_much_as_guessing() -> None:
    model = tiny.model(std=1e-4)
    metrics = run(model, join([tiny.example(9, 1)])).metrics()
    assert metrics["loss_audio"] == pytest.approx(float(torch.tensor(18.0).log()), abs=1e-3)


def test_held_out_loss_needs_no_gradient_and_is_the_same() -> None:
    model, batch = tiny.model(), join([tiny.example(6, 1)])
    with torch.no_grad():
        silent = run(model, batch)
    assert not silent.total.requires_grad
    assert torch.allclose(silent.total, run(model, batch).total, atol=1e-6)


def test_the_text_head_is_not_needed_without_text_loss() -> None:
    model = tiny.model()
    del model.text_head
    run(model, join([tiny.example(3, 1)])).total.backward()


def test_bfloat16_gradients_stay_close() -> None:
    model, batch = tiny.model(), join([tiny.example(6, i) for i in range(4)])
    run(model, batch).total.backward()
    exact = gradients(model)
    with torch.autocast("cpu", torch.bfloat16):
        found = run(model, batch)
    found.total.backward()
    for name, grad in gradients(model).items():
        near = functional.cosine_similarity(grad.flatten(), exact[name].flatten(), 0)
        assert near > 0.98 or not exact[name].any(), name


@pytest.mark.parametrize(
    "settings",
    [{"reduction": "sum"}, {"codebook_weights": (0.0, 0.0)}, {"text_weight": -1.0}],
)
def test_contradicting_loss_settings_are_refused(settings) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(SettingError):
        LossSettings(**settings)


def test_codebook_weights_must_fit_the_model() -> None:
    model, batch = tiny.model(), join([tiny.example(3, 1)])
    with pytest.raises(SettingError, match="2 codebook weights"):
        run(model, batch, LossSettings(codebook_weights=(1.0, 1.0)))


def test_a_frozen_head_gets_no_gradient_and_the_rest_the_same() -> None:
    model, batch = tiny.model(), join([tiny.example(6, 1)])
    run(model, batch).total.backward()
    wanted = gradients(model)
    model.audio_head.weight.requires_grad_(False)
    run(model, batch).total.backward()
    found = gradients(model)
    assert wanted.keys() - found.keys() == {"audio_head.weight"}
    assert all(torch.equal(gradient, wanted[name]) for name, gradient in found.items())
