"""What threads tell the loop: heard in order, what is urgent at once, the rest together."""

import asyncio

import pytest

from faster_higgs.errors import Aborted
from faster_higgs.server.desk import Take
from faster_higgs.server.hearing import Hearing


class Loop:
    """Calls when it is told to, and keeps what is to be called later."""

    def __init__(self, monkeypatch):
        monkeypatch.setattr(asyncio, "get_running_loop", lambda: self)
        self.soon, self.later, self.closed = [], [], False

    def call_soon_threadsafe(self, call):
        if self.closed:
            raise RuntimeError
        self.soon.append(call)

    def call_later(self, seconds, call):
        self.later.append(call)

    def is_closed(self):
        return self.closed

    def run(self, calls):
        due = [*calls]
        calls.clear()
        for call in due:
            call()


@pytest.fixture
def loop(monkeypatch):
    return Loop(monkeypatch)


@pytest.fixture
def said(loop):
    """A function that tells a word; what was heard are its `heard`."""
    hearing = Hearing()

    def say(word, urgent=False):
        hearing.tell(lambda: say.heard.append(word), urgent=urgent)

    say.heard = []
    return say


def test_what_is_told_first_is_heard_at_once_and_the_rest_together(loop, said):
    said("a")
    loop.run(loop.soon)
    assert said.heard == ["a"]
    said("b")
    said("c")
    assert not loop.soon, "the loop was woken though it listens by itself"
    loop.run(loop.later)
    assert said.heard == ["a", "b", "c"]


def test_what_is_urgent_brings_what_waits_along(loop, said):
    said("a")
    loop.run(loop.soon)
    said("b")
    said("c", urgent=True)
    said("d", urgent=True)
    assert len(loop.soon) == 1
    loop.run(loop.soon)
    assert said.heard == ["a", "b", "c", "d"]
    assert len(loop.later) == 1


def test_after_silence_it_is_woken_again(loop, said):
    said("a")
    loop.run(loop.soon)
    loop.run(loop.later)
    assert not loop.later, "a loop that hears nothing goes on listening"
    said("b")
    loop.run(loop.soon)
    assert said.heard == ["a", "b"]


def test_a_loop_that_is_closed_hears_nothing(loop, said):
    said("a")
    loop.closed = True
    with pytest.raises(RuntimeError):
        said("b")


def test_who_reads_what_was_stopped_hears_of_its_end():
    async def read():
        take = Take(lambda on_stop: iter(()))
        for piece in (b"a", b"b", None):
            take.put(piece)
        take.stop()
        return [piece async for piece in take]

    with pytest.raises(Aborted):
        asyncio.run(asyncio.wait_for(read(), 5))


def test_what_cannot_be_heard_does_not_silence_the_others(monkeypatch):
    loop, heard = Loop(monkeypatch), []
    hearing = Hearing()
    hearing.tell(lambda: 1 / 0, urgent=True)
    hearing.tell(lambda: heard.append("b"), urgent=True)
    for call in loop.soon:
        call()
    assert heard == ["b"]


def test_a_take_that_was_stopped_does_not_look_whole():
    async def read():
        take = Take(lambda on_stop: iter(()))
        take.stop()
        take.put(None)
        return [piece async for piece in take]

    with pytest.raises(Aborted):
        asyncio.run(asyncio.wait_for(read(), 5))
