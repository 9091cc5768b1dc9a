"""The language model against the vectors of two reference implementations, tensor by tensor."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor
from torch.nn.functional import cross_entropy

from faster_higgs.checkpoint.layouts import ORIGINAL
from faster_higgs.checkpoint.load import load_model
from faster_higgs.checkpoint.save import save_model
from faster_higgs.model.attention import KVCaches
from faster_higgs.model.dual_ffn import DualFFN

HIDDEN = LOSS = 1e-4  # the tolerances the vectors' README gives for fp32
LOGITS = 2e-4

Vectors = dict[str, Tensor]


@pytest.fixture(scope="module")
def lm_dir(parity_dir: Path) -> Path:
    return parity_dir / "lm"


@pytest.fixture(scope="module", params=["original", "hf"])
def model(
    request: pytest.FixtureRequest, lm_dir: Path, tmp_path_factory: pytest.TempPathFactory
) -> DualFFN:
    """The same weights through either layout's files."""
    if (lm_dir / f"weights_{request.param}.safetensors").exists():
        return load_model(lay_out(lm_dir, request.param, tmp_path_factory.mktemp("model")))[1]
    # The copy in the repository holds the weights once; the other layout is written from them.
    source, written = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("written")
    config, model = load_model(lay_out(lm_dir, "original", source))
    save_model(model, config, written, "transformers")
    shutil.copyfile(lm_dir / "config_hf.json", written / "config.json")
    return load_model(written)[1]


def lay_out(lm_dir: Path, layout: str, folder: Path) -> Path:
    shutil.copyfile(lm_dir / f"config_{layout}.json", folder / "config.json")
    shutil.copyfile(lm_dir / f"weights_{layout}.safetensors", folder / "model.safetensors")
    return folder


@pytest.fixture(scope="module")
def prefill(lm_dir: Path) -> Vectors:
    return load_file(lm_dir / "expected_prefill.safetensors")


@pytest.fixture(scope="module")
def train(lm_dir: Path) -> Vectors:
    return load_file(lm_dir / "expected_train.safetensors")


def close(found: Tensor, expected: Tensor, atol: float) -> None:
    torch.testing.assert_close(found.detach(), expected, atol=atol, rtol=0)


def prompts_in(vectors: Vectors, ending: str) -> list[str]:
    names = [key.removesuffix(ending) for key in vectors if key.endswith(ending)]
    assert names, f"no vectors end in {ending}"
    return names


def prompt(vectors: Vectors, name: str) -> tuple[Tensor, Tensor, Tensor]:
    keys = ("expanded_input_ids", "frames", "audio_position_mask")
    ids, columns, is_audio = (vectors[f"{name}.{key}"] for key in keys)
    return ids, columns, is_audio


def test_rotary_frequencies(model: DualFFN, prefill: Vectors) -> None:
    found = model.rotary.frequencies(torch.device("cpu"))
    torch.testing.assert_close(found, prefill["rope_inv_freq"], atol=0, rtol=1e-6)


def test_prefill_hidden_states_and_logits(model: DualFFN, prefill: Vectors) -> None:
    for name in prompts_in(prefill, ".text_logits"):
        hidden = model.prefill(*prompt(prefill, name), model.new_cache())
        close(hidden, prefill[f"{name}.hidden_after_layer"][-1], HIDDEN)
        close(model.text_logits(hidden), prefill[f"{name}.text_logits"], LOGITS)
        close(model.audio_logits(hidden), prefill[f"{name}.audio_logits"], LOGITS)


def test_the_residual_stream_after_every_layer(model: DualFFN, prefill: Vectors) -> None:
    for name in prompts_in(prefill, ".hidden_after_layer"):
        ids, columns, is_audio = prompt(prefill, name)
        seen = entering_layers(model, ids, columns, is_audio)
        expected = prefill[f"{name}.hidden_after_layer"]
        assert len(seen) == len(expected) - 1
        for found, wanted in zip(seen, expected, strict=False):
            close(found, torch.cat((wanted[~is_audio], wanted[is_audio])), HIDDEN)


def entering_layers(model: DualFFN, *rows: Tensor) -> list[Tensor]:
    """What each layer is given, text rows first."""
    seen: list[Tensor] = []
    hooks = [
        layer.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
        for layer in model.layers
    ]
    model.prefill(*rows, model.new_cache())
    for hook in hooks:
        hook.remove()
    return seen


