"""Pieces == whole, for any way of cutting, any number of requests at once, any order."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from itertools import pairwise

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import Tensor

from faster_higgs.checkpoint.plan import WINDOW
from faster_higgs.codec.codec import Codec
from faster_higgs.codec.stream import TOGETHER, Piece, SharedDecoder, StreamDecoder
from faster_higgs.errors import EngineError, InputError

fixtures_are_fine = settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


def codes_of(codec: Codec, frames: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    shape = (codec.num_codebooks, frames)
    return torch.randint(codec.config.codebook_size, shape, generator=generator)


class Clock:
    """Time that passes when it is told to."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


STILL = Clock()  # whose time stands: everything comes at once, and is decoded at once


def decode_stream(codec: Codec, frames: Iterable[Tensor]) -> Iterator[Tensor]:
    """Samples of one utterance piece by piece, from frames [K, n] as they come."""
    decoder = StreamDecoder(codec, clock=STILL)
    empty = torch.empty(codec.num_codebooks, 0, dtype=torch.long)
    for part in frames:
        decoder.push("", part)
        empty = part[:, :0]
        yield from (piece.samples for piece in decoder.pull())
    decoder.push("", empty, last=True)
    yield from (piece.samples for piece in decoder.pull() if len(piece.samples))


def assert_whole(codec: Codec, pieces: list[Tensor], codes: Tensor) -> None:
    joined = torch.cat(pieces)
    torch.testing.assert_close(joined, codec.decode(codes), atol=1e-5, rtol=0)


@given(
    total=st.integers(1, 90),
    cuts=st.lists(st.integers(0, 90), max_size=8),
    first=st.integers(1, 12),
    piece=st.integers(1, 30),
)
@fixtures_are_fine
def test_streamed_is_whole_for_any_chunking(
    decoder: Codec, total: int, cuts: list[int], first: int, piece: int
) -> None:
    codes = codes_of(decoder, total)
    edges = [0, *sorted(min(cut, total) for cut in cuts), total]
    stream, heard = StreamDecoder(decoder, first, piece), list[Piece]()
    for start, end in pairwise(edges):
        stream.push("a", codes[:, start:end], last=False)
        heard += stream.pull()
    stream.push("a", codes[:, :0], last=True)
    heard += stream.pull()
    assert_whole(decoder, [one.samples for one in heard], codes)
    assert [one.is_last for one in heard] == [False] * (len(heard) - 1) + [True]


@given(data=st.data())
@settings(fixtures_are_fine, max_examples=6)
def test_interleaved_requests_are_each_whole(decoder: Codec, data: st.DataObject) -> None:
    lengths = data.draw(st.lists(st.integers(0, 60), min_size=2, max_size=4))
    codes = [codes_of(decoder, length, seed) for seed, length in enumerate(lengths)]
    given_so_far = [0] * len(codes)
    open_requests = set(range(len(codes)))
    stream, heard = StreamDecoder(decoder, 2, 6), defaultdict(list)
    while open_requests:
        request = data.draw(st.sampled_from(sorted(open_requests)))
        start = given_so_far[request]
        end = min(lengths[request], start + data.draw(st.integers(0, 25)))
        is_last = end == lengths[request]
        stream.push(request, codes[request][:, start:end], last=is_last)
        given_so_far[request] = end
        if is_last:
            open_requests.remove(request)
        if data.draw(st.booleans()) or not open_requests:
            for one in stream.pull():
                heard[one.request_id].append(one)
    for request, expected in enumerate(codes):
        assert_whole(decoder, [one.samples for one in heard[request]], expected)
        assert [one.is_last for one in heard[request]].index(True) == len(heard[request]) - 1


def test_published_ratios_stream_exactly(codec: Codec) -> None:
    codes = codes_of(codec, 64)
    assert_whole(codec, list(decode_stream(codec, codes.split(3, dim=1))), codes)


def test_one_frame_less_of_context_is_not_exact(
    codec: Codec, monkeypatch: pytest.MonkeyPatch
) -> None:
    codes = codes_of(codec, 64)
    monkeypatch.setattr(Codec, "context", 9)
    heard = torch.cat(list(decode_stream(codec, codes.split(3, dim=1))))
    assert (heard - codec.decode(codes)).abs().max() > 1e-5


