"""Where a set of parity vectors lies. Knows nothing of what is in them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

COPY = Path(__file__).parent / "data"
PARTS = ("lm", "codec")


def vectors(named: str | None, stands: Sequence[Path]) -> Path:
    """The set that was named, else the copy in the repository.

    A relative name counts from the first of `stands` that has it. Raises pytest.UsageError.
    """
    if not named:
        return COPY
    places = [stand / named for stand in stands]
    for place in places:
        if all((place / part).is_dir() for part in PARTS):
            return place.resolve()
    looked = ", ".join(str(place) for place in dict.fromkeys(places))
    raise pytest.UsageError(
        f"HIGGS_PARITY_DIR is '{named}', but there are no folders lm and codec in {looked}."
    )
