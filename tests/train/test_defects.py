"""Every defect that public trainers have had, put into this one: its check notices."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

import checks
import tiny_training as tiny
from faster_higgs import dialects
from faster_higgs.errors import SettingError
from faster_higgs.model import dual_ffn
from faster_higgs.train import dataset, loop, loss, sample
from faster_higgs.train.demands import Demands
from faster_higgs.train.sample import IGNORE
from faster_higgs.train.skips import Skips

Patch = pytest.MonkeyPatch
NOTICED = (AssertionError, SettingError, pytest.fail.Exception)


def no_delay(patch: Patch) -> None:
    """D1: all codebooks of one frame in one column."""

    def flat(codes: Tensor, bos: int, eos: int) -> Tensor:
        books = codes.shape[0]
        return torch.cat([codes, codes.new_full((books, books - 1), eos)], 1)

    def wrap(codes: Tensor, bos: int, eos: int) -> Tensor:
        edge = codes.new_ones((codes.shape[0], 1))
        return flat(torch.cat([edge * bos, codes, edge * eos], 1), bos, eos)

    patch.setattr(sample, "delay", flat)
    patch.setattr(sample, "wrap", wrap)


def no_shift(patch: Patch) -> None:
    """D2: a column is predicted where it is read."""

    def targets(labels: Tensor) -> tuple[Tensor, Tensor]:
        here = (labels != IGNORE).any(1).nonzero()[:, 0]
        return here, labels.index_select(0, here)

    patch.setattr(loss, "_targets", targets)


def target_as_reference(patch: Patch) -> None:
    """D3: the clip to be learnt is the voice's clip."""
    patch.setattr(dataset.Dataset, "_references", lambda self, cast, rng: tuple(cast))


def target_as_reference_unguarded(patch: Patch) -> None:
    """D3, and nothing looks at the finished conversation."""
    target_as_reference(patch)
    patch.setattr(sample, "_refuse_leak", lambda clips, speaks: None)


def unexpanded_text_labels(patch: Patch) -> None:
    """D4: one label for a clip, however many columns it has."""
    build = sample.build

    def short(*args: Any, **more: Any) -> Any:
        made = build(*args, **more)
        repeated = made.is_audio & made.is_audio.roll(1)
        return replace(made, text_labels=made.text_labels[~repeated])

    patch.setattr(tiny, "build", short)
    patch.setattr(dataset, "build", short)


def swallowed_numbers(patch: Patch) -> None:
    """D5: a loss that is not finite is replaced by a constant."""
    original = loss.language_loss

    def forgiving(*args: Any, **more: Any) -> Any:
        found = original(*args, **more)
        return replace(found, total=torch.ones((), requires_grad=True))

    patch.setattr(loop, "language_loss", forgiving)


def swallowed_errors(patch: Patch) -> None:
    """D5: a step that ran out of memory is counted as done."""
    step = loop.LanguageTask.step

    def forgiving(self: Any, number: int) -> dict[str, float]:
        try:
            return step(self, number)
        except torch.OutOfMemoryError:
            return {"loss": 1.0}

    patch.setattr(loop.LanguageTask, "step", forgiving)


def deaf_guard(patch: Patch) -> None:
    """D5: nobody looks at what a step says."""
    patch.setattr(Skips, "take_out", lambda self, step, metrics, seen: None)


def no_checkpointing(patch: Patch) -> None:
    """D6: the flag is taken and does nothing."""
    patch.setattr(dual_ffn, "checkpoint", lambda call, *args, **_: call(*args))


def masked_ends(patch: Patch) -> None:
    """The end of stream is never learnt, as in transformers' own labels."""
    _labels(patch, lambda labels, eos: torch.where(labels == eos, IGNORE, labels))


def filling_ends(patch: Patch) -> None:
    """Every end of stream is learnt, those that only fill up too."""

    def fill(labels: Tensor, eos: int) -> Tensor:
        after = (labels == eos).cumsum(1) > 0
        return torch.where(after, eos, labels)

    _labels(patch, fill)


def _labels(patch: Patch, change: Callable[[Tensor, int], Tensor]) -> None:
    original = sample.clip_labels

    def changed(codes: Tensor, eos: int, is_trained: bool = True) -> Tensor:
        return change(original(codes, eos, is_trained), eos)

    patch.setattr(sample, "clip_labels", changed)


def learnt_prompts(patch: Patch) -> None:
    """The reference's codes are learnt like the target's."""
    original = sample.clip_labels
    patch.setattr(sample, "clip_labels", lambda codes, eos, _=True: original(codes, eos))


def one_document(patch: Patch) -> None:
    """Packed examples see each other."""
    original = dual_ffn.packed_attend
    patch.setattr(
        dual_ffn,
        "packed_attend",
        lambda order, back, lengths, watch: original(order, back, [sum(lengths)], watch),
    )


def other_reduction(patch: Patch) -> None:
    """The mean over the codebooks where transformers has the sum."""
    original = loss._scale
    patch.setattr(loss, "_scale", lambda *args: original(*args) / args[2])


def own_denominators(patch: Patch) -> None:
    """A batch is divided by what is learnt in it, not in all of the step."""
    original = loss.language_loss

    def alone(*args: Any, counts: Any = None, **more: Any) -> Any:
        return original(*args, **more)

    patch.setattr(loss, "language_loss", alone)


def ends_lost_on_the_way(patch: Patch) -> None:
    """The last column of a batch is not compared."""
    original = loss._targets
    patch.setattr(loss, "_targets", lambda labels: original(labels[:-1]))


def unread_flag(patch: Patch) -> None:
    """The checkpoint's use_delay_pattern is not looked at."""
    known = {k: v for k, v in dialects._UNSUPPORTED.items() if k != "use_delay_pattern"}
    patch.setattr(dialects, "_UNSUPPORTED", known)


def obeyed_flag(patch: Patch) -> None:
    """What the training asks for is not compared with the checkpoint."""
    patch.setattr(Demands, "refuse_other_rules", lambda self, settings: None)


def other_numbers(patch: Patch) -> None:
    """What checkpointing computes is not what is computed without."""
    original = dual_ffn.checkpoint
    patch.setattr(
        dual_ffn, "checkpoint", lambda call, *args, **more: original(call, *args, **more) * 1.01
    )


DEFECTS = [
    (1, no_delay),
    (1, masked_ends),
    (1, filling_ends),
    (2, no_shift),
    (2, other_reduction),
    (3, one_document),
    (3, own_denominators),
    (4, no_shift),
    (5, target_as_reference),
    (5, target_as_reference_unguarded),
    (6, unread_flag),
    (6, obeyed_flag),
    (7, masked_ends),
    (7, filling_ends),
    (7, learnt_prompts),
    (7, ends_lost_on_the_way),
    (8, no_delay),
    (8, no_shift),
    (8, masked_ends),
    (9, no_checkpointing),
    (9, other_numbers),
    (10, swallowed_numbers),
    (10, swallowed_errors),
    (10, deaf_guard),
    (14, unexpanded_text_labels),
]


@pytest.mark.parametrize(("number", "defect"), DEFECTS, ids=lambda x: getattr(x, "__name__", x))
def test_a_defect_is_noticed(
    number: int, defect: Callable[[Patch], None], tmp_path: Path, monkeypatch: Patch
) -> None:
    defect(monkeypatch)
    with pytest.raises(NOTICED):
        checks.CHECKS[number](tmp_path)


def test_every_check_has_a_defect() -> None:
    assert {number for number, _ in DEFECTS} == checks.CHECKS.keys()
