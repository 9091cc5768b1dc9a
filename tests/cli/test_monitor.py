"""`higgs monitor`, with cards that are not there."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from types import SimpleNamespace

import pytest

from faster_higgs import cards
from faster_higgs.cli import monitor

HEADER = "timestamp,gpu_name,memory_used_mb,memory_total_mb,gpu_util_pct,mem_util_pct,temp_c"


class NVMLError(Exception):
    """Of the stand-in."""


def driver(names=("Card, first",), broken: str = ""):
    """The driver's library, with some cards; `broken` does not work."""

    def fails(*_):
        raise NVMLError("Driver Not Loaded")

    found = SimpleNamespace(
        NVMLError=NVMLError,
        NVML_TEMPERATURE_GPU=0,
        ended=0,
        nvmlInit=lambda: None,
        nvmlDeviceGetCount=lambda: len(names),
        nvmlDeviceGetHandleByIndex=lambda i: i,
        nvmlDeviceGetName=lambda i: names[i],
        nvmlDeviceGetMemoryInfo=lambda i: SimpleNamespace(used=3 << 30, total=24 << 30),
        nvmlDeviceGetUtilizationRates=lambda i: SimpleNamespace(gpu=55 + i, memory=7),
        nvmlDeviceGetTemperature=lambda i, kind: 61,
    )
    found.nvmlShutdown = lambda: setattr(found, "ended", found.ended + 1)
    if broken:
        setattr(found, broken, fails)
    return found


@pytest.fixture
def watch(run, monkeypatch):
    """Runs it for so many rounds."""

    def call(*arguments, rounds=1, nvml=None):
        left = iter([True] * (rounds - 1) + [False])
        monkeypatch.setitem(sys.modules, "pynvml", nvml or driver())
        monkeypatch.setattr(monitor, "_waited", lambda *_: next(left))
        return run("monitor", *arguments)

    return call


def test_a_row_for_each_card_under_the_header(watch):
    nvml = driver(("Card, first", b"Second"))
    ended = watch(rounds=2, nvml=nvml)
    header, *rows = ended.out.splitlines()
    assert ended.code == 0 and header == HEADER and len(rows) == 4
    assert rows[0].partition(",")[2] == '"Card, first",3072,24576,55,7,61'
    assert rows[1].partition(",")[2] == "Second,3072,24576,56,7,61"
    assert nvml.ended == 1


def test_what_a_card_does_not_tell_stays_empty(watch):
    ended = watch(nvml=driver(["A"], broken="nvmlDeviceGetUtilizationRates"))
    assert ended.out.splitlines()[1].endswith("A,3072,24576,,,61")


def test_a_file_is_gone_on_with(watch, here):
    assert watch("--output", "gpu.csv").out == ""
    ended = watch("-o", "gpu.csv", "--follow", "--interval", 0.1)
    lines = (here / "gpu.csv").read_text().splitlines()
    assert len(lines) == 3 and lines.count(HEADER) == 1
    assert ended.out.splitlines() == [HEADER, lines[2]]


@pytest.mark.parametrize(
    ("nvml", "told"),
    [
        (driver(broken="nvmlInit"), "no NVIDIA graphics card to watch: Driver Not Loaded."),
        (driver(()), "no NVIDIA graphics card to watch."),
    ],
)
def test_without_a_card_it_says_so(watch, nvml, told):
    ended = watch(nvml=nvml)
    assert ended.code == 1 and ended.out == "" and ended.error.endswith(told)


def test_without_the_library_it_names_the_extra(run, monkeypatch):
    monkeypatch.setitem(sys.modules, "pynvml", None)
    ended = run("monitor")
    assert ended.code == 2 and "pip install 'faster-higgs[serve]'" in ended.error


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--interval", 0], "--interval is 0"),
        (["--interval", "nan"], "--interval is nan"),
        (["--follow"], "--output"),
        (["--output", "no/such/gpu.csv"], "cannot be written"),
    ],
)
def test_what_cannot_be_is_refused(watch, arguments, told):
    ended = watch(*arguments)
    assert ended.code == 2 and told in ended.error


def test_this_machine_is_read_or_has_no_card():
    try:
        with cards.cards() as read:
            assert all(one.memory_total for one in read())
    except cards.HiggsError as error:
        assert str(error).endswith(".")


@pytest.mark.skipif(os.name != "posix", reason="parents")
def test_it_stops_when_its_parent_stops():
    watcher = (
        "import os; from faster_higgs.cli import monitor; parent = os.getppid();"
        "print('ready', flush=True);"
        "print(monitor._waited(60, lambda: os.getppid() == parent), flush=True)"
    )
    program = (
        "import subprocess, sys, time;"
        f"subprocess.Popen([sys.executable, '-c', {watcher!r}]);"
        "time.sleep(60)"
    )
    parent = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE)
    assert parent.stdout is not None and parent.stdout.readline() == b"ready\n"
    parent.kill()
    begin = time.monotonic()
    assert parent.stdout.read() == b"False\n"  # it ends when nobody holds the pipe any more
    assert time.monotonic() - begin < 10
    parent.stdout.close()
    parent.wait()
