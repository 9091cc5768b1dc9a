"""Settings are refused in words, numbers come from counters, draws follow their distribution."""

from __future__ import annotations

from typing import get_args

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from faster_higgs.delay import (
    RULES,
    Columns,
    DelayClock,
    DelayClocks,
    delay,
    undelay,
    unwrap,
    wrap,
)
from faster_higgs.engine.drawing import SamplingRows, draw, sample, uniforms, warp, warp_rows
from faster_higgs.errors import SettingError
from faster_higgs.sampling import COLDEST, Rules, Sampling


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("temperature", -0.1),
        ("temperature", float("nan")),
        ("temperature", 1e-39),
        ("top_p", 0.0),
        ("top_p", 1.1),
        ("top_k", -1),
        ("min_p", 2.0),
        ("max_new_tokens", 0),
        ("ras_window", -1),
        ("rules", "loose"),
        ("seed", 2**70),
        ("seed", 1.5),
        ("top_k", 2.5),
        ("max_new_tokens", "many"),
    ],
)
def test_a_setting_out_of_range_is_named(name: str, value: object) -> None:
    with pytest.raises(SettingError, match=name):
        Sampling(**{name: value})


def test_the_lowest_temperature_draws_the_likeliest() -> None:
    logits = torch.tensor([[-900.0, 900.0, 899.0]])
    assert warp(logits, Sampling(temperature=COLDEST)).equal(torch.tensor([[0.0, 1.0, 0.0]]))


