"""`higgs doctor`: what it sees, what it says of it, and whether it knows the right model."""

from __future__ import annotations

import json
import re
from dataclasses import replace

import pytest

from faster_higgs import device
from faster_higgs.checkpoint.choice import Wish
from faster_higgs.checkpoint.plan import PUBLISHED as PUBLISHED_SIZE
from faster_higgs.checkpoint.plan import Size
from faster_higgs.cli import doctor, machine, verify
from faster_higgs.cli.machine import Machine
from faster_higgs.cli.verify import PUBLISHED, Comparison, Smoke, columns, compare
from faster_higgs.config import ModelConfig
from faster_higgs.device import Device
from faster_higgs.native import kernels
from faster_higgs.speech import Higgs
from faster_higgs.testing import FakeHiggs, tiny_config
from tests.project.source import ROOT

GB = 1_000_000_000
CPU = Device("cpu", "x", 30 * GB, 32 * GB)
HERE = Machine(
    "1", "3.11", "Linux", "2", "none", 2, (CPU,), "cache", 50 * GB, {"plot": True}, ("aplay",)
)
PICO = doctor.Speaker("pico", "codec", Size(tiny_config(), PUBLISHED_SIZE.codec), packaged=True)
ASKED = Wish(automatic=True)


def test_it_sees_this_machine():
    found = machine.look()
    assert found.python and found.torch and found.cores >= 1 and found.disk_free > 0
    cpu = found.devices[-1]
    assert cpu.name == "cpu" and cpu.total and cpu.free and 0 < cpu.free <= cpu.total


def test_the_extras_are_those_of_the_package():
    declared = re.findall(r"^(\w+) = \[", extras_of((ROOT / "pyproject.toml").read_text()), re.M)
    assert set(machine.EXTRAS) == set(declared) - {"dev"}


def extras_of(text):
    return text.split("[project.optional-dependencies]")[1].split("\n[")[0]


def test_it_tells_facts_and_verdicts(run, tiny):
    ended = run("doctor", tiny)
    assert ended.code == 0
    assert f"Model:        {tiny}" in ended.out and f"Codec:        {tiny / 'codec'}" in ended.out
    assert "The model of 0.1 M weights can speak on cpu: it needs " in ended.out
    assert f"Kernels:      {kernels.find().reason}\n" in ended.out
    assert "Ways to hold this model" in ended.out and "--precision auto takes full on" in ended.out


def test_it_tells_the_same_to_machines(run, tiny):
    told = json.loads(run("doctor", tiny, "--json").out)
    assert told["model"]["folder"] == str(tiny) and told["model"]["fault"] == ""
    assert told["verdicts"] and told["devices"][-1]["name"] == "cpu"
    assert told["model"]["weights"] > 50_000 and "size" not in told["model"]
    assert told["choice"] in told["plans"] or told["choice"]["fits"]


def test_it_judges_by_the_memory_that_is_given(run, tiny, monkeypatch):
    # What other tests left in this process is no part of the question.
    monkeypatch.setattr("faster_higgs.device._resident", lambda: 300_000_000)
    told = json.loads(run("doctor", "--json", "--max-memory", "5GB", "--device", "cpu").out)
    assert {plan["room"] for plan in told["plans"]} == {5 * GB}
    assert told["choice"]["precision"] == "int4" and "would need" in told["reason"]
    large = json.loads(run("doctor", "--json", "--max-memory", "900GB", "--device", "cpu").out)
    assert large["choice"]["precision"] == "full" and large["choice"]["fits"]
    short = json.loads(run("doctor", tiny, "--json", "--context", "100").out)
    assert {plan["positions"] for plan in short["plans"]} == {100}
    ended = run("doctor", "--max-memory", "much")
    assert ended.code == 2 and "--max-memory is 'much'; write a size such as 8GB" in ended.error
    assert "--context is 0; use 1 or more." in run("doctor", "--context", "0").error


def test_the_table_of_what_runs_where_needs_no_model(run, monkeypatch, tmp_path):
    monkeypatch.setattr("faster_higgs.checkpoint.files.PACKAGED", tmp_path)
    ended = run("doctor", "--table")
    assert ended.code == 0 and ended.out.startswith("| memory |")


def test_without_a_model_it_says_so_and_fails(run, monkeypatch, tmp_path):
    monkeypatch.setattr("faster_higgs.checkpoint.files.PACKAGED", tmp_path)
    ended = run("doctor")
    assert ended.code == 1 and "No model is on this machine." in ended.out


def test_a_model_without_its_codec_cannot_speak(run, tiny, tmp_path):
    for name in ("config.json", "model.safetensors"):
        (tmp_path / name).write_bytes((tiny / name).read_bytes())
    ended = run("doctor", tmp_path)
    assert ended.code == 1 and "has no codec/ folder" in ended.out