def test_live_requests_share_one_batch(decoder: Codec, monkeypatch: pytest.MonkeyPatch) -> None:
    sizes = []
    decode = Codec.decode

    def counted(self: Codec, codes: Tensor) -> Tensor:
        sizes.append(len(codes))
        return decode(self, codes)

    monkeypatch.setattr(Codec, "decode", counted)
    stream = StreamDecoder(decoder, 5, 5, STILL)
    for request in range(4):
        for _ in range(3):  # some are at their start, some in the middle, some at their end
            stream.push(request, codes_of(decoder, 20 * (1 + request % 2)))
        list(stream.pull())
    sizes.clear()
    for request in range(4):
        stream.push(request, codes_of(decoder, 5), last=request == 2)
    assert {one.request_id for one in stream.pull()} == {0, 1, 2, 3}
    assert sizes[0] == 4  # and what remains of the one that ended comes by itself


def test_a_batch_is_no_larger_for_many_streams(
    decoder: Codec, monkeypatch: pytest.MonkeyPatch
) -> None:
    frames = []
    decode = Codec.decode

    def counted(self: Codec, codes: Tensor) -> Tensor:
        frames.append(len(codes) * codes.shape[-1])
        return decode(self, codes)

    assert TOGETHER % WINDOW == 0
    monkeypatch.setattr("faster_higgs.codec.stream.TOGETHER", 3 * WINDOW)
    monkeypatch.setattr(Codec, "decode", counted)
    many, heard = StreamDecoder(decoder, clock=STILL), defaultdict(list)
    codes = [codes_of(decoder, 50 + request, request) for request in range(10)]
    for request, one in enumerate(codes):
        many.push(request, one, last=True)
    for piece in many.pull():
        heard[piece.request_id].append(piece.samples)
    monkeypatch.undo()
    assert 2 * WINDOW < max(frames) <= 3 * WINDOW
    for request, one in enumerate(codes):
        assert_whole(decoder, heard[request], one)


def test_a_long_stream_keeps_only_its_context(decoder: Codec) -> None:
    stream = StreamDecoder(decoder)
    for _ in range(60):
        stream.push("a", codes_of(decoder, 10))
        list(stream.pull())
        (live,) = stream._streams.values()
        kept = sum(part.untyped_storage().nbytes() for part in live.parts)
        frame = 8 * decoder.num_codebooks
        assert kept <= frame * (2 * decoder.context + 4 * 25)


def test_many_waiting_frames_are_decoded_in_bounded_windows(
    decoder: Codec, monkeypatch: pytest.MonkeyPatch
) -> None:
    widths = []
    decode = Codec.decode

    def counted(self: Codec, codes: Tensor) -> Tensor:
        widths.append(codes.shape[-1])
        return decode(self, codes)

    codes = codes_of(decoder, 730)
    monkeypatch.setattr(Codec, "decode", counted)
    heard = list(decode_stream(decoder, [codes]))
    monkeypatch.undo()
    assert max(widths) <= 100 + 2 * decoder.context
    assert_whole(decoder, heard, codes)