@given(st.integers(1, 6), st.integers(1, 150))
def test_columns_give_frames_as_they_are_written(books: int, frames: int) -> None:
    codes = torch.randint(98, (books, frames))
    whole, written = wrap(codes, 98, 99), Columns(books)
    for number, column in enumerate(whole.T, 1):
        written.append(column)
        known = max(0, min(frames, number - books))
        for first in (0, known // 2, known):
            assert torch.equal(written.frames(first, known), codes[:, first:known])
    assert torch.equal(written.last(len(written)), whole.T)
    assert torch.equal(written.last(2), whole.T[-2:])


@given(st.integers(1, 6), st.integers(1, 9))
def test_undelay_undoes_delay(books: int, frames: int) -> None:
    codes = torch.randint(0, 50, (books, frames))
    assert torch.equal(undelay(delay(codes, 98, 99)), codes)
    assert torch.equal(unwrap(wrap(codes, 98, 99)), codes)


def test_numbers_depend_on_seed_step_and_row_only() -> None:
    seeds, steps = torch.tensor([5, 6, 5]), torch.tensor([0, 0, 9])
    together = uniforms(seeds, steps, 8, 0)
    for i in range(3):
        assert torch.equal(uniforms(seeds[i : i + 1], steps[i : i + 1], 8, 0)[0], together[i])
    assert len(set(together.flatten().tolist())) == together.numel()
    assert not torch.equal(uniforms(seeds, steps, 8, 1), together)


def test_numbers_are_spread_evenly_and_uncorrelated() -> None:
    steps = torch.arange(20_000)
    numbers = uniforms(torch.zeros_like(steps) + 1234, steps, 8, 0)
    counts = torch.histc(numbers, 50, 0, 1)
    expected = numbers.numel() / 50
    assert float(((counts - expected) ** 2 / expected).sum()) < 100  # chi-squared, 49 degrees
    assert float(torch.corrcoef(numbers.T).fill_diagonal_(0).abs().max()) < 0.04
    assert abs(float(torch.corrcoef(torch.stack([numbers[1:, 0], numbers[:-1, 0]]))[0, 1])) < 0.03


def test_draws_follow_the_distribution_and_never_take_an_impossible_entry() -> None:
    probabilities = torch.tensor([0.0, 0.5, 0.0, 0.3, 0.2, 0.0])
    numbers = uniforms(torch.tensor([1]), torch.tensor([2]), 60_000, 0)[0]
    drawn = draw(probabilities.expand(60_000, -1), numbers)
    share = torch.bincount(drawn, minlength=6) / 60_000
    assert torch.allclose(share, probabilities, atol=0.01)
    assert share[probabilities == 0].sum() == 0
    assert draw(probabilities, torch.tensor(0.0)) == 1


def test_min_p_drops_what_is_far_less_likely_than_the_best() -> None:
    logits = torch.tensor([[0.6, 0.3, 0.06, 0.04]]).log()
    kept = warp(logits, Sampling(temperature=1.0, top_k=0, top_p=1.0, min_p=0.2))
    assert torch.allclose(kept, torch.tensor([[2 / 3, 1 / 3, 0.0, 0.0]]))


def test_a_code_that_repeats_too_often_is_drawn_anew_at_every_temperature() -> None:
    logits = torch.zeros(1, 1, 40)
    logits[..., 3] = 4.0
    history = torch.full((1, 1, 7), 3)

    def drawn(redraw: float, settings: Sampling, stream_tokens: tuple[int, ...] = ()) -> int:
        numbers = (torch.tensor([[0.5]]), torch.tensor([[redraw]]))
        return int(sample(logits, history, SamplingRows.of([settings]), numbers, stream_tokens))

    for temperature in (0.0, 0.3, 1.0):
        settings = Sampling(temperature=temperature)
        assert len({drawn(u, settings) for u in (0.05, 0.35, 0.65, 0.95)}) > 1
    for off in (Sampling(ras_window=0), Sampling(ras_repeats=0), Sampling(ras_repeats=8)):
        assert drawn(0.9, off) == 3
    assert drawn(0.9, Sampling(), stream_tokens=(3,)) == 3
    assert drawn(0.9, Sampling(rules="original"), stream_tokens=(3,)) != 3


SETTINGS = st.builds(
    Sampling,
    temperature=st.sampled_from([0.0, 0.3, 1.0, 2.0]),
    top_k=st.sampled_from([0, 1, 5, 19, 20, 30]),
    top_p=st.sampled_from([0.1, 0.9, 1.0]),
    min_p=st.sampled_from([0.0, 0.2]),
    ras_window=st.sampled_from([0, 1, 3, 9]),
    ras_repeats=st.integers(0, 3),
    rules=st.sampled_from(get_args(Rules)),
)


@given(st.lists(SETTINGS, min_size=1, max_size=5), st.integers(0, 2**31))
def test_settings_of_one_request_do_not_reach_its_neighbours(
    settings: list[Sampling], seed: int
) -> None:
    generator = torch.Generator().manual_seed(seed)
    count, books, size = len(settings), 3, 20
    logits = torch.randn(count, books, size, generator=generator)
    history = torch.randint(-1, 4, (count, books, 9), generator=generator)
    numbers = tuple(torch.rand(count, books, generator=generator) for _ in range(2))
    together = sample(logits, history, SamplingRows.of(settings), numbers, (18, 19))
    for i, one in enumerate(settings):
        cut = slice(i, i + 1)
        parts = (numbers[0][cut], numbers[1][cut])
        alone = sample(logits[cut], history[cut], SamplingRows.of([one]), parts, (18, 19))
        assert torch.equal(alone[0], together[i])
        assert torch.equal(warp(logits[i], one), warp_rows(logits, SamplingRows.of(settings))[i])


@given(
    st.lists(st.sampled_from(RULES), min_size=1, max_size=4), st.integers(1, 8), st.integers(0, 999)
)
def test_clocks_run_together_as_they_run_alone(rules: list[str], books: int, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    alone = [DelayClock(books, 8, 9, rule) for rule in rules]
    together = DelayClocks.of(alone)
    for _ in range(20):
        logits = torch.randn(len(rules), books, 10, generator=generator)
        closing = torch.rand(len(rules), generator=generator) < 0.1
        together.close(closing)
        for clock, now in zip(alone, closing.tolist(), strict=True):
            if now and clock.rules == "guarded":
                clock.close()
        masked = torch.stack([c.mask(rows) for c, rows in zip(alone, logits, strict=True)])
        assert torch.equal(together.mask(logits.clone(), 8, 9), masked)
        drawn = masked.argmax(-1)
        columns, done = together.settle(drawn, 8, 9)
        each = torch.stack([c.settle(row) for c, row in zip(alone, drawn, strict=True)])
        assert torch.equal(columns, each)
        assert done.tolist() == [clock.done for clock in alone]
        assert together.ending.tolist() == [
            -1 if clock.ending is None else clock.ending for clock in alone
        ]


@given(st.integers(1, 8), st.integers(1, 20), st.integers(0, 2**31))
def test_a_guarded_clip_is_one_that_wrap_could_have_made(books: int, least: int, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    clock = DelayClock(books, 8, 9)
    columns = [torch.full((books,), 8)]
    while not clock.done and len(columns) < 200:
        logits = clock.mask(torch.randn(books, 10, generator=generator), least)
        columns.append(clock.settle(logits.argmax(-1)))
    if not clock.done:
        return
    frames = clock.frames
    assert frames >= least
    codes = unwrap(torch.stack(columns, dim=1))[:, :frames]
    assert int(codes.max()) < 8
    # The last column of a wrapped clip is all end-of-stream and need not be written.
    assert torch.equal(torch.stack(columns, dim=1), wrap(codes, 8, 9)[:, : len(columns)])