def test_keys_after_rotation_and_values_in_the_cache(model: DualFFN, prefill: Vectors) -> None:
    pattern = re.compile(r"(.+)\.layer(\d+)_(key|value)_cache(_after_rope)?")
    found = [match for key in prefill if (match := pattern.fullmatch(key))]
    assert found
    for match in found:
        cache = model.new_cache()
        model.prefill(*prompt(prefill, match[1]), cache)
        stored = (cache.keys if match[3] == "key" else cache.values)[int(match[2])]
        close(stored[:, : cache.length], prefill[match[0]], HIDDEN)


def test_ids_of_the_other_dialect_change_nothing(model: DualFFN, prefill: Vectors) -> None:
    for name in prompts_in(prefill, ".hf_input_ids"):
        _, columns, is_audio = prompt(prefill, name)
        ids = prefill[f"{name}.hf_input_ids"]
        hidden = model.prefill(ids, columns, is_audio, model.new_cache())
        close(hidden, prefill[f"{name}.hidden_after_layer"][-1], HIDDEN)


def test_decode_gives_the_logits_behind_every_column(
    model: DualFFN, prefill: Vectors, lm_dir: Path
) -> None:
    expected = load_file(lm_dir / "expected_decode.safetensors")
    names = prompts_in(prefill, ".frames")
    single = [name for name in names if int(expected.get(f"{name}.orig.num_segments", 0)) == 1]
    assert single
    for name in single:
        cache = model.new_cache()
        model.prefill(*prompt(prefill, name), cache)
        columns = expected[f"{name}.orig.segment0.delayed"].T
        logits = [
            model.audio_logits(model.decode(c[None], KVCaches([cache]))) for c in columns[:-1]
        ]
        close(torch.cat(logits), expected[f"{name}.orig.audio_step_logits"], LOGITS)


def original_rows(vectors: Vectors, prefix: str) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """ids [B, S], columns [B, S, K], audio rows [B, S] and real rows [B, S] of a collated batch."""
    ids = vectors[f"{prefix}.expanded_input_ids"]
    inside, outside = vectors[f"{prefix}.audio_in_mask"], vectors[f"{prefix}.audio_out_mask"]
    columns = ids.new_zeros(*ids.shape, len(vectors[f"{prefix}.audio_out_ids"]))
    columns[inside] = vectors[f"{prefix}.audio_in_ids"].T
    columns[outside] = vectors[f"{prefix}.audio_out_ids"].T
    return ids, columns, inside | outside, vectors[f"{prefix}.expanded_attention_mask"].bool()


