"""Laws of the transformer: pieces == whole, alone == together, and what decode may not touch."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from faster_higgs.model.attention import KVCaches
from faster_higgs.model.dual_ffn import DualFFN
from faster_higgs.model.packed import AttentionWatch
from tests.model.tiny_model import Rows, pack, random_rows, split_rows, tiny_model

LENGTHS = (1, 7, 24, 12)


@pytest.fixture(scope="module")
def model() -> DualFFN:
    return tiny_model()


def documents(model: DualFFN) -> list[Rows]:
    return [random_rows(model.config, length, seed=length) for length in LENGTHS]


def close(left: Tensor, right: Tensor) -> None:
    torch.testing.assert_close(left, right, atol=2e-5, rtol=1e-4)


def total_loss(model: DualFFN, hidden: Tensor) -> Tensor:
    """Something that depends on every parameter."""
    audio = model.audio_logits(hidden).log_softmax(-1)[..., 0].sum()
    return audio + model.text_logits(hidden).log_softmax(-1)[..., 0].sum()


def gradients(model: DualFFN, loss: Tensor) -> dict[str, Tensor]:
    found = torch.autograd.grad(loss, list(model.parameters()), allow_unused=True)
    named = zip(model.named_parameters(), found, strict=True)
    return {name: torch.zeros_like(w) if grad is None else grad for (name, w), grad in named}


@pytest.mark.parametrize("audio", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("at", [1, 9, 23])
def test_prefill_in_chunks_equals_prefill_at_once(model: DualFFN, at: int, audio: float) -> None:
    rows = random_rows(model.config, 24, seed=3, audio=audio)
    whole_cache, cache = model.new_cache(), model.new_cache(capacity=2)
    whole = model.prefill(*rows, whole_cache)
    pieces = [model.prefill(*piece, cache) for piece in split_rows(rows, at)]
    close(torch.cat(pieces), whole)
    for layer in range(len(model.layers)):
        close(cache.keys[layer][:, :24], whole_cache.keys[layer][:, :24])
        close(cache.values[layer][:, :24], whole_cache.values[layer][:, :24])


def test_decode_continues_prefill(model: DualFFN) -> None:
    rows = random_rows(model.config, 10, seed=1)
    columns = random_rows(model.config, 9, seed=2, audio=1).columns
    all_audio = torch.ones(9, dtype=torch.bool)
    cache, other = model.new_cache(), model.new_cache()
    model.prefill(*rows, cache)
    model.prefill(*rows, other)
    together = model.prefill(torch.zeros(9, dtype=torch.long), columns, all_audio, other)
    steps = [model.decode(column[None], KVCaches([cache])) for column in columns]
    close(torch.cat(steps), together)
    assert cache.length == other.length == 19


def test_decoding_together_equals_decoding_alone(model: DualFFN) -> None:
    prompts = documents(model)
    columns = random_rows(model.config, len(prompts), seed=9, audio=1).columns
    alone, together = ([model.new_cache(4) for _ in prompts] for _ in range(2))
    for rows, cache, other in zip(prompts, alone, together, strict=True):
        model.prefill(*rows, cache)
        model.prefill(*rows, other)
    pairs = zip(columns, alone, strict=True)
    each = [model.decode(column[None], KVCaches([cache])) for column, cache in pairs]
    close(model.decode(columns, KVCaches(together)), torch.cat(each))


def test_decode_touches_no_text_weight() -> None:
    model = tiny_model()
    rows = random_rows(model.config, 6, seed=4, audio=1)
    before = model.decode(rows.columns[:1], KVCaches([model.new_cache()]))
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if "text" in name:
                weight.fill_(torch.nan)
    close(model.decode(rows.columns[:1], KVCaches([model.new_cache()])), before)
    assert model.prefill(*rows, model.new_cache()).isfinite().all()


def test_text_rows_touch_no_audio_weight() -> None:
    model = tiny_model()
    rows = random_rows(model.config, 6, seed=4, audio=0)
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if "audio" in name:
                weight.fill_(torch.nan)
    assert model.prefill(*rows, model.new_cache()).isfinite().all()


def test_the_id_of_an_audio_row_is_not_read(model: DualFFN) -> None:
    rows = random_rows(model.config, 12, seed=5)
    other = rows._replace(ids=rows.ids.where(~rows.is_audio, 10**6))
    close(model.prefill(*other, model.new_cache()), model.prefill(*rows, model.new_cache()))


@pytest.mark.parametrize("checkpointing", [False, True])
def test_packed_documents_do_not_see_each_other(model: DualFFN, checkpointing: bool) -> None:
    each = [model.prefill(*rows, model.new_cache()) for rows in documents(model)]
    packed = model.train_forward(*pack(documents(model)), checkpointing=checkpointing)
    close(packed, torch.cat(each))


def test_packed_gradients_are_the_sum_of_each_documents(model: DualFFN) -> None:
    together = total_loss(model, model.train_forward(*pack(documents(model))))
    alone = [total_loss(model, model.train_forward(*pack([rows]))) for rows in documents(model)]
    close(together, torch.stack(alone).sum())
    wanted = gradients(model, torch.stack(alone).sum())
    for name, grad in gradients(model, together).items():
        torch.testing.assert_close(grad, wanted[name], atol=1e-4, rtol=1e-3, msg=name)


def test_documents_may_lie_in_any_order_and_interleaved(model: DualFFN) -> None:
    packed = pack(documents(model))
    order = torch.randperm(len(packed.ids), generator=torch.Generator().manual_seed(0))
    order = order[packed.positions[order].argsort(stable=True)]  # rows of one document in order
    columns = torch.zeros(len(packed.ids), packed.columns.shape[1], dtype=torch.long)
    columns[packed.is_audio] = packed.columns
    shuffled = (packed.ids, columns, packed.is_audio, packed.segment, packed.positions)
    ids, columns, is_audio, segment, positions = (part[order] for part in shuffled)
    hidden = model.train_forward(ids, columns[is_audio], is_audio, segment, positions)
    close(hidden, model.train_forward(*packed)[order])


def test_checkpointing_changes_no_gradient_and_keeps_less(model: DualFFN) -> None:
    packed = pack(documents(model))
    kept = {False: 0, True: 0}
    grads = {}
    for checkpointing in kept:

        def count(tensor: Tensor, checkpointing: bool = checkpointing) -> Tensor:
            kept[checkpointing] += tensor.nbytes
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(count, lambda tensor: tensor):
            hidden = model.train_forward(*packed, checkpointing=checkpointing)
        grads[checkpointing] = gradients(model, total_loss(model, hidden))
    for name, grad in grads[False].items():
        assert torch.equal(grad, grads[True][name]), name
    assert kept[True] < kept[False] / 5


@pytest.mark.parametrize("checkpointing", [False, True])
def test_a_watched_head_reports_each_documents_attention(
    model: DualFFN, checkpointing: bool
) -> None:
    watch = AttentionWatch(layer=1, head=3)
    packed = pack(documents(model))
    hidden = model.train_forward(*packed, checkpointing=checkpointing, watch=watch)
    total_loss(model, hidden).backward()
    assert [tuple(found.shape) for found in watch.maps] == [(n, n) for n in LENGTHS]
    for found in watch.maps:
        close(found.sum(-1), torch.ones(len(found)))
        assert not found.triu(1).any()
    model.zero_grad()


def test_a_guide_on_the_watched_head_trains_what_lies_below(model: DualFFN) -> None:
    watch = AttentionWatch(layer=1, head=3)
    model.train_forward(*pack(documents(model)), watch=watch)
    grads = gradients(model, torch.stack([found[:, 0].sum() for found in watch.maps]).sum())
    assert grads["layers.1.q_proj.weight"].any()
    assert grads["layers.0.o_proj.weight"].any()
    assert not grads["layers.1.v_proj.weight"].any()


def test_a_cast_model_keeps_its_rotary_angles_exact() -> None:
    model = tiny_model()
    before = model.rotary.frequencies(torch.device("cpu"))
    model.bfloat16()
    assert torch.equal(model.rotary.frequencies(torch.device("cpu")), before)
    assert before.dtype == torch.float32
    rows = random_rows(model.config, 5, seed=8)
    assert model.prefill(*rows, model.new_cache()).dtype == torch.bfloat16
    hidden = model.decode(rows.columns[:1], KVCaches([model.new_cache()]))
    assert model.audio_logits(hidden).dtype == torch.float32


def test_a_model_without_text_head_has_no_such_weight() -> None:
    model = DualFFN(tiny_model().config, text_head=False)
    assert "text_head.weight" not in dict(model.named_parameters())
