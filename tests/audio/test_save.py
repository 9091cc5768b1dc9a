"""Saving: a file is there whole, or what was there before still is."""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from faster_higgs.audio.encode import FORMATS, encode
from faster_higgs.audio.files import read
from faster_higgs.audio.save import save
from faster_higgs.errors import AudioError, GenerationError, OutputError, SettingError
from tests.audio.sounds import RATE, tone


@contextmanager
def small_disk(size: int):
    """Files of this process cannot grow past `size`, as on a disk that is nearly full."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    previous = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, previous)


@pytest.mark.parametrize("format", FORMATS)
def test_a_sound_and_its_pieces_are_saved_alike(tmp_path, format):
    whole, pieces = tmp_path / f"whole.{format}", tmp_path / f"pieces.{format}"
    sound = tone(1.0)
    assert save(whole, sound) == save(pieces, np.array_split(sound, 7)) == RATE
    assert sorted(os.listdir(tmp_path)) == sorted([whole.name, pieces.name])
    if format not in ("opus", "ogg"):  # an Ogg stream has a random number of its own
        assert whole.read_bytes() == pieces.read_bytes() == encode(sound, format)


def test_an_asked_format_wins_over_the_suffix(tmp_path):
    save(tmp_path / "speech.bin", tone(0.1), format="flac")
    assert (tmp_path / "speech.bin").read_bytes().startswith(b"fLaC")


def test_a_new_file_has_the_usual_rights_and_replaces_the_old_one(tmp_path):
    path = tmp_path / "speech.wav"
    path.write_text("old")
    mask = os.umask(0o022)
    try:
        save(path, tone(0.1))
    finally:
        os.umask(mask)
    assert path.stat().st_mode & 0o777 == 0o644
    assert len(read(path)) == RATE // 10


@pytest.mark.skipif(sys.platform == "win32", reason="rights of another kind")
@pytest.mark.parametrize("mode", [0o600, 0o640, 0o664])
def test_a_replaced_file_keeps_its_rights_from_the_first_byte(tmp_path, mode):
    path = tmp_path / "speech.wav"
    path.write_text("private")
    path.chmod(mode)
    seen = []

    def pieces():
        yield tone(0.1)
        seen.extend(part.stat().st_mode & 0o777 for part in tmp_path.glob(".*.part"))

    save(path, pieces())
    assert path.stat().st_mode & 0o777 == mode
    assert set(seen) == {mode}


def test_a_link_stays_a_link(tmp_path):
    (tmp_path / "takes").mkdir()
    link = tmp_path / "latest.wav"
    link.symlink_to(Path("takes") / "one.wav")
    save(link, tone(0.1))
    assert link.is_symlink() and len(read(tmp_path / "takes" / "one.wav")) == RATE // 10


def test_a_device_is_written_and_not_replaced():
    save("/dev/null", tone(0.1), format="wav")
    assert Path("/dev/null").is_char_device()


@pytest.mark.parametrize("error", [KeyboardInterrupt, GenerationError, OSError])
def test_an_interrupted_sound_leaves_what_was_there(tmp_path, error):
    path = tmp_path / "speech.mp3"
    path.write_text("the last take")

    def pieces():
        yield tone(0.5)
        raise error("stop")

    with pytest.raises(error, match="stop"):
        save(path, pieces())
    assert os.listdir(tmp_path) == ["speech.mp3"]
    assert path.read_text() == "the last take"


def test_a_sound_that_is_not_a_number_leaves_no_file(tmp_path):
    with pytest.raises(AudioError):
        save(tmp_path / "speech.wav", [tone(0.1), np.full(9, np.nan, "f4")])
    assert not os.listdir(tmp_path)


@pytest.mark.parametrize("format", FORMATS)
@pytest.mark.parametrize("limit", [0, 10, 3_000])
def test_a_disk_that_fills_up_is_told_and_leaves_no_half_file(tmp_path, format, limit):
    path = tmp_path / f"speech.{format}"
    path.write_text("the last take")
    noise = np.random.default_rng(0).uniform(-1, 1, 4 * RATE).astype("f4")
    with small_disk(limit), pytest.raises(OutputError, match="cannot be written") as told:
        save(path, np.array_split(noise, 8))
    assert "\n" not in str(told.value)
    assert path.read_text() == "the last take"
    assert os.listdir(tmp_path) == [path.name]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no /dev/full")
@pytest.mark.parametrize("format", FORMATS)
def test_a_full_disk_is_named(format):
    with pytest.raises(OutputError, match="the disk is full; free some space"):
        save("/dev/full", tone(4.0), format=format)


@contextmanager
def read_only(tmp_path: Path):
    """A folder nobody may write to: sysfs holds for root, rights hold for everybody else."""
    if os.geteuid() == 0:
        if not os.path.ismount("/sys"):
            pytest.skip("root may write everywhere here")
        yield Path("/sys")
    else:
        tmp_path.chmod(0o555)
        yield tmp_path
        tmp_path.chmod(0o755)


def test_a_read_only_folder_is_told(tmp_path):
    with (
        read_only(tmp_path) as folder,
        pytest.raises(OutputError, match=r"read-only.*choose another folder"),
    ):
        save(folder / "speech.wav", tone(0.1))


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("none/speech.wav", "its folder does not exist"),
        ("file/speech.wav", "its folder does not exist"),
        ("folder.wav", "it is a folder"),
        ("x" * 300 + ".wav", "its name is too long"),
    ],
)
def test_a_place_that_cannot_hold_a_file_is_told(tmp_path, name, words):
    (tmp_path / "folder.wav").mkdir()
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match=words):
        save(tmp_path / name, tone(0.1))
    assert sorted(os.listdir(tmp_path)) == ["file", "folder.wav"]


def test_a_wrong_format_is_refused_before_anything_is_made(tmp_path):
    def pieces():
        raise AssertionError("asked for samples")
        yield

    for name, format in (("speech.doc", None), ("speech.wav", "midi")):
        with pytest.raises(SettingError):
            save(tmp_path / name, pieces(), format=format)
    assert not os.listdir(tmp_path)


def test_ctrl_c_in_a_real_process_leaves_no_half_file(tmp_path):
    program = (
        "import sys, time, numpy as np\n"
        "from faster_higgs.audio.save import save\n"
        "def pieces():\n"
        "    while True:\n"
        "        yield np.zeros(24000, 'f4'); print('.', flush=True); time.sleep(0.01)\n"
        "save(sys.argv[1], pieces())\n"
    )
    command = [sys.executable, "-c", program, str(tmp_path / "speech.wav")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as process:
        assert process.stdout is not None
        process.stdout.readline()
        process.send_signal(signal.SIGINT)
        assert process.wait(30) != 0
    assert not os.listdir(tmp_path)
