"""Sizes as people write them, and tables of what runs where."""

from __future__ import annotations

import json
import re

import pytest

from faster_higgs.checkpoint.choice import LADDER, Wish, plans
from faster_higgs.checkpoint.plan import PUBLISHED, Held
from faster_higgs.cli.precision import (
    CARDS,
    PROCESSORS,
    bytes_of,
    held_of,
    length,
    outlook,
    readme_table,
    rows,
    to_json,
)
from faster_higgs.device import Device
from faster_higgs.errors import SettingError

GB = 1_000_000_000
CPU = Device("cpu", "x", 7 * GB, 8 * GB)
CARD = Device("cuda:0", "card", 9 * GB, 10 * GB, host=16 * GB)


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("8GB", 8 * GB),
        ("8 gb", 8 * GB),
        ("7.5GiB", 15 * 2**29),
        ("6000MB", 6 * GB),
        ("512MiB", 2**29),
        ("0.5TB", 500 * GB),
    ],
)
def test_a_size_is_read(text, size):
    assert bytes_of(text, "--max-memory") == size


@pytest.mark.parametrize("text", ["", "8", "GB", "-8GB", "0GB", "8XB", "1e3GB", "nan GB", "8GB 8"])
def test_nonsense_is_refused_in_a_sentence(text):
    with pytest.raises(SettingError, match=r"--max-memory is .*; write a size such as 8GB"):
        bytes_of(text, "--max-memory")


@pytest.mark.parametrize(
    ("precision", "text", "held"),
    [
        (None, None, None),
        ("full", None, Held()),
        ("int8", None, Held("int8", "int8")),
        ("int4", "full", Held("int4", None)),
        ("full", "host", Held(None, "host")),
        (None, "int4", Held(None, "int4")),
    ],
)
def test_how_weights_are_held_by_the_names_of_the_flags(precision, text, held):
    assert held_of(precision, text) == held


@pytest.mark.parametrize("held", LADDER)
def test_the_flags_of_a_plan_ask_for_that_plan(held):
    given = held.flags.split()[1::2]
    assert held_of(given[0], given[1] if len(given) > 1 else None) == held


def test_plans_stand_below_each_other():
    table = rows([*plans(PUBLISHED, CARD, Wish(automatic=True, context=1000))])
    assert len(table) == 1 + len(LADDER)
    assert len({row.index("GB") for row in table[1:]}) <= 2
    assert any(row.endswith("too large") for row in table)
    assert any("fits; 5.6 GB of main memory besides" in row for row in table)
    assert [row.endswith("speed not measured") for row in table[2:5]] == [False, True, True]


def test_an_outlook_has_the_choice_and_its_reason():
    seen = outlook(None, [CPU], Wish(automatic=True))
    assert seen.choice and seen.lines()[-1] == f"--precision auto takes {seen.reason}."
    assert "the full model, with 8,192 positions" in seen.lines()[0]
    none = outlook(None, [CPU], Wish(automatic=True, memory=GB))
    assert none.choice is None and none.lines()[-1] == none.reason
    told = json.loads(json.dumps(none.to_json()))
    assert told["choice"] is None and not any(plan["fits"] for plan in told["plans"])


def test_a_plan_for_machines_adds_up():
    (plan,) = plans(PUBLISHED, CPU, Wish(Held("int4", "int8"), context=1000))
    told = to_json(plan)
    parts = {name: size for name, size in told["needs"].items() if name != "total"}
    assert sum(parts.values()) == told["needs"]["total"]
    assert told["flags"] == "--precision int4 --text-precision int8"


def test_the_table_of_the_readme_has_a_row_for_every_memory():
    head, _, *table = [line.split("|")[1:-1] for line in readme_table() if line.startswith("|")]
    assert len(table) == len(CARDS) + len(PROCESSORS)
    assert {len(line) for line in table} == {len(head)}
    at_once = [int(line[-1]) for line in table]
    assert at_once[: len(CARDS)] != sorted(at_once[: len(CARDS)], reverse=True)
    for line in table:
        memory = int(re.findall(r"(\d+) GB", line[0])[0])
        needs = float(re.findall(r"([\d.]+) GB", line[2])[0])
        assert needs < memory * 1.074
    assert any(line.startswith("Estimates") for line in readme_table())


def test_positions_are_a_length_of_sound():
    assert length(1024) == "0 min 41 s" and length(8192) == "5 min 28 s"
