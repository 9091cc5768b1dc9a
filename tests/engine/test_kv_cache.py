"""Pages are never lost, never given twice, and hold what their tables were told to hold."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from faster_higgs.engine.kv_cache import PAGE, Pages, Table, chain, pages_for
from tests.engine.paged import Memory, keys_of

TRACE = st.lists(
    st.tuples(
        st.sampled_from(["open", "open", "write", "write", "grow", "release", "forget"]),
        st.integers(0, 2),  # the voice that a prompt begins with, or one of the tables
        st.integers(1, 70),  # positions of the beginning, or to be added
        st.integers(0, 20),  # positions of the prompt's own text
    ),
    max_size=30,
)


class Books:
    """Tables over a small pool, and what each should contain."""

    def __init__(self, total: int) -> None:
        self.pages = Pages(total)
        self.memory = Memory()
        self.prompts: dict[Table, list[int]] = {}
        self.written: dict[Table, list[int]] = {}

    def act(self, action: str, which: int, many: int, own: int) -> None:
        tables = list(self.prompts)
        if action == "forget":
            self.pages.forget()
        elif action == "open":
            self.open([which] * many + [len(tables)] * own)
        elif tables:
            getattr(self, action)(tables[which % len(tables)], many)

    def open(self, prompt: list[int]) -> Table | None:
        keys = keys_of(prompt)[: (len(prompt) - 1) // PAGE]
        fits = self.pages.fits(keys, len(prompt))
        table = self.pages.open(keys, len(prompt))
        assert fits == (table is not None)
        if table is not None:
            self.prompts[table], self.written[table] = prompt, prompt[: table.length]
        return table

    def write(self, table: Table, many: int) -> None:
        room = len(table.pages) * PAGE - table.length
        content = self.prompts[table] + [99] * room
        tokens = content[table.length :][: min(many, room)]
        assert not tokens or table.length >= table.shared * PAGE
        self.memory.write(table, tokens)
        table.length += len(tokens)
        self.written[table] += tokens
        self.pages.keep(table, keys_of(self.prompts[table]))

    def grow(self, table: Table, many: int) -> None:
        before, free = list(table.pages), self.pages.free + self.pages.kept
        positions = len(table.pages) * PAGE + many
        if self.pages.take(table, positions):
            assert table.pages[: len(before)] == before
            assert len(table.pages) == pages_for(positions)
        else:
            assert table.pages == before
            assert pages_for(many) > free == self.pages.free + self.pages.kept

    def release(self, table: Table, _: int = 0) -> None:
        self.pages.release(table)
        assert not table.pages and not table.length
        del self.prompts[table], self.written[table]

    def check(self) -> None:
        self.pages.check(self.prompts)
        for table, tokens in self.written.items():
            assert self.memory.read(table) == tokens


@settings(max_examples=600, deadline=None)
@given(st.integers(1, 12), TRACE)
def test_whatever_happens_each_table_holds_its_own_and_no_page_is_lost(total, trace):
    books = Books(total)
    for action in trace:
        books.act(*action)
        books.check()
    for table in list(books.prompts):
        books.release(table)
    books.pages.forget()
    books.check()
    assert (books.pages.free, books.pages.kept) == (total, 0)


@settings(max_examples=300, deadline=None)
@given(st.integers(1, 8), TRACE, st.integers(1, 70), st.integers(0, 3), st.integers(0, 3))
def test_what_is_said_to_fit_when_others_are_gone_fits_when_they_are_gone(
    total, trace, length, spare, leavers
):
    books = Books(total)
    for action in trace:
        books.act(*action)
    prompt = [0] * length
    keys = keys_of(prompt)
    leaving = list(books.prompts)[:leavers]
    promised = books.pages.fits(keys, length, spare, without=leaving)
    for table in leaving:
        books.release(table)
    table = books.pages.open(keys, length)
    rest = books.pages.free + books.pages.kept
    assert promised == (table is not None and rest >= spare)


def read(books: Books, prompt: list[int]) -> Table:
    """A table with the whole prompt in it."""
    table = books.open(prompt)
    assert table is not None
    books.write(table, len(prompt))
    return table


def test_the_second_prompt_with_the_same_beginning_shares_its_full_pages():
    books = Books(10)
    first = read(books, [1] * 40 + [2] * 20)
    second = books.open([1] * 40 + [3] * 20)
    assert second is not None
    assert second.pages[:2] == first.pages[:2] and not set(second.pages[2:]) & set(first.pages)
    assert (second.shared, second.length) == (2, 2 * PAGE)
    assert books.pages.free == 10 - 4 - 2


def test_a_prefix_outlives_the_table_that_wrote_it():
    books = Books(4)
    books.release(read(books, [1] * 40))
    assert (books.pages.kept, books.pages.free) == (2, 2)
    again = books.open([1] * 40)
    assert again is not None and again.shared == 2


def test_only_written_pages_are_shared():
    books = Books(8)
    table = books.open([1] * 40)
    assert table is not None
    for written, known in ((15, 0), (1, 1), (15, 1), (1, 2)):
        books.write(table, written)
        assert len(books.pages.match(keys_of([1] * 40))) == known


def test_the_prefix_that_was_not_used_for_longest_goes_first_and_from_its_end():
    books = Books(6)
    for voice in (1, 2, 1):  # 1 is older, but used again
        books.release(read(books, [voice] * (2 * PAGE + 1)))
    known = lambda voice: len(books.pages.match(keys_of([voice] * 2 * PAGE)))  # noqa: E731
    left = []
    table = Table()
    for pages in range(3, 7):
        assert books.pages.take(table, pages * PAGE)
        left.append((known(1), known(2)))
    assert left == [(2, 1), (2, 0), (1, 0), (0, 0)]


def test_keys_tell_what_a_page_holds_and_all_that_stands_before_it():
    assert chain([b"a", b"b"]) == chain([b"a", b"b", b"c"])[:2]
    keys = [*chain([b"a", b"b"]), *chain([b"b", b"a"]), *chain([b"ab"])]
    assert len(set(keys)) == len(keys)
