"""Does a clip go in circles? Knows nothing of models; codes are judged by their repetition alone.

A model that fails to stop writes silence or loops: the same few columns again and again. Real
speech never repeats the two coarsest codebooks exactly for long.
"""

from __future__ import annotations

from faster_higgs.delay import Columns

LONGEST_PERIOD = 12  # columns: half a second
PATIENCE = 50  # columns that must repeat: two seconds
LOOKED_AT = 2  # codebooks; the finer ones carry noise that need not repeat


def goes_in_circles(columns: Columns) -> bool:
    """Whether the last `PATIENCE` columns repeat one stretch of at most `LONGEST_PERIOD`."""
    if len(columns) < PATIENCE + LONGEST_PERIOD or len(columns) % 5:
        return False
    recent = columns.last(PATIENCE + LONGEST_PERIOD)[:, :LOOKED_AT].tolist()
    return any(
        recent[-1] == recent[-1 - period]  # else nothing more need be compared
        and recent[-PATIENCE:] == recent[-PATIENCE - period : -period]
        for period in range(1, LONGEST_PERIOD + 1)
    )
