"""The package as the project tests see it: its files, and what each one imports."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "src" / "faster_higgs"


class Import(NamedTuple):
    """One imported module, as written: `from a.b import c` gives a.b.c and names no difference."""

    file: str
    line: int
    module: str
    names: tuple[str, ...]
    at_top: bool  # runs when the file is imported

    @property
    def head(self) -> str:
        return self.module.split(".")[0]


@cache
def files() -> list[Path]:
    """Every Python file of the package, by its path inside it."""
    return sorted(path.relative_to(PACKAGE) for path in PACKAGE.rglob("*.py"))


@cache
def tree(file: Path) -> ast.Module:
    return ast.parse((PACKAGE / file).read_text(encoding="utf-8"))


def part(file: Path) -> str:
    """Which part of the house a file belongs to: its folder, or its own name at the top."""
    return file.parts[0] if len(file.parts) > 1 else file.stem


def imports(file: Path) -> Iterator[Import]:
    for found, at_top in _walk(tree(file), at_top=True):
        if isinstance(found, ast.ImportFrom):
            names = tuple(alias.name for alias in found.names)
            yield Import(file.as_posix(), found.lineno, found.module or "", names, at_top)
        else:
            for alias in found.names:
                yield Import(file.as_posix(), found.lineno, alias.name, (), at_top)


def _walk(node: ast.AST, at_top: bool) -> Iterator[tuple[ast.Import | ast.ImportFrom, bool]]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.Import | ast.ImportFrom):
            yield child, at_top
        else:
            later = isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef)
            yield from _walk(child, at_top and not later and not _only_for_types(child))


def _only_for_types(node: ast.AST) -> bool:
    """An `if TYPE_CHECKING:` block: read by the type checker, never run."""
    return (
        isinstance(node, ast.If)
        and isinstance(node.test, ast.Name)
        and node.test.id == "TYPE_CHECKING"
    )