def verdicts(**changes):
    here = replace(HERE, **changes)
    return " ".join(doctor._verdicts(here, PICO, here.devices, ASKED))


def test_the_full_model_is_judged_by_the_memory_that_is_free():
    assert "The full model fits on cpu" in verdicts()
    assert "fits on cpu;" in verdicts()
    small = replace(CPU, free=8 * GB)
    assert "fits on cpu with --precision int8;" in verdicts(devices=(small,))
    card = Device("cuda:0", "card", 13 * GB, 16 * GB)
    assert "The full model fits on cuda:0" in verdicts(devices=(card, small))
    tiny = replace(CPU, free=2 * GB)
    assert "The full model does not fit here." in verdicts(devices=(tiny,))


def test_every_lack_is_one_sentence():
    assert "Pico, the small model of this package, can speak on cpu: it needs " in verdicts()
    assert "are free: enough" in verdicts() and "are free: not enough" in verdicts(disk_free=GB)
    assert "faster-higgs[serve]" in verdicts(extras={"serve": False})
    assert "--play cannot be used" in verdicts(players=()) and "--play" not in verdicts()


def test_a_limit_of_the_container_counts(monkeypatch):
    numbers = {"/sys/fs/cgroup/memory.max": 1000, "/sys/fs/cgroup/memory.current": 400}
    monkeypatch.setattr(device, "_number", numbers.get)
    monkeypatch.setattr(device, "_droppable", lambda: 0)
    assert device.memory() == (600, 1000)
    monkeypatch.setattr(device, "_droppable", lambda: 300)  # files that it has read
    assert device.memory() == (900, 1000)


# --- is it the right model? -----------------------------------------------------------------------


@pytest.fixture(scope="module")
def smoke(tiny):
    """What the tiny model answers, as if it had been published."""
    with Higgs.load(tiny, device="cpu") as higgs:
        found = columns(higgs, PUBLISHED.text, 7)
        config = higgs.config
    shape = (config.vocab_size, config.hidden_size, config.num_hidden_layers, config.num_codebooks)
    return Smoke(PUBLISHED.text, tuple(map(tuple, found)), config.audio_stream_bos_id, shape)


def test_the_columns_begin_one_codebook_after_another(smoke):
    for i, column in enumerate(smoke.columns):
        assert [code == smoke.bos for code in column] == [k >= i for k in range(8)]
    for i, column in enumerate(PUBLISHED.columns):
        assert [code == PUBLISHED.bos for code in column] == [k >= i for k in range(8)]


@pytest.fixture
def verified(run, tiny, monkeypatch):
    """`higgs doctor --verify` of the tiny model beside what was published."""

    def call(published, *arguments):
        monkeypatch.setattr(verify, "PUBLISHED", published)
        return run("doctor", tiny, "--verify", "--device", "cpu", *arguments)

    return call


def changed(smoke, column, by=1):
    """The same with other codes from a column on."""
    rows = [list(row) for row in smoke.columns]
    for row in rows[column:]:
        row[0] = (row[0] + by) % smoke.bos
    return replace(smoke, columns=tuple(map(tuple, rows)))


def test_the_right_model_is_recognised(verified, smoke):
    ended = verified(smoke)
    assert ended == (0, "This is the published model: all 21 codes are equal.\n", "")


def test_a_wrong_model_is_recognised(verified, smoke):
    ended = verified(changed(smoke, 1))
    assert ended.code == 1
    assert (
        "not the published model: 6 of 21 codes differ, the first of them in column 1" in ended.out
    )


def test_other_numerics_are_told_from_another_model(verified, smoke):
    ended = verified(changed(smoke, 5))
    assert ended.code == 0 and "in another precision: 2 of 21 codes differ" in ended.out
    told = json.loads(verified(changed(smoke, 5), "--json").out)
    assert told["right"] is True and told["differing"] == 2 and told["first_difference"] == 5


def test_a_model_of_another_shape_has_nothing_to_be_compared_with(run, tiny):
    ended = run("doctor", tiny, "--verify")
    assert ended.code == 0 and "There are no published values" in ended.out


def test_only_the_published_shape_is_compared():
    shape = {"vocab_size": 128_256, "hidden_size": 3072, "num_hidden_layers": 28}
    published: ModelConfig = replace(tiny_config(), **shape)
    assert PUBLISHED.fits(published)
    assert not PUBLISHED.fits(replace(published, num_hidden_layers=16))


def test_comparing_counts_codes_and_not_what_comes_before_them():
    with FakeHiggs() as higgs:
        right = Smoke(
            PUBLISHED.text, tuple(map(tuple, columns(higgs, PUBLISHED.text, 7))), 1024, (0,) * 4
        )
        assert compare(higgs, right) == Comparison(21, 0, None)