class Listener:
    """One utterance whose frames come every `pace` seconds, decoded in `cost` seconds a time."""

    def __init__(
        self, codec: Codec, pace: float, cost: float, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        self._codec, self._pace, self._frame = codec, pace, codec.hop / codec.sample_rate
        self._clock = Clock()
        self._stream = StreamDecoder(codec, clock=self._clock)
        decode = Codec.decode

        def slow(codec: Codec, codes: Tensor) -> Tensor:
            self._clock.now += cost
            return decode(codec, codes)

        monkeypatch.setattr(Codec, "decode", slow)

    def hear(self, codes: Tensor) -> tuple[list[Tensor], list[float]]:
        """The pieces, and how long playback stood still before each but the first."""
        pieces, pauses, begin, known = list[Tensor](), list[float](), self._clock.now, 0
        ends = 0.0
        for known, frame in enumerate(codes.split(1, dim=1), 1):
            self._clock.now = max(self._clock.now, begin + known * self._pace)
            self._stream.push(begin, frame, last=known == codes.shape[1])
            for piece in self._stream.pull():
                if pieces:
                    pauses.append(max(0.0, self._clock.now - ends))
                ends = max(ends, self._clock.now) + len(piece.samples) / self._codec.sample_rate
                pieces.append(piece.samples)
        return pieces, pauses


# Seconds a frame, where one lasts 0.04; seconds of decoding.
QUICK = [(0.004, 0.001), (0.01, 0.005), (0.01, 0.02), (0.02, 0.01), (0.035, 0.002), (0.039, 0.01)]


@pytest.fixture
def seconds(decoder: Codec, monkeypatch: pytest.MonkeyPatch) -> Codec:
    """A codec of few samples, whose frames last as long as the published one's."""
    monkeypatch.setattr(Codec, "sample_rate", 25 * decoder.hop)
    return decoder


@pytest.mark.parametrize(("pace", "cost"), QUICK)
def test_playback_never_pauses_where_frames_come_quickly_enough(
    seconds: Codec, monkeypatch: pytest.MonkeyPatch, pace: float, cost: float
) -> None:
    listener = Listener(seconds, pace, cost, monkeypatch)
    listener.hear(codes_of(seconds, 30))  # from now on it knows what decoding costs
    pieces, pauses = listener.hear(codes_of(seconds, 400))
    assert max(pauses) < 1e-9
    assert len(pieces[0]) // seconds.hop <= 1 + (pace + 2 * cost) // 0.02


@pytest.mark.parametrize(("pace", "cost"), QUICK)
def test_decoding_takes_a_small_share_of_the_time(
    seconds: Codec, monkeypatch: pytest.MonkeyPatch, pace: float, cost: float
) -> None:
    listener = Listener(seconds, pace, cost, monkeypatch)
    listener.hear(codes_of(seconds, 30))
    pieces, _ = listener.hear(codes_of(seconds, 1000))
    assert len(pieces) * cost <= 40 / 4
    if pace <= 0.02:  # it gets ahead of playback soon
        assert len(pieces) <= 4 + 1000 / 25 + 10


def test_who_gets_no_more_is_heard_in_time_while_others_go_on(seconds: Codec) -> None:
    clock, heard = Clock(), defaultdict(int)
    shared = StreamDecoder(seconds, clock=clock)

    def give(request: str, frames: int) -> None:
        for frame in codes_of(seconds, frames).split(1, dim=1):
            clock.now += 0.01
            shared.push(request, frame)
            for piece in shared.pull():
                heard[piece.request_id] += len(piece.samples) // seconds.hop

    give("waits", seconds.context + 19)
    before, begun = heard["waits"], clock.now
    give("others", round(before * 0.04 / 0.01))
    assert before < heard["waits"] == 19
    assert clock.now <= begun + before * 0.04


def test_where_frames_come_too_slowly_pauses_are_few(
    seconds: Codec, monkeypatch: pytest.MonkeyPatch
) -> None:
    pieces, pauses = Listener(seconds, 0.08, 0.01, monkeypatch).hear(codes_of(seconds, 400))
    assert sum(pause > 0 for pause in pauses) <= 4 + 400 / 25
    assert len(pieces) <= 3 * (4 + 400 / 25) + 2


def test_samples_do_not_depend_on_when_they_were_wanted(
    seconds: Codec, monkeypatch: pytest.MonkeyPatch
) -> None:
    """To their last bits, on the CPU."""
    for more in (-9, -1, 0, 3, 25, 70, 123):
        codes = codes_of(seconds, seconds.context + more)
        heard, cuts = list[Tensor](), set()
        for pace, cost in [(0.0, 0.0), *QUICK, (0.08, 0.01)]:
            with monkeypatch.context() as patch:
                pieces, _ = Listener(seconds, pace, cost, patch).hear(codes)
            cuts.add(tuple(map(len, pieces)))
            heard.append(torch.cat(pieces))
        assert all(torch.equal(one, heard[0]) for one in heard)
        assert_whole(seconds, heard[:1], codes)
        assert len(cuts) > 1 or more < 25


def test_the_first_piece_comes_before_the_last_frame_is_known(decoder: Codec) -> None:
    given_frames = 0

    def frames() -> Iterator[Tensor]:
        nonlocal given_frames
        for frame in codes_of(decoder, 100).split(1, dim=1):
            given_frames += 1
            yield frame

    next(decode_stream(decoder, frames()))
    assert given_frames == 1 + decoder.context


def test_an_empty_stream_ends_with_an_empty_piece(decoder: Codec) -> None:
    stream = StreamDecoder(decoder)
    stream.push("a", codes_of(decoder, 0), last=True)
    (piece,) = stream.pull()
    assert piece.is_last
    assert piece.samples.shape == (0,)
    assert list(decode_stream(decoder, [])) == []


def test_a_dropped_request_is_heard_no_more(decoder: Codec) -> None:
    stream = StreamDecoder(decoder)
    stream.push("a", codes_of(decoder, 50))
    stream.push("b", codes_of(decoder, 50))
    stream.drop("a")
    stream.drop("never seen")
    assert {piece.request_id for piece in stream.pull()} == {"b"}


def test_codes_outside_the_codebook_are_refused_when_they_come(decoder: Codec) -> None:
    stream = StreamDecoder(decoder)
    bad = torch.full((decoder.num_codebooks, 1), decoder.config.codebook_size)
    with pytest.raises(InputError, match="stream tokens"):
        stream.push("a", bad)
    assert list(stream.pull()) == []


def test_what_was_decoded_for_others_is_theirs_though_the_next_batch_fails(
    decoder: Codec, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A short stream and a long one never share a batch; the longer batch goes first."""
    decode, failing = Codec.decode, list[int]()

    def fails(codec: Codec, codes: Tensor) -> Tensor:
        if codes.shape[-1] in failing:
            raise RuntimeError("out of memory")
        return decode(codec, codes)

    monkeypatch.setattr(Codec, "decode", fails)
    shared = SharedDecoder(decoder)
    one, other = shared.stream(), shared.stream()
    codes, short = codes_of(decoder, 15), codes_of(decoder, 3)
    failing.append(3)
    shared._brought.put((one, codes, True))
    with pytest.raises(RuntimeError, match="out of memory"):
        other.decode(short, last=True)
    other.close()
    failing.clear()
    monkeypatch.undo()
    third = shared.stream()
    assert_whole(decoder, third.decode(short, last=True), short)
    assert_whole(decoder, shared._ready.pop(one), codes)


class TestErrorsBelongToWhoseFramesTheyAre:
    def test_frames_that_another_brought_and_that_are_no_codes(self, decoder: Codec) -> None:
        shared = SharedDecoder(decoder)
        one, other = shared.stream(), shared.stream()
        bad = torch.full((decoder.num_codebooks, 3), decoder.config.codebook_size)
        shared._brought.put((other, bad, True))
        codes = codes_of(decoder, 15)
        assert_whole(decoder, one.decode(codes, last=True), codes)
        with pytest.raises(InputError, match="stream tokens"):
            other.decode(codes_of(decoder, 1))
        other.close()
        assert not shared._failed

    def test_frames_of_another_in_the_same_batch(
        self, decoder: Codec, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A batch that fails is decoded one by one: only whose frames fail alone hears of it."""
        decode, codes = Codec.decode, codes_of(decoder, 15)
        poison = (codes + 1) % decoder.config.codebook_size

        def fails(codec: Codec, batch: Tensor) -> Tensor:
            if any(torch.equal(row, poison) for row in batch):
                raise RuntimeError("out of memory")
            return decode(codec, batch)

        monkeypatch.setattr(Codec, "decode", fails)
        shared = SharedDecoder(decoder)
        one, other, third = (shared.stream() for _ in range(3))
        shared._brought.put((other, poison, True))
        shared._brought.put((third, codes, True))
        assert_whole(decoder, one.decode(codes, last=True), codes)
        assert_whole(decoder, shared._ready.pop(third), codes)
        with pytest.raises(RuntimeError, match="out of memory"):
            other.decode(codes_of(decoder, 0))


def test_a_closed_decoder_says_that_the_model_was_unloaded(decoder: Codec) -> None:
    shared = SharedDecoder(decoder)
    stream = shared.stream()
    shared.close()
    with pytest.raises(EngineError, match="unloaded while it was speaking"):
        stream.decode(codes_of(decoder, 3))
    stream.close()
