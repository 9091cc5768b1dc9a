"""Who owns which page of the cache, and which pages hold a prompt's beginning that others may read.

A page is free, in use by one table or several, or kept: nobody uses it, but it holds the positions
of a known prefix, until the page is needed for something else. Knows nothing of tensors; a page is
a number here.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass, field

from faster_higgs.config import PAGE


def pages_for(positions: int) -> int:
    """How many pages hold so many positions."""
    return -(-positions // PAGE)


def chain(parts: Iterable[bytes]) -> list[bytes]:
    """A key for each full page of a prompt; it depends on the page and on all before it."""
    keys, key = [], b""
    for part in parts:
        key = hashlib.blake2b(part, key=key, digest_size=32).digest()
        keys.append(key)
    return keys


@dataclass(eq=False)
class Table:
    """The pages of one sequence, in order. The first `shared` were written for another one."""

    pages: list[int] = field(default_factory=list)
    shared: int = 0
    length: int = 0  # positions written; those to come lie behind the shared pages


class Pages:
    """The pool. Nothing is promised to anyone: what `open` and `take` gave is there, until
    `release`.
    """

    def __init__(self, total: int) -> None:
        self.total = total
        self._users = [0] * total  # tables that hold the page
        self._free = list(reversed(range(total)))
        self._kept: dict[int, None] = {}  # in the order in which they fell out of use
        self._known: dict[Hashable, int] = {}  # key of a prefix -> its last page
        self._key: dict[int, Hashable] = {}  # the same, the other way round

    @property
    def free(self) -> int:
        """How many pages hold nothing."""
        return len(self._free)

    @property
    def kept(self) -> int:
        """How many pages hold a prefix that nobody uses at present."""
        return len(self._kept)

    def match(self, keys: Sequence[Hashable]) -> list[int]:
        """The pages of the longest known prefix."""
        pages: list[int] = []
        for key in keys:
            if key not in self._known:
                break
            pages.append(self._known[key])
        return pages

    def fits(
        self,
        keys: Sequence[Hashable],
        positions: int,
        spare: int = 0,
        without: Sequence[Table] = (),
    ) -> bool:
        """Whether `open` would succeed and leave `spare` pages, if these tables were released."""
        gone = Counter(page for table in without for page in table.pages)
        shared = self.match(keys)
        idle = self.free + self.kept + sum(self._users[page] == gone[page] for page in gone)
        waking = sum(self._users[page] == gone[page] for page in shared)
        return pages_for(positions) - len(shared) + spare <= idle - waking

    def open(self, keys: Sequence[Hashable], positions: int) -> Table | None:
        """A table with room for `positions`, beginning with the known prefix; None if too full."""
        pages = self.match(keys)
        table = Table(pages, shared=len(pages), length=len(pages) * PAGE)
        for page in pages:
            self._users[page] += 1
            self._kept.pop(page, None)
        if self.take(table, positions):
            return table
        self.release(table)
        return None

    def take(self, table: Table, positions: int) -> bool:
        """Make room for so many positions in all; if there is not enough, nothing changes."""
        missing = pages_for(positions) - len(table.pages)
        if missing > self.free + self.kept:
            return False
        for _ in range(missing):
            page = self._free.pop() if self._free else self._drop_oldest()
            self._users[page] = 1
            table.pages.append(page)
        return True

    def keep(self, table: Table, keys: Sequence[Hashable]) -> None:
        """Let later tables share the full pages of a prompt, as far as they are written."""
        full = table.pages[: table.length // PAGE]
        for key, page in zip(keys, full, strict=False):
            if key not in self._known:  # else another has written the same meanwhile
                self._known[key], self._key[page] = page, key

    def release(self, table: Table) -> None:
        """Give a table's pages back; what was kept of them stays while there is room."""
        # Last page first: a prefix without its beginning would be of no use.
        for page in reversed(table.pages):
            self._users[page] -= 1
            if not self._users[page]:
                self._rest(page)
        table.pages, table.shared, table.length = [], 0, 0

    def forget(self) -> None:
        """Drop the prefixes that nobody uses at present."""
        while self._kept:
            self._free.append(self._drop_oldest())

    def check(self, tables: Iterable[Table]) -> None:
        """Assert that the books agree with themselves and with all tables there are."""
        users: Counter[int] = Counter()
        for table in tables:
            assert len(set(table.pages)) == len(table.pages), "a page twice in a table"
            assert table.shared * PAGE <= table.length <= len(table.pages) * PAGE
            users.update(table.pages)
        assert self._users == [users[page] for page in range(self.total)], "a count is wrong"
        places = [*self._free, *self._kept, *users]
        assert sorted(places) == list(range(self.total)), "a page is lost, or in two places"
        assert {page: key for key, page in self._known.items()} == self._key
        assert len(self._known) == len(self._key) and self._kept.keys() <= self._key.keys()
        assert not self._key.keys() & set(self._free), "a free page passes for a prefix"

    def _rest(self, page: int) -> None:
        """A page that nobody uses any more."""
        if page in self._key:
            self._kept[page] = None
        else:
            self._free.append(page)

    def _drop_oldest(self) -> int:
        page = next(iter(self._kept))
        del self._kept[page], self._known[self._key.pop(page)]
        return page
