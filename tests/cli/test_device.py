"""Where a model runs: what `auto` means, and what a device's name means."""

from __future__ import annotations

import pytest
import torch

from faster_higgs import device
from faster_higgs.checkpoint.choice import Wish, choose
from faster_higgs.checkpoint.plan import PUBLISHED
from faster_higgs.cli import doctor
from faster_higgs.device import CUDA_CONTEXT, PROCESS, Device, devices, named
from faster_higgs.errors import SettingError
from tests.cli.test_doctor import CPU, GB

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
        return found

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
    told = doctor._speaks(doctor.Speaker("model", "codec", PUBLISHED), here, Wish(automatic=True))
    assert choose(PUBLISHED, named("auto"), Wish()).device == name
    assert f"can speak on {name}: it needs " in told


def test_where_nothing_has_room_the_doctor_says_what_would_fit(machine):
    here = machine(SMALL)
    told = doctor._speaks(doctor.Speaker("model", "codec", PUBLISHED), here, Wish(automatic=True))
    assert "There is no room for the model" in told
    assert "--precision int4 --text-precision int8 (or --precision auto) would fit" in told


@pytest.fixture(autouse=True)
def old_cards(monkeypatch):
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda card: (8, 6))


def test_what_a_card_can_do_is_known(monkeypatch):
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda index: (GB, 24 * GB))
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda index: "card")
    assert not device._card(0).fp8
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda card: (9, 0))
    assert device._card(0).fp8


def test_a_name_means_one_device(monkeypatch):
    monkeypatch.setattr(device, "_present", lambda: {"cpu": 1, "cuda": 2, "mps": 1})
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda index: (index * GB, 24 * GB))
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda index: "card")
    names = {"cuda:1": "cuda:1", "cuda": "cuda:0", "cpu": "cpu", "mps": "mps"}
    for name, meant in names.items():
        (found,) = named(name)
        assert found.name == meant
    (second,) = named("cuda:1")
    assert (second.free, second.own) == (GB, CUDA_CONTEXT) and second.host


def test_what_torch_keeps_of_a_card_for_later_is_free(monkeypatch):
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda index: (2 * GB, 24 * GB))
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda index: "card")
    monkeypatch.setattr(torch.cuda, "memory_reserved", lambda index: 20 * GB)
    monkeypatch.setattr(torch.cuda, "memory_allocated", lambda index: 7 * GB)
    assert device._card(0).free == 15 * GB


def test_what_torch_keeps_is_given_back_where_there_is_a_card(monkeypatch):
    given = []
    monkeypatch.setattr(torch.cuda, "empty_cache", lambda: given.append("card"))
    monkeypatch.setattr(torch.accelerator, "empty_host_cache", lambda: given.append("host"))
    device.give_back()
    assert not given or torch.cuda.is_initialized()
    monkeypatch.setattr(torch.cuda, "is_initialized", lambda: True)
    given.clear()
    device.give_back()
    assert given == ["card", "host"]


def test_a_card_that_does_not_answer_has_no_room(monkeypatch):
    def full(index):
        raise RuntimeError("out of memory")

    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    monkeypatch.setattr(torch.cuda, "mem_get_info", full)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda index: "card")
    card, *_, cpu = devices()
    assert (card, cpu.name) == (Device("cuda:0", "card", 0, None), "cpu")
    with pytest.raises(SettingError, match="no room"):
        choose(PUBLISHED, [card], Wish())


def test_the_memory_of_this_process_is_known(monkeypatch):
    assert PROCESS / 4 < device._resident() < 20 * PROCESS
    monkeypatch.setattr(device, "Path", lambda path: GONE)
    assert device._resident() == PROCESS


class Gone:
    """A file that no system has."""

    def read_text(self):
        raise FileNotFoundError


GONE = Gone()


def test_a_device_that_is_not_here_is_refused(monkeypatch):
    monkeypatch.setattr(device, "_present", lambda: {"cpu": 1, "cuda": 1, "mps": 0})
    with pytest.raises(SettingError, match="has 1 of that kind"):
        list(named("cuda:1"))
    with pytest.raises(SettingError, match="No MPS device is at hand"):
        list(named("mps"))
    for name in ("tpu", "meta", "cuda:x"):
        with pytest.raises(SettingError, match="use auto, cpu, cuda, cuda:N or mps"):
            list(named(name))
