"""Made beside the steps: the same as without, and nothing of it is left running."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from itertools import count

import pytest
import torch

import tiny_training as tiny
from faster_higgs.errors import DataError
from faster_higgs.train.packing import Packer, Place
from faster_higgs.train.prefetch import NAME, Prefetch
from faster_higgs.train.sample import Example


def here() -> bool:
    """Whether this is no thread of Prefetch's."""
    return not threading.current_thread().name.startswith(NAME)


def named(key: int) -> Iterator[tuple[int, bool]]:
    return ((key, here()) for _ in range(3))


def test_what_was_begun_is_made_in_the_thread_and_anything_else_at_once() -> None:
    prefetch = Prefetch(named)
    assert prefetch.take(1) == [(1, True)] * 3
    prefetch.begin(2)
    assert prefetch.take(2) == [(2, False)] * 3
    prefetch.begin(3)
    assert prefetch.take(4) == [(4, True)] * 3
    assert prefetch.take(3) == [(3, True)] * 3  # that was dropped


def test_what_goes_wrong_is_raised_where_it_is_taken() -> None:
    def broken(key: int) -> Iterator[int]:
        yield key
        raise DataError("The clip is damaged.")

    prefetch = Prefetch(broken)
    prefetch.begin(1)
    with pytest.raises(DataError, match="damaged"):
        prefetch.take(1)
    prefetch.begin(2)
    prefetch.close()  # of what nobody took nobody hears


def test_closing_ends_what_has_no_end() -> None:
    prefetch = Prefetch(count)
    prefetch.begin(0)
    prefetch.close()
    ended()


def ended() -> None:
    """No thread of Prefetch's goes on."""
    for thread in threading.enumerate():
        if thread.name.startswith(NAME):
            thread.join(timeout=10)
            assert not thread.is_alive()


class Watched(tiny.Conversations):
    """Which examples were made, and in which thread."""

    def __init__(self, count: int) -> None:
        super().__init__(count)
        self.made: list[tuple[int, int, bool]] = []

    def example(self, index: int, epoch: int) -> Example:
        self.made.append((index, epoch, here()))
        return super().example(index, epoch)


def test_only_the_first_window_is_made_between_steps() -> None:
    source = Watched(37)
    packer = Packer(source, 90, window=10)
    while packer.place.epoch < 2:
        packer.next()
    packer.close()
    ended()
    assert sum(own for *_, own in source.made) == 10
    made = [(index, epoch) for index, epoch, _ in source.made]
    assert len(set(made)) == len(made)
    assert sorted(made[:74]) == sorted((index, epoch) for index in range(37) for epoch in (0, 1))


def test_batches_are_those_of_a_packer_that_makes_nothing_ahead(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def batches() -> list[torch.Tensor]:
        packer = Packer(tiny.Conversations(37), 90, seed=3, window=10)
        found = [packer.next().columns for _ in range(20)]
        packer.place = Place(1, 2, 1)  # not the window that is in the making
        found += [packer.next().columns for _ in range(20)]
        packer.close()
        return found

    ahead = batches()
    monkeypatch.setattr(Prefetch, "begin", lambda self, key: None)
    assert all(map(torch.equal, ahead, batches()))


def test_a_clip_that_cannot_be_read_ends_it_when_its_window_comes() -> None:
    class Broken(tiny.Conversations):
        def example(self, index: int, epoch: int) -> Example:
            if epoch == 1:
                raise DataError("The clip is damaged.")
            return super().example(index, epoch)

    packer = Packer(Broken(20), 90, window=10)
    while packer.place.epoch == 0:
        packer.next()
    with pytest.raises(DataError, match="damaged"):
        packer.next()
