"""Counts and lengths of time as people write them."""

from __future__ import annotations


def counted(number: int, thing: str) -> str:
    """So many of a thing whose plural ends in s: "1 clip", "2,000 clips"."""
    return f"{number:,} {thing}{'' if number == 1 else 's'}"


def lasting(seconds: float) -> str:
    """In the unit that suits it."""
    if seconds < 120:
        return f"{seconds:.1f} s"
    return f"{seconds / 60:.1f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"
