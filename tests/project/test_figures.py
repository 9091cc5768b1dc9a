"""The figures of pico in the README are those of the newest result in evals/results."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import NamedTuple

import pytest

from tests.project.source import ROOT

README = (ROOT / "README.md").read_text(encoding="utf-8")
KINDS = {"codec": "codec_", "clone": "clone_", "dialogue": "dialogue_"}  # by a word of the row
FIGURES = {  # by words of the row
    "recogniser hears wrong": "wer",
    "codec alone": "wer",
    "recognised as": "voice_accuracy",
    "do not stop": "stop_failures",
    "compute seconds": "rtf",
    "cold start": "cold_start_s",
}
WORDS = {1: "one", 2: "two", 4: "four", 8: "eight"}


class Cell(NamedTuple):
    """One number of the table: what its row and its column say, and how it is written."""

    row: str
    column: str
    number: str


def cells() -> list[Cell]:
    return list(_cells())


def _cells() -> Iterator[Cell]:
    table = README[README.index("| measure |") :].split("\n\n")[0]
    head, _, *rows = re.findall(r"^\|(.*)\|$", table, re.M)
    columns = [name.strip() for name in head.split("|")]
    for row in rows:
        label, *found = (cell.strip() for cell in row.split("|"))
        for column, cell in zip(columns[1:], found, strict=True):
            if number := re.search(r"[\d.]*\d", cell):
                yield Cell(label, column, number[0])


def newest() -> dict:
    results = [json.loads(path.read_text()) for path in (ROOT / "evals/results").glob("pico*.json")]
    return max(results, key=lambda result: result["date"])


def measured(cell: Cell) -> float:
    """What the newest result says of a cell."""
    kind = next((prefix for word, prefix in KINDS.items() if word in cell.row), "")
    key = next((name for words, name in FIGURES.items() if words in cell.row), None)
    assert key, f"teach FIGURES which figure '{cell.row}' is"
    result = newest()
    if "synthesiser" in cell.column:
        return result[f"teacher_{key}"]
    if cell.column != "pico":  # the limit
        return next(gate["must"] for gate in result["gates"] if gate["key"] == kind + key)
    return result[kind + key]


def test_the_readme_has_the_table():
    assert len(cells()) >= 6


@pytest.mark.parametrize("cell", cells(), ids=lambda cell: f"{cell.row}, {cell.column}")
def test_a_figure_of_the_readme_is_the_newest_one(cell):
    digits = len(cell.number.partition(".")[2])
    assert float(cell.number) == round(measured(cell), digits)


def test_the_readme_says_what_they_were_measured_with():
    result = newest()
    (about,) = re.findall(r"^How good pico is.*$", README, re.M)
    assert f"{result['sentences']} sentences" in about
    assert f"{result['machine']['cores']}-core" in about
    assert f"torch {result['versions']['torch'].partition('+')[0]}" in about
    assert result["date"][:10] in about


def test_the_readme_counts_the_threads():
    (count,) = re.findall(r"(\w+) threads?\b", README)
    threads = newest()["threads"]
    assert count in (str(threads), WORDS.get(threads)), f"it was measured with {threads} threads"
