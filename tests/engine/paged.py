"""A cache of tokens in place of keys and values: shows whether a table holds what it should."""

from __future__ import annotations

from collections.abc import Sequence

from faster_higgs.engine.kv_cache import PAGE, Table, chain


class Memory:
    """What was written to which page."""

    def __init__(self) -> None:
        self._cells: dict[tuple[int, int], int] = {}

    def write(self, table: Table, tokens: Sequence[int]) -> None:
        """Write the next positions of a table. Whoever keeps the books adds to its length."""
        for position, token in enumerate(tokens, table.length):
            page, place = divmod(position, PAGE)
            self._cells[table.pages[page], place] = token

    def read(self, table: Table) -> list[int]:
        """All that was written to a table's positions."""
        places = (divmod(position, PAGE) for position in range(table.length))
        return [self._cells[table.pages[page], place] for page, place in places]


def keys_of(tokens: Sequence[int]) -> list[bytes]:
    """The keys of the full pages of a prompt."""
    full = len(tokens) // PAGE * PAGE
    return chain(bytes(tokens[first : first + PAGE]) for first in range(0, full, PAGE))
