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

from faster_higgs.codec.codec import Codec
from faster_higgs.codec.stream import StreamDecoder
from faster_higgs.errors import InputError

fixtures_are_fine = settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


def codes_of(codec: Codec, frames: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    shape = (codec.num_codebooks, frames)
    return torch.randint(codec.config.codebook_size, shape, generator=generator)


def decode_stream(codec: Codec, frames: Iterable[Tensor]) -> Iterator[Tensor]:
    """Samples of one utterance piece by piece, from frames [K, n] as they come."""
    decoder = StreamDecoder(codec)
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
    stream, heard = StreamDecoder(decoder, first, piece), []
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
    stream = StreamDecoder(decoder, 5, 5)
    for request in range(4):
        for _ in range(3):  # some are at their start, some in the middle, some at their end
            stream.push(request, codes_of(decoder, 20 * (1 + request % 2)))
        stream.pull()
    sizes.clear()
    for request in range(4):
        stream.push(request, codes_of(decoder, 8), last=request == 2)
    assert {one.request_id for one in stream.pull()} == {0, 1, 2, 3}
    assert sizes == [4]


def test_a_long_stream_keeps_only_its_context(decoder: Codec) -> None:
    stream = StreamDecoder(decoder)
    for _ in range(60):
        stream.push("a", codes_of(decoder, 10))
        stream.pull()
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


def test_pieces_start_short_and_grow(decoder: Codec) -> None:
    frames = codes_of(decoder, 200).split(1, dim=1)
    pieces = [len(samples) // decoder.hop for samples in decode_stream(decoder, frames)]
    assert pieces[:4] == [5, 5, 10, 20]
    assert set(pieces[4:-1]) == {25}


def test_the_first_piece_comes_before_the_last_frame_is_known(decoder: Codec) -> None:
    given_frames = 0

    def frames() -> Iterator[Tensor]:
        nonlocal given_frames
        for frame in codes_of(decoder, 100).split(1, dim=1):
            given_frames += 1
            yield frame

    next(decode_stream(decoder, frames()))
    assert given_frames == 5 + decoder.context


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
    assert stream.pull() == []