def transformers_rows(
    vectors: Vectors, prefix: str, audio_ids: tuple[int, int]
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    ids = vectors[f"{prefix}.input_ids"]
    is_audio = torch.isin(ids, torch.tensor(audio_ids))
    frames, real = vectors[f"{prefix}.audio_input_ids"], vectors[f"{prefix}.audio_input_ids_mask"]
    columns = ids.new_zeros(*ids.shape, frames.shape[-1])
    columns[is_audio] = frames[real.bool()]
    return ids, columns, is_audio, vectors[f"{prefix}.attention_mask"].bool()


def audio_ids(lm_dir: Path) -> tuple[int, int]:
    config = json.loads((lm_dir / "config_hf.json").read_text())
    return config["audio_token_id"], config["audio_delay_token_id"]


def test_every_document_of_a_padded_batch(model: DualFFN, lm_dir: Path) -> None:
    vectors = load_file(lm_dir / "expected_batch.safetensors")
    for prefix in prompts_in(vectors, ".hidden"):
        rows = (
            transformers_rows(vectors, prefix, audio_ids(lm_dir))
            if prefix.startswith("hf")
            else original_rows(vectors, prefix)
        )
        for b, (ids, columns, is_audio, real) in enumerate(zip(*rows, strict=True)):
            document = ids[real], columns[real & is_audio], is_audio[real]
            hidden = model.prefill(*document, model.new_cache())
            close(hidden, vectors[f"{prefix}.hidden"][b][real], HIDDEN)
        packed = forward_packed(model, *rows)
        close(packed[rows[3]], vectors[f"{prefix}.hidden"][rows[3]], HIDDEN)


def forward_packed(
    model: DualFFN, ids: Tensor, columns: Tensor, is_audio: Tensor, real: Tensor
) -> Tensor:
    """Hidden states [B, S, D] of a padded batch, computed as one packed row; zero where padded."""
    segment = torch.arange(len(ids))[:, None].expand_as(ids)
    positions = real.cumsum(-1) - 1
    hidden = model.train_forward(
        ids[real], columns[real & is_audio], is_audio[real], segment[real], positions[real]
    )
    padded = hidden.new_zeros(*ids.shape, hidden.shape[-1])
    padded[real] = hidden
    return padded


def text_loss(model: DualFFN, hidden: Tensor, labels: Tensor) -> Tensor:
    logits = model.text_logits(hidden[:, :-1])
    return cross_entropy(logits.flatten(0, 1), labels[:, 1:].flatten())


def audio_losses(logits: Tensor, labels: Tensor) -> Tensor:
    """Mean cross-entropy of each codebook [K]; logits [C, K, V] are aligned with labels [C, K]."""
    return torch.stack([cross_entropy(logits[:, k], labels[:, k]) for k in range(labels.shape[1])])


def original_losses(model: DualFFN, train: Vectors, hidden: Tensor) -> tuple[Tensor, Tensor]:
    columns = model.audio_logits(hidden[train["orig.audio_out_mask"]])
    labels = train["orig.label_audio_ids"].T
    text = text_loss(model, hidden, train["orig.expanded_labels"])
    return text, audio_losses(columns[:-1], labels[1:])


def test_training_hidden_states_and_losses(model: DualFFN, train: Vectors) -> None:
    rows = original_rows(train, "orig")
    hidden = forward_packed(model, *rows)
    close(hidden[rows[3]], train["orig.hidden"][rows[3]], HIDDEN)
    text, books = original_losses(model, train, hidden)
    close(text, train["loss.text"], LOSS)
    close(books, train["loss.audio_per_codebook"], LOSS)
    close(text + books.sum(), train["loss.total_text_plus_sum"], LOSS)
    close(text + books.mean(), train["loss.total_text_plus_mean"], LOSS)


def transformers_losses(
    model: DualFFN, train: Vectors, hidden: Tensor, is_audio: Tensor, names: tuple[str, str]
) -> tuple[Tensor, Tensor]:
    """Shifted inside each sequence, as that implementation does it."""
    real = train["hf.audio_input_ids_mask"].bool()
    labels = torch.full((*is_audio.shape, model.config.num_codebooks), -100)
    labels[is_audio] = train[names[1]][real]
    logits = model.audio_logits(hidden[:, :-1])
    text = text_loss(model, hidden, train[names[0]])
    return text, audio_losses(logits.flatten(0, 1), labels[:, 1:].flatten(0, 1))


def test_losses_of_the_other_layouts_labels(model: DualFFN, train: Vectors, lm_dir: Path) -> None:
    rows = transformers_rows(train, "hf", audio_ids(lm_dir))
    hidden = forward_packed(model, *rows)
    same = ("hf.labels", "hf.audio_labels")
    text, books = transformers_losses(model, train, hidden, rows[2], same)
    close(text + books.sum(), train["hf.loss_same_labels"], LOSS)
    own = ("hf.hf_labels", "hf.hf_audio_labels")
    text, books = transformers_losses(model, train, hidden, rows[2], own)
    close(books.sum(), train["hf.loss_own_labels_audio_sum"], LOSS)
    close(text + books.sum(), train["hf.loss_own_labels_total"], LOSS)


@pytest.mark.parametrize("checkpointing", [False, True])
def test_gradients_of_every_weight(model: DualFFN, train: Vectors, checkpointing: bool) -> None:
    ids, columns, is_audio, real = original_rows(train, "orig")
    segment = torch.arange(len(ids))[:, None].expand_as(ids)
    packed = (ids[real], columns[real & is_audio], is_audio[real], segment[real])
    flat = model.train_forward(*packed, real.cumsum(-1)[real] - 1, checkpointing=checkpointing)
    hidden = flat.new_zeros(*ids.shape, flat.shape[-1])
    hidden[real] = flat
    text, books = original_losses(model, train, hidden)
    found = torch.autograd.grad(text + books.sum(), [*model.parameters()])
    grads = dict(zip(names_of(model), found, strict=True))
    for stored, expected in of_prefix(train, "grad_norm."):
        norm = grads[str(ORIGINAL.ours(stored))].norm()
        torch.testing.assert_close(norm, expected, atol=1e-6, rtol=1e-4, msg=stored)
    for stored, expected in of_prefix(train, "grad."):
        close(grads[str(ORIGINAL.ours(stored))], expected, LOSS * float(expected.abs().max()))


def names_of(model: DualFFN) -> Iterator[str]:
    return (name for name, _ in model.named_parameters())


def of_prefix(vectors: Vectors, prefix: str) -> list[tuple[str, Tensor]]:
    found = [(k.removeprefix(prefix), v) for k, v in vectors.items() if k.startswith(prefix)]
    assert found
    return found
