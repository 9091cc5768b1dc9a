"""What makes a training right, each as a function that raises where it is not.

test_correctness.py asks them of this package, test_defects.py of this package with a defect put in.
They look everything up in its module, so that a defect can be.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional
from transformers import HiggsAudioV2Config, HiggsAudioV2ForConditionalGeneration

import tiny_data as data
import tiny_training as tiny
from faster_higgs.checkpoint.layouts import TRANSFORMERS
from faster_higgs.checkpoint.load import load_model
from faster_higgs.config import ModelConfig
from faster_higgs.delay import undelay, unwrap
from faster_higgs.errors import CheckpointError, HiggsError, SettingError
from faster_higgs.model.attention import KVCaches
from faster_higgs.model.dual_ffn import DualFFN
from faster_higgs.train import loop, loss, packing, sample
from faster_higgs.train.config import (
    TASKS,
    LanguageSettings,
    LossSettings,
    MixtureSettings,
    OptimizerSettings,
    RunSettings,
)
from faster_higgs.train.loss import Loss
from faster_higgs.train.packing import Batch
from faster_higgs.train.run import Run
from faster_higgs.train.sample import IGNORE, Example, Marks

B, E, N = tiny.BOS, tiny.EOS, IGNORE
EVERY_TASK = MixtureSettings(**dict.fromkeys(TASKS, 1.0), in_system=0.4)


def forward(model: DualFFN, batch: Batch, checkpointing: bool = False) -> Tensor:
    parts = (batch.ids, batch.columns, batch.is_audio, batch.segment, batch.positions)
    return model.train_forward(*parts, checkpointing=checkpointing)


def run(model: DualFFN, batch: Batch, settings: LossSettings = LossSettings(), **more: Any) -> Loss:
    return loss.language_loss(model, forward(model, batch), batch, settings, **more)


def gradients(model: DualFFN) -> dict[str, Tensor]:
    found = {n: w.grad.clone() for n, w in model.named_parameters() if w.grad is not None}
    model.zero_grad()
    return found


def same(one: dict[str, Tensor], two: dict[str, Tensor]) -> None:
    assert one.keys() == two.keys()
    for name, gradient in one.items():
        assert torch.allclose(gradient, two[name], atol=1e-6, rtol=1e-4), name


def delay_and_labels(_: Path) -> None:
    """1. The delay pattern can be undone, and every code and one end of each row is learnt."""
    clip = torch.arange(12).reshape(4, 3)
    made = sample.build([*tiny.asks(12), *tiny.ANSWER], [clip], tiny.MARKS)
    assert made.columns.T.tolist() == [
        [B, 0, 1, 2, E, E, E, E],
        [B, B, 3, 4, 5, E, E, E],
        [B, B, B, 6, 7, 8, E, E],
        [B, B, B, B, 9, 10, 11, E],
    ]
    assert made.audio_labels.T.tolist() == [
        [N, 0, 1, 2, E, N, N, N],
        [N, N, 3, 4, 5, E, N, N],
        [N, N, N, 6, 7, 8, E, N],
        [N, N, N, N, 9, 10, 11, E],
    ]
    assert torch.equal(unwrap(made.columns.T), clip)


def loss_of_transformers(folder: Path) -> None:
    """2. Loss and gradients are those of transformers on the same batch, its way of reducing."""
    theirs, config = transformers_model(), {"atol": 1e-4, "rtol": 0}
    theirs.save_pretrained(folder)
    ours = load_model(folder)[1]
    marks = Marks((1, 2, 3, 4), frozenset({5}), 71, 70, 32, 33)
    turn = [1, 2, 3, 4, 68, 70, 67, 5]
    tokens = [1, 6, 3, 4, 20, 21, 5, *turn, 1, 6, 3, 4, 22, 5, *turn]
    clips = [torch.randint(32, (5, frames)) for frames in (4, 7)]
    batch = packing.join([sample.build(tokens, clips, marks)])
    outcome = theirs(
        input_ids=batch.ids[None],
        audio_input_ids=batch.columns[None],
        audio_input_ids_mask=torch.ones(1, len(batch.columns), dtype=torch.bool),
        labels=batch.text_labels[None],
        audio_labels=batch.audio_labels[None],
    )
    found = run(ours, batch, LossSettings("hf", text_weight=1.0))
    torch.testing.assert_close(found.total, outcome.loss, **config)
    found.total.backward()
    outcome.loss.backward()
    wanted = {name: weight.grad for name, weight in theirs.named_parameters()}
    for name, weight in ours.named_parameters():
        gradient = wanted.pop(TRANSFORMERS.stored(name))
        atol = 1e-4 * float(gradient.abs().max()) + 1e-9
        torch.testing.assert_close(weight.grad, gradient, atol=atol, rtol=0, msg=name)
    assert not wanted


def transformers_model() -> Any:
    config = HiggsAudioV2Config(
        vocab_size=80,
        hidden_size=48,
        intermediate_size=96,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=12,
        num_codebooks=5,
        codebook_size=34,
        audio_stream_bos_id=32,
        audio_stream_eos_id=33,
        audio_token_id=70,
        audio_delay_token_id=69,
        audio_bos_token_id=68,
        pad_token_id=60,
    )
    torch.manual_seed(0)
    made = HiggsAudioV2ForConditionalGeneration(config, use_text_head=True).train()
    with torch.no_grad():
        for weight in made.parameters():
            weight.uniform_(0.5, 1.5) if weight.ndim == 1 else weight.normal_(0, 0.15)
    return made


def packed_is_alone(_: Path) -> None:
    """3. Packed, the loss and the gradients are the sums of those of each example alone."""
    model = tiny.model()
    parts = [tiny.example(6, 1), tiny.example(3, 2, reference=4), tiny.example(4, 3)]
    together, settings = packing.join(parts), LossSettings(text_weight=0.5)
    found = run(model, together, settings)
    found.total.backward()
    packed, total = gradients(model), torch.zeros(())
    for part in parts:
        alone = run(model, packing.join([part]), settings, counts=loss.count(together))
        alone.total.backward()
        total += alone.total.detach()
    assert torch.allclose(found.total, total, atol=1e-6)
    same(gradients(model), packed)


def the_future_is_unseen(_: Path) -> None:
    """4. Other codes from a column on change no loss of that column or of an earlier one."""
    model, batch = tiny.model(), packing.join([tiny.example(9, 1, reference=4)])
    first = 4 + tiny.BOOKS + 1
    for column in range(first + 1, len(batch.columns)):
        labels, columns = batch.audio_labels.clone(), batch.columns.clone()
        labels[column + 1 :] = IGNORE
        columns[column:] = (columns[column:] + 5) % (tiny.CODES + 2)
        before = run(model, replace(batch, audio_labels=labels)).total
        after = run(model, replace(batch, audio_labels=labels, columns=columns)).total
        assert torch.equal(before, after), column
    changed = replace(batch, columns=(batch.columns + 5) % tiny.CODES)
    assert not torch.allclose(run(model, changed).total, run(model, batch).total)


def prompts_know_no_answer(folder: Path) -> None:
    """5. Nothing in a prompt comes from the clips that answer it, whatever the task."""
    made = data.dataset(folder / "data", EVERY_TASK)
    read = made.cache.clip
    cloned = 0
    for epoch, index in ((epoch, index) for epoch in range(6) for index in range(len(made))):
        talk, one = made.draw(index, epoch), made.example(index, epoch)
        cloned += bool(talk.references)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(made.cache, "clip", lambda i, own=talk.turns: _changed(read(i), i in own))
            other = made.example(index, epoch)
        answer = sum(read(i).frames for i in talk.turns) + 9
        assert not torch.equal(one.columns, other.columns)
        assert torch.equal(one.columns[:-answer], other.columns[:-answer]), talk
    assert cloned > 10


def _changed(clip: Any, is_wanted: bool) -> Any:
    return replace(clip, codes=(clip.codes + 1) % 1024) if is_wanted else clip


def other_patterns_are_refused(folder: Path) -> None:
    """6. A checkpoint without the delay pattern, and a training that asks for none, are refused."""
    told = tiny.config().to_json("original")
    assert ModelConfig.from_json(told) == tiny.config()
    with pytest.raises(CheckpointError, match="use_delay_pattern to False; only True"):
        ModelConfig.from_json({**told, "use_delay_pattern": False})
    data.dataset(folder / "data", replace(EVERY_TASK, use_delay_pattern=True))
    with pytest.raises(SettingError, match=r"use_delay_pattern = False .* checkpoint has True"):
        data.dataset(folder / "data", replace(EVERY_TASK, use_delay_pattern=False))


def ends_are_learnt_once(folder: Path) -> None:
    """7. Every codebook of an answer learns one end of stream, and the loss counts it."""
    made = data.dataset(folder / "data", EVERY_TASK)
    eos = data.demands().config.audio_stream_eos_id
    for index in range(len(made)):
        labels = made.example(index, 0).audio_labels
        assert (labels == eos).sum(0).tolist() == [1] * 8
        last = range(len(labels) - 8, len(labels))
        assert (labels == eos).nonzero().tolist() == [[at, k] for k, at in enumerate(last)]
    parts = [tiny.example(6, 1, reference=3), tiny.example(3, 2)]
    model = tiny.model()
    found = run(model, packing.join(parts), eos=tiny.EOS)
    assert found.closer is not None
    assert found.closer[2].tolist() == [2.0] * tiny.BOOKS
    assert found.counts.audio.tolist() == [7 + 4] * tiny.BOOKS
    logits = [model.audio_logits(forward(model, packing.join([part]))) for part in parts]
    rows = [one[part.is_audio] for one, part in zip(logits, parts, strict=True)]
    ends = [[row[-tiny.BOOKS - 1 + k, k] for k in range(tiny.BOOKS)] for row in rows]
    wanted = functional.cross_entropy(
        torch.stack([end for row in ends for end in row]), torch.full((2 * tiny.BOOKS,), tiny.EOS)
    )
    assert found.metrics()["loss_eos"] == pytest.approx(float(wanted.detach()), abs=1e-5)


def four_are_learnt_by_heart(folder: Path) -> None:
    """8. A model that is shown four utterances for long speaks them greedily, code for code."""
    pace = OptimizerSettings(learning_rate=1e-2, weight_decay=0.0)
    settings = LanguageSettings(budget=200, optimizer=pace)
    model = tiny.model(width=64, std=0.05)
    job = loop.LanguageTask(model, tiny.Conversations(4), settings)
    steps = RunSettings(steps=100, warmup=5, save_every=1000, eval_every=1000)
    Run(job, steps, folder, say=lambda line: None).go()
    for index in range(4):
        assert torch.equal(speak(model, index), tiny.clip(4 + index % 5, index))


@torch.no_grad()
def speak(model: DualFFN, index: int) -> Tensor:
    """Greedy codes [K, F] for utterance `index`; every codebook ends by itself."""
    prompt = [*tiny.asks(*tiny.words(index)), *tiny.HEADER, tiny.OUT_BOS]
    cache, ids = model.new_cache(), torch.tensor(prompt)
    nothing = torch.empty(0, tiny.BOOKS, dtype=torch.long)
    model.prefill(ids, nothing, torch.zeros(len(ids), dtype=torch.bool), cache)
    columns = [torch.full((tiny.BOOKS,), tiny.BOS)]
    ended = torch.zeros(tiny.BOOKS, dtype=torch.bool)
    while not bool(ended.all()) and len(columns) < 30:
        logits = model.audio_logits(model.decode(columns[-1][None], KVCaches([cache])))[0]
        column = torch.where(ended, tiny.EOS, logits.argmax(-1))
        column[len(columns) :] = tiny.BOS
        ended |= column == tiny.EOS
        columns.append(column)
    return undelay(torch.stack(columns, 1))[:, 1:-1]


def checkpointing_saves_memory(_: Path) -> None:
    """9. Checkpointing changes no gradient and keeps less than a third for the backward pass."""
    model, batch = tiny.model(layers=4), packing.join([tiny.example(9, i) for i in range(6)])
    kept, found = [], []
    for checkpointing in (False, True):
        with counting() as sizes:
            hidden = forward(model, batch, checkpointing)
            kept.append(sum(sizes))
            loss.language_loss(model, hidden, batch, LossSettings()).total.backward()
        found.append(gradients(model))
    assert kept[1] < 0.3 * kept[0]
    same(*found)


@contextmanager
def counting() -> Iterator[list[int]]:
    """The sizes of what is kept for a backward pass."""
    sizes: list[int] = []

    def pack(tensor: Tensor) -> Tensor:
        sizes.append(tensor.numel())
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        yield sizes


def faults_end_a_run(folder: Path) -> None:
    """10. A number that is not finite, and memory that is not there, end a run with an error."""
    job = loop.LanguageTask(tiny.model(), tiny.Conversations(3), LanguageSettings(budget=60))
    with torch.no_grad():
        job.model.norm.weight[0] = math.nan
    with pytest.raises(HiggsError, match="not finite"):
        Run(job, RunSettings(steps=2), folder / "nan", say=lambda line: None).go()
    job = loop.LanguageTask(tiny.model(), tiny.Conversations(3), LanguageSettings(budget=60))

    def exhausted(*_: Any, **__: Any) -> None:
        raise torch.OutOfMemoryError("no memory")

    job.model.train_forward = exhausted  # type: ignore[method-assign, assignment]
    with pytest.raises(torch.OutOfMemoryError):
        Run(job, RunSettings(steps=2), folder / "memory", say=lambda line: None).go()


def text_labels_stand_where_the_text_does(folder: Path) -> None:
    """14. Text labels are as long as the expanded ids, and each is the id at its own place."""
    made = data.dataset(folder / "data", EVERY_TASK)
    longest = [made.example(index, 0) for index in range(len(made))]
    for example in (tiny.example(3, 1, reference=2), *longest):
        assert example.text_labels.shape == example.ids.shape == example.is_audio.shape
        learnt = example.text_labels != IGNORE
        assert torch.equal(example.text_labels[learnt], example.ids[learnt])
        assert not bool((learnt & example.is_audio).any())
        answer = int((~example.is_audio).nonzero()[-3])  # before the clip, after it, the turn's end
        assert learnt.nonzero()[:, 0].tolist() == [answer, len(learnt) - 2, len(learnt) - 1]
    _text_loss_is_plain(tiny.example(3, 1, reference=2))


def _text_loss_is_plain(example: Example) -> None:
    model, batch = tiny.model(), packing.join([example])
    found = run(model, batch, LossSettings(text_weight=1.0))
    logits = model.text_logits(forward(model, batch))[:-1]
    wanted = functional.cross_entropy(logits, example.text_labels[1:]).detach()
    assert found.metrics()["loss_text"] == pytest.approx(float(wanted), abs=1e-5)


CHECKS = {
    1: delay_and_labels,
    2: loss_of_transformers,
    3: packed_is_alone,
    4: the_future_is_unseen,
    5: prompts_know_no_answer,
    6: other_patterns_are_refused,
    7: ends_are_learnt_once,
    8: four_are_learnt_by_heart,
    9: checkpointing_saves_memory,
    10: faults_end_a_run,
    14: text_labels_stand_where_the_text_does,
}
