"""What a table of tensor names is, and how stored names and ours are matched through it.

Knows no table itself: the language model's are in layouts.py, the codec's in codec_layouts.py.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from faster_higgs.errors import CheckpointError

Combine = Callable[[Sequence[Tensor]], Tensor]

_WILDCARDS = {"{n}": r"(\d+)", "{m}": r"(\d+)", "{k}": r"(\d+)", "{rest}": r"(.+)"}


@dataclass(frozen=True)
class Merge:
    """Stored tensors that are pieces of one: names in `pieces` become one name in `whole`.

    Both are endings of names. `combine` sees the pieces in that order; it is also run on the
    meta device to learn the shape.
    """

    pieces: tuple[str, ...]
    whole: str
    combine: Combine


@dataclass(frozen=True)
class Layout:
    """One published way of naming tensors. Data only; nothing is read here.

    `names` pairs a stored name with ours; {n}, {m}, {k} stand for numbers and {rest} for anything,
    in the same order on both sides. `also` holds spellings that are read but never written.
    `prefix` is stripped as often as it occurs. Stored names that match one of `ignored` may be left
    over. A file has this layout if every pattern of `marks` matches one of its stripped names.
    """

    name: str
    kind: str
    marks: tuple[str, ...]
    names: tuple[tuple[str, str], ...]
    also: tuple[tuple[str, str], ...] = ()
    merges: tuple[Merge, ...] = ()
    ignored: tuple[str, ...] = ()
    prefix: str = "model."

    def ours(self, stored: str) -> str | None:
        """Our name of a stored name without prefix and pieces; None if it is not in the table."""
        return _translate(self._reading, stored)

    def stored(self, ours: str) -> str:
        """The published name of one of our tensors."""
        name = _translate(self._writing, ours)
        assert name is not None, f"{ours} is not in the {self.name} table of the {self.kind}"
        return name

    def strip(self, stored: str) -> str:
        while self.prefix and stored.startswith(self.prefix):
            stored = stored.removeprefix(self.prefix)
        return stored

    def fits(self, stored: Iterable[str]) -> bool:
        names = [self.strip(name) for name in stored]
        return all(any(re.search(mark, name) for name in names) for mark in self.marks)

    def may_ignore(self, stored: str) -> bool:
        return any(re.search(pattern, stored) for pattern in self.ignored)

    @cached_property
    def _reading(self) -> list[tuple[re.Pattern[str], str]]:
        pairs = [(self.strip(stored), ours) for stored, ours in (*self.names, *self.also)]
        return [_compiled(stored, ours) for stored, ours in pairs]

    @cached_property
    def _writing(self) -> list[tuple[re.Pattern[str], str]]:
        return [_compiled(ours, stored) for stored, ours in self.names]


@dataclass(frozen=True)
class Recipe:
    """Where one of our tensors comes from: one stored tensor, or several that are combined."""

    sources: tuple[str, ...]
    combine: Combine

    def shape(self, shapes: dict[str, tuple[int, ...]]) -> tuple[int, ...]:
        pieces = [torch.empty(shapes[name], device="meta") for name in self.sources]
        return tuple(self.combine(pieces).shape)


@dataclass(frozen=True)
class Matched:
    """Recipes by our name, and the stored names no recipe uses."""

    recipes: dict[str, Recipe]
    leftovers: list[str]


def match(layout: Layout, stored: Iterable[str]) -> Matched:
    """Give every stored tensor its place. Two spellings of one name are fine if they agree."""
    whole: dict[str, list[Recipe]] = {}
    for name, recipe in _merged(layout, list(stored)):
        whole.setdefault(layout.ours(name) or f"?{name}", []).append(recipe)
    known = {ours: _agreed(found) for ours, found in whole.items() if not ours.startswith("?")}
    unknown = [found for ours, found in whole.items() if ours.startswith("?")]
    leftovers = [source for found in unknown for recipe in found for source in recipe.sources]
    return Matched(known, sorted(name for name in leftovers if not layout.may_ignore(name)))


def _merged(layout: Layout, stored: list[str]) -> list[tuple[str, Recipe]]:
    """Stripped whole names with the stored tensors they consist of."""
    by_stripped = {layout.strip(name): name for name in stored}
    found = []
    for merge in layout.merges:
        for name in list(by_stripped):
            if not name.endswith(merge.pieces[0]):
                continue
            stem = name.removesuffix(merge.pieces[0])
            pieces = [stem + piece for piece in merge.pieces]
            if all(piece in by_stripped for piece in pieces):
                sources = tuple(by_stripped.pop(piece) for piece in pieces)
                found.append((stem + merge.whole, Recipe(sources, merge.combine)))
    return found + [(name, Recipe((source,), only)) for name, source in by_stripped.items()]


def _agreed(recipes: list[Recipe]) -> Recipe:
    if len(recipes) == 1:
        return recipes[0]
    sources = tuple(source for recipe in recipes for source in recipe.sources)

    def combine(tensors: Sequence[Tensor]) -> Tensor:
        first, *others = tensors
        for other in others:
            if first.shape != other.shape or not (first.is_meta or torch.equal(first, other)):
                raise CheckpointError(
                    f"The tensors {' and '.join(sources)} are two names of one weight but differ; "
                    "remove the one that is wrong."
                )
        return first

    return Recipe(sources, combine)


def only(tensors: Sequence[Tensor]) -> Tensor:
    """The combination of one tensor: itself."""
    (tensor,) = tensors
    return tensor


def stacked(tensors: Sequence[Tensor]) -> Tensor:
    """Rows of the first piece, then those of the next."""
    return torch.cat(list(tensors))


def _translate(table: list[tuple[re.Pattern[str], str]], name: str) -> str | None:
    for pattern, template in table:
        if found := pattern.fullmatch(name):
            return template.format(*found.groups())
    return None


def _compiled(source: str, target: str) -> tuple[re.Pattern[str], str]:
    """A pattern for `source` and a format string for `target`, wildcards in order."""
    pattern = re.escape(source)
    for wildcard, group in _WILDCARDS.items():
        pattern = pattern.replace(re.escape(wildcard), group)
        target = target.replace(wildcard, "{}")
    return re.compile(pattern), target
