"""Packing: nothing lost, nothing padded, the same order again."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import tiny_training as tiny
from faster_higgs.errors import SettingError
from faster_higgs.train.packing import Batch, Packer, Place, fill, join


def packer(seed: int = 3, count: int = 37, place: Place = Place()) -> Packer:
    return Packer(tiny.Conversations(count), 90, seed=seed, window=10, place=place)


def key(batch: Batch) -> list[int]:
    return batch.ids.tolist() + batch.columns.flatten().tolist()


@settings(deadline=None, max_examples=30)
@given(st.lists(st.integers(1, 60), max_size=60))
def test_every_item_lies_in_one_group_within_the_budget(lengths: list[int]) -> None:
    groups = fill(lengths, 60)
    assert sorted(item for group in groups for item in group) == list(range(len(lengths)))
    assert all(0 < sum(lengths[i] for i in group) <= 60 for group in groups)


def test_an_example_longer_than_the_budget_is_refused_with_its_length() -> None:
    with pytest.raises(SettingError, match="61 positions"):
        fill([10, 61], 60)


def test_an_epoch_holds_every_example_once_and_no_padding() -> None:
    source = packer()
    seen: list[int] = []
    while source.place.epoch == 0:
        batch = source.next()
        assert batch.num_positions <= 90
        assert int(batch.is_audio.sum()) == len(batch.columns)
        for number in batch.segment.unique().tolist():
            document = batch.segment == number
            assert batch.positions[document].tolist() == list(range(int(document.sum())))
            words = batch.ids[document & (batch.ids >= tiny.WORDS + 1)].tolist()
            seen.append(words[0] - tiny.WORDS - 1 + 30 * (words[1] - tiny.WORDS - 1))
    assert sorted(seen) == list(range(37))


def test_the_order_follows_from_seed_and_epoch() -> None:
    first, again, other = packer(), packer(), packer(seed=4)
    one, two, three = ([key(p.next()) for _ in range(30)] for p in (first, again, other))
    assert first.place.epoch > 0
    assert one == two
    assert one != three


@settings(deadline=None, max_examples=30)
@given(st.integers(0, 40))
def test_a_packer_goes_on_from_any_place(steps: int) -> None:
    source = packer()
    for _ in range(steps):
        source.next()
    resumed = packer(place=Place.from_json(source.place.to_json()))
    for _ in range(3):
        assert key(source.next()) == key(resumed.next())


def test_a_place_that_is_no_more_leads_to_the_next_one_that_is() -> None:
    assert packer(place=Place(0, 0, 999)).next() is not None
    lost = packer(place=Place(0, 999, 3))
    lost.next()
    assert lost.place.epoch == 1


def test_an_empty_data_set_is_refused() -> None:
    with pytest.raises(SettingError, match="empty"):
        Packer(tiny.Conversations(0), 90)


def test_joined_examples_keep_their_labels_in_place() -> None:
    one, two = tiny.example(3, 1), tiny.example(4, 2, reference=2)
    batch = join([one, two])
    assert torch.equal(batch.audio_labels, torch.cat([one.audio_labels, two.audio_labels]))
    assert torch.equal(batch.text_labels[len(one) :], two.text_labels)
    assert batch.centres is None
