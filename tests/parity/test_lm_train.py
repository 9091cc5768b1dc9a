"""Labels, losses and gradients against vectors of both references, and transformers live."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from faster_higgs.checkpoint.layouts import ORIGINAL
from faster_higgs.checkpoint.load import load_model
from faster_higgs.config import ModelConfig
from faster_higgs.delay import unwrap
from faster_higgs.model.dual_ffn import DualFFN
from faster_higgs.train.config import LossSettings
from faster_higgs.train.loss import Loss, language_loss
from faster_higgs.train.packing import Batch, join
from faster_higgs.train.sample import IGNORE, Example, Marks, build

LOSS = 1e-4  # absolute, as the vectors' README suggests
GRADIENT = 1e-4  # relative
AS_SUM = LossSettings("hf", text_weight=1.0)
AS_MEAN = LossSettings("mean", text_weight=1.0)

Vectors = dict[str, Tensor]


@pytest.fixture(scope="module")
def lm_dir(parity_dir: Path) -> Path:
    if not (parity_dir / "lm" / "expected_train.safetensors").is_file():
        pytest.skip("no training vectors in HIGGS_PARITY_DIR")
    return parity_dir / "lm"


@pytest.fixture(scope="module")
def vectors(lm_dir: Path) -> Vectors:
    return load_file(lm_dir / "expected_train.safetensors")


@pytest.fixture(scope="module")
def model(lm_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> DualFFN:
    folder = tmp_path_factory.mktemp("model")
    shutil.copyfile(lm_dir / "config_original.json", folder / "config.json")
    shutil.copyfile(lm_dir / "weights_original.safetensors", folder / "model.safetensors")
    return load_model(folder)[1]


@pytest.fixture(scope="module")
def examples(lm_dir: Path, vectors: Vectors) -> list[Example]:
    """The two conversations, built by us from their tokens and their raw codes."""
    told = json.loads((lm_dir / "chatml_examples.json").read_text())
    config = ModelConfig.from_json(json.loads((lm_dir / "config_original.json").read_text()))
    marks = marks_of(told, config)
    heard, spoken = clips_of(vectors, "audio_in"), clips_of(vectors, "audio_out")
    made = []
    for one in told["examples"]:
        tokens = one["expected_input_ids"]
        source = {marks.audio_in: heard, marks.audio_out: spoken}
        clips = [next(source[token]) for token in tokens if token in source]
        made.append(build(tokens, clips, marks, loss_on=trained_turns(one)))
    return made


def marks_of(told: dict[str, Any], config: ModelConfig) -> Marks:
    special, tokens = told["special"], told["examples"][0]["expected_input_ids"]
    begin, end = special["<|start_header_id|>"], special["<|end_header_id|>"]
    header = (begin, told["roles"]["assistant"], end, tokens[tokens.index(end) + 1])
    return Marks(
        header,
        frozenset({special["<|eot_id|>"], special["<|eom_id|>"]}),
        config.audio_in_token_id,
        config.audio_out_token_id,
        config.audio_stream_bos_id,
        config.audio_stream_eos_id,
    )


def clips_of(vectors: Vectors, side: str) -> Iterator[Tensor]:
    columns, starts = vectors[f"orig.{side}_ids"], vectors[f"orig.{side}_ids_start"].tolist()
    for start, end in zip(starts, [*starts[1:], columns.shape[1]], strict=True):
        yield unwrap(columns[:, start:end])


def trained_turns(conversation: dict[str, Any]) -> list[int]:
    """The original counts messages, we count assistant turns."""
    first = conversation["start_index"] or 0
    assistants = [i for i, m in enumerate(conversation["messages"]) if m[0] == "assistant"]
    return [number for number, message in enumerate(assistants) if message >= first]


def loss_of(model: DualFFN, batch: Batch, settings: LossSettings) -> Loss:
    parts = (batch.ids, batch.columns, batch.is_audio, batch.segment, batch.positions)
    return language_loss(model, model.train_forward(*parts), batch, settings)


def test_labels_are_the_originals(examples: list[Example], vectors: Vectors) -> None:
    starts = iter([*vectors["orig.audio_out_ids_start"].tolist(), None])
    ends = iter([*vectors["orig.audio_out_ids_start"].tolist()[1:], None])
    labels = vectors["orig.label_audio_ids"]
    for row, example in enumerate(examples):
        length = int(vectors["orig.expanded_attention_mask"][row].sum())
        assert len(example) == length
        assert torch.equal(example.ids, vectors["orig.expanded_input_ids"][row, :length])
        assert torch.equal(example.text_labels, vectors["orig.expanded_labels"][row, :length])
        spoken = vectors["orig.audio_out_mask"][row, :length]
        assert torch.equal(example.is_audio, spoken | vectors["orig.audio_in_mask"][row, :length])
        ours = example.audio_labels[spoken[example.is_audio]]
        begins = spoken & ~spoken.roll(1)
        wanted = [labels[:, next(starts) : next(ends)].T for _ in range(int(begins.sum()))]
        assert torch.equal(ours, torch.cat(wanted))
        heard = example.audio_labels[~spoken[example.is_audio]]
        assert bool((heard == IGNORE).all())


def test_losses_are_theirs(model: DualFFN, examples: list[Example], vectors: Vectors) -> None:
    found = loss_of(model, join(examples), AS_SUM)
    books = found.audio / found.counts.audio
    torch.testing.assert_close(books, vectors["loss.audio_per_codebook"], atol=LOSS, rtol=0)
    text = found.text / found.counts.text
    torch.testing.assert_close(text, vectors["loss.text"], atol=LOSS, rtol=0)
    total = found.total.detach()
    torch.testing.assert_close(total, vectors["loss.total_text_plus_sum"], atol=LOSS, rtol=0)
    torch.testing.assert_close(total, vectors["hf.loss_same_labels"], atol=LOSS, rtol=0)
    mean = loss_of(model, join(examples), AS_MEAN).total.detach()
    torch.testing.assert_close(mean, vectors["loss.total_text_plus_mean"], atol=LOSS, rtol=0)


def test_gradients_are_theirs(model: DualFFN, examples: list[Example], vectors: Vectors) -> None:
    model.zero_grad()
    loss_of(model, join(examples), AS_SUM).total.backward()
    found = {ORIGINAL.stored(n): w.grad for n, w in model.named_parameters() if w.grad is not None}
    norms = {k.removeprefix("grad_norm."): v for k, v in vectors.items() if "grad_norm." in k}
    whole = {k.removeprefix("grad."): v for k, v in vectors.items() if k.startswith("grad.")}
    assert norms.keys() == found.keys()
    assert whole.keys() <= found.keys()
    for name, norm in norms.items():
        torch.testing.assert_close(found[name].norm(), norm, atol=0, rtol=GRADIENT, msg=name)
    for name, gradient in whole.items():
        atol = GRADIENT * float(gradient.abs().max())
        torch.testing.assert_close(found[name], gradient, atol=atol, rtol=0, msg=name)


def test_a_loss_on_the_labels_of_transformers_is_theirs_too(
    model: DualFFN, examples: list[Example], vectors: Vectors
) -> None:
    theirs = []
    for row, example in enumerate(examples):
        columns = int(vectors["hf.audio_input_ids_mask"][row].sum())
        assert torch.equal(example.columns, vectors["hf.audio_input_ids"][row, :columns])
        theirs.append(
            replace(
                example,
                text_labels=vectors["hf.hf_labels"][row, : len(example)],
                audio_labels=vectors["hf.hf_audio_labels"][row, :columns],
            )
        )
    found = loss_of(model, join(theirs), AS_SUM)
    total = found.total.detach()
    torch.testing.assert_close(total, vectors["hf.loss_own_labels_total"], atol=LOSS, rtol=0)
    audio = (found.audio / found.counts.audio).sum()
    torch.testing.assert_close(audio, vectors["hf.loss_own_labels_audio_sum"], atol=LOSS, rtol=0)
