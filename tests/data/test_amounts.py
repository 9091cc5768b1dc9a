"""Counts and lengths of time are written as people write them."""

from __future__ import annotations

import pytest

from faster_higgs.data.amounts import counted, lasting


def test_one_or_several():
    assert [counted(n, "clip") for n in (0, 1, 2, 2000)] == [
        *("0 clips", "1 clip", "2 clips", "2,000 clips"),
    ]


@pytest.mark.parametrize(
    ("seconds", "said"), [(0, "0.0 s"), (119.9, "119.9 s"), (120, "2.0 min"), (7200, "2.0 h")]
)
def test_time_has_the_unit_that_suits_it(seconds, said):
    assert lasting(seconds) == said
