"""Every figure of the README is that of the newest result in its place, or can be computed."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import NamedTuple

import pytest

from faster_higgs.cli.precision import readme_table
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
SPEED = {  # by words of the column: the figure, and what it is multiplied with
    "frames a second": ("frames_per_s", 1),
    "transformers": ("rival_frames_per_s", 1),
    "ratio": ("ratio", 1),
    "share": ("floor_fraction", 100),
}
WORDS = {1: "one", 2: "two", 4: "four", 8: "eight"}


class Cell(NamedTuple):
    """One number of the table: what its row and its column say, and how it is written."""

    row: str
    column: str
    number: str


def cells(first: str = "measure") -> list[Cell]:
    """The numbers of the table whose first column has that name."""
    return list(_cells(first))


def _cells(first: str) -> Iterator[Cell]:
    table = README[README.index(f"| {first} |") :].split("\n\n")[0]
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


# --- how fast it decodes --------------------------------------------------------------------------

(ABOUT_SPEED,) = re.findall(r"^How fast it writes.*\n.*$", README, re.M)


def decoding(precision: str) -> dict:
    """The newest result of decoding with so many layers as the README says."""
    (layers,) = re.findall(r"(\d+) (?:of the 28 )?layers", ABOUT_SPEED)
    found = [
        json.loads(path.read_text())
        for path in (ROOT / "benchmarks/results").glob("cpu_decode_*.json")
    ]
    wanted = precision, int(layers)
    here = [result for result in found if (result["precision"], result["layers"]) == wanted]
    assert here, f"no result of {precision} with {layers} layers"
    return max(here, key=lambda result: result["date"])


@pytest.mark.parametrize("cell", cells("weights"), ids=lambda cell: f"{cell.row}, {cell.column}")
def test_a_figure_of_speed_is_the_newest_one(cell):
    key, times = next(found for words, found in SPEED.items() if words in cell.column)
    digits = len(cell.number.partition(".")[2])
    assert float(cell.number) == round(times * decoding(cell.row)[key], digits)


@pytest.mark.parametrize("precision", sorted({cell.row for cell in cells("weights")}))
def test_the_readme_says_what_the_speed_was_measured_with(precision):
    result = decoding(precision)
    rival = result["versions"]["transformers"].rpartition(".")[0]
    assert f"transformers {rival} " in ABOUT_SPEED
    assert f"{WORDS[result['machine']['cores']]} cores" in ABOUT_SPEED
    assert result["date"][:10] in ABOUT_SPEED and result["batch"] == 1


# --- what smaller weights cost --------------------------------------------------------------------

COST = {  # by words of the column
    "heard wrong": "wer",
    "alike": "similarity_within",
    "right voice": "voice_accuracy",
    "do not stop": "stop_failures",
    "KL": "mean_kl",
    "alone and among": "same_in_batch",
}


def smaller(row: str) -> dict:
    """What is known of pico with such weights."""
    results = ROOT / "evals/results"
    moved = json.loads((results / "quantisation.json").read_text())["ways"]
    if row == "full (bf16)":
        return newest() | moved["bf16"]
    heard = json.loads((results / f"quantised_{row.split(',')[0]}.json").read_text())
    return heard | moved[row]


@pytest.mark.parametrize(
    "cell", cells("pico's weights"), ids=lambda cell: f"{cell.row}, {cell.column}"
)
def test_a_figure_of_smaller_weights_is_the_newest_one(cell):
    key = next(found for words, found in COST.items() if words in cell.column)
    digits = len(cell.number.partition(".")[2])
    assert float(cell.number) == round(smaller(cell.row)[key], digits)


# --- what fits where ------------------------------------------------------------------------------


def test_the_table_of_memory_is_what_the_doctor_prints():
    assert "\n".join(readme_table()) in README, "copy what `higgs doctor --table` prints"
