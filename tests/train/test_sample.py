"""Labels: what is supervised, exactly once, and nothing else."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import tiny_training as tiny
from faster_higgs.delay import undelay, unwrap, wrap
from faster_higgs.errors import SettingError
from faster_higgs.train.sample import IGNORE, assistant_turns, build, clip_labels, corrupt


@settings(deadline=None, max_examples=30)
@given(st.integers(1, 9), st.integers(1, 12))
def test_labels_supervise_every_code_and_one_end_of_stream_per_codebook(k: int, f: int) -> None:
    codes = torch.randint(0, 50, (k, f))
    labels, columns = clip_labels(codes, 51), wrap(codes, 50, 51)
    assert torch.equal(unwrap(columns), codes)
    assert labels.shape == columns.shape
    assert int((labels != IGNORE).sum()) == k * (f + 1)
    assert (labels == 51).sum(1).tolist() == [1] * k
    assert torch.equal(undelay(labels)[:, 1:-1], codes)
    assert bool((labels[labels != IGNORE] == columns[labels != IGNORE]).all())
    assert bool((clip_labels(codes, 51, is_trained=False) == IGNORE).all())


def test_only_the_last_clip_is_supervised_unless_all_are_asked_for() -> None:
    clips = [tiny.clip(2, 1), tiny.clip(3, 2)]
    tokens = [*tiny.asks(12), *tiny.ANSWER, *tiny.asks(13), *tiny.ANSWER]
    target = build(tokens, clips, tiny.MARKS)
    everything = build(tokens, clips, tiny.MARKS, loss_on="all")
    first = build(tokens, clips, tiny.MARKS, loss_on=[0])
    assert int((target.audio_labels != IGNORE).sum()) == tiny.BOOKS * 4
    assert int((first.audio_labels != IGNORE).sum()) == tiny.BOOKS * 3
    assert int((everything.audio_labels != IGNORE).sum()) == tiny.BOOKS * 7
    assert torch.equal(everything.columns, target.columns)


def test_clips_that_are_heard_are_never_supervised() -> None:
    clips = [tiny.clip(2, 1), tiny.clip(3, 2)]
    tokens = [*tiny.asks(12, tiny.AUDIO_IN), *tiny.ANSWER]
    made = build(tokens, clips, tiny.MARKS, loss_on="all")
    assert bool((made.audio_labels[: 2 + tiny.BOOKS + 1] == IGNORE).all())
    assert int(made.is_audio.sum()) == len(made.columns)


def test_assistant_turns_end_with_their_terminator() -> None:
    tokens = [*tiny.HEADER, 12, tiny.EOM, *tiny.HEADER, 13, 14, tiny.EOT, *tiny.asks(15)]
    assert [tokens[turn.start : turn.stop] for turn in assistant_turns(tokens, tiny.MARKS)] == [
        [12, tiny.EOM],
        [13, 14, tiny.EOT],
    ]


def test_a_reference_that_is_the_target_is_refused() -> None:
    tokens = [*tiny.asks(12), *tiny.ANSWER, *tiny.asks(13), *tiny.ANSWER]
    with pytest.raises(SettingError, match="equals the clip"):
        build(tokens, [tiny.clip(3, 1), tiny.clip(3, 1)], tiny.MARKS)


@pytest.mark.parametrize(
    ("tokens", "clips", "loss_on", "says"),
    [
        (tiny.ANSWER, [], "target", "1 places"),
        (tiny.asks(12), [], "target", "no assistant turn"),
        (tiny.ANSWER, [torch.full((4, 2), tiny.BOS)], "target", "between 0 and 15"),
        (tiny.ANSWER, [torch.zeros(4, dtype=torch.int64)], "target", "shape"),
        (tiny.ANSWER, [tiny.clip(2, 1)], [3], "turn 3"),
        (tiny.ANSWER, [tiny.clip(2, 1)], "everything", "loss_on"),
    ],
)
def test_wrong_conversations_are_refused(tokens, clips, loss_on, says) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(SettingError, match=says):
        build(tokens, clips, tiny.MARKS, loss_on=loss_on)


def test_noise_changes_codes_and_leaves_stream_tokens() -> None:
    columns = wrap(torch.randint(0, 16, (8, 400)), 16, 17).T
    noisy = corrupt(columns, 0.1, 16, torch.Generator().manual_seed(1))
    assert torch.equal(noisy[columns >= 16], columns[columns >= 16])
    assert int(noisy.max()) <= 17
    assert 0.07 < float((noisy != columns).float().mean()) < 0.11
    assert torch.equal(noisy, corrupt(columns, 0.1, 16, torch.Generator().manual_seed(1)))


def test_centres_point_at_the_expanded_positions_of_the_words() -> None:
    tokens = [*tiny.asks(20), *tiny.ANSWER, *tiny.asks(21, 22), *tiny.ANSWER]
    reference, target = tiny.clip(2, 1), tiny.clip(3, 2)
    first = tokens.index(21)
    alignment = torch.tensor([first, first, first + 1.5])
    made = build(tokens, [reference, target], tiny.MARKS, alignments=[None, alignment])
    assert made.centres is not None
    spoken = made.centres[2 + tiny.BOOKS + 1 :]
    shift = int((made.ids == 21).nonzero()[0, 0])
    assert spoken[:3].tolist() == [shift, shift, shift + 1.5]
    assert bool(spoken[3:].isnan().all())
    assert bool(made.centres[: 2 + tiny.BOOKS + 1].isnan().all())
