"""Where a model runs: what `auto` chooses is what `higgs doctor` names."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from faster_higgs import device
from faster_higgs.cli import doctor
from faster_higgs.device import Device, choose_device, devices, needed
from faster_higgs.errors import SettingError
from tests.cli.test_doctor import CPU, GB, HERE

FULL = doctor.FULL_WEIGHTS
CARD = Device("cuda:0", "card", 20 * GB, 24 * GB)
SMALL = Device("cuda:0", "card", 7 * GB, 8 * GB)
SECOND = Device("cuda:1", "card", 20 * GB, 24 * GB)
APPLE = Device("mps", "Apple", None, 16 * GB)
SMALL_APPLE = Device("mps", "Apple", None, 8 * GB)


@pytest.fixture
def machine(monkeypatch):
    """Gives this machine other devices."""

    def put(*found):
        monkeypatch.setattr(device, "devices", lambda: iter(found))
        monkeypatch.setattr(device, "_present", lambda: {"cpu": 1, "cuda": 2, "mps": 1})
        return replace(HERE, devices=found)

    return put


@pytest.mark.parametrize(
    ("found", "name"),
    [
        ((CPU,), "cpu"),
        ((CARD, CPU), "cuda:0"),
        ((SMALL, CPU), "cpu"),
        ((SMALL, SECOND, CPU), "cuda:1"),
        ((APPLE, CPU), "mps"),
        ((SMALL_APPLE, CPU), "cpu"),
    ],
)
def test_auto_takes_the_device_that_the_doctor_names(machine, found, name):
    here = machine(*found)
    told = doctor._speaks(here, doctor.Speaker("model", "codec", FULL))
    assert str(choose_device("auto", FULL).device) == name
    assert told.endswith(f"can speak on {name}.")


def test_where_nothing_has_room_the_doctor_says_so_and_auto_tries_the_processor(machine):
    here = machine(SMALL, replace(CPU, free=8 * GB))
    assert "does not fit" in doctor._speaks(here, doctor.Speaker("model", "codec", FULL))
    assert choose_device("auto", FULL).device.type == "cpu"


def test_a_device_that_is_named_is_taken_whatever_its_room(machine):
    machine(SMALL, replace(CPU, free=8 * GB))
    for name in ("cuda:0", "cuda", "cpu", "mps"):
        assert str(choose_device(name, FULL).device) == name


def test_without_a_size_auto_takes_the_first_device(machine):
    machine(SMALL, CPU)
    assert str(choose_device("auto").device) == "cuda:0"


def test_later_devices_are_not_even_asked(monkeypatch):
    def found():
        yield CARD
        pytest.fail("the second device was asked")

    monkeypatch.setattr(device, "_present", lambda: {"cuda": 1})
    monkeypatch.setattr(device, "devices", found)
    assert choose_device("auto", FULL) == (torch.device("cuda:0"), torch.bfloat16)


def test_a_card_that_does_not_answer_has_no_room(monkeypatch):
    def full(index):
        raise RuntimeError("out of memory")

    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    monkeypatch.setattr(torch.cuda, "mem_get_info", full)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda index: "card")
    card, *_, cpu = devices()
    assert (card, cpu.name) == (Device("cuda:0", "card", 0, None), "cpu")
    assert choose_device("auto", 1000).device.type == "cpu"


def test_precision_and_room_go_together():
    assert choose_device("cpu") == (torch.device("cpu"), torch.float32)
    assert needed(GB, CPU) == 5.5 * GB and needed(GB, CARD) == 3.5 * GB
    assert needed(1000, CPU) == 8000, "a small model brings little along"


def test_a_device_that_is_not_here_is_refused(monkeypatch):
    monkeypatch.setattr(device, "_present", lambda: {"cpu": 1, "cuda": 1, "mps": 0})
    with pytest.raises(SettingError, match="has 1 of that kind"):
        choose_device("cuda:1")
    with pytest.raises(SettingError, match="No MPS device is at hand"):
        choose_device("mps")
    for name in ("tpu", "meta", "cuda:x"):
        with pytest.raises(SettingError, match="use auto, cpu, cuda, cuda:N or mps"):
            choose_device(name)
