"""Plays a sound through the machine's own player. Knows nothing of speech."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from tempfile import TemporaryDirectory

from faster_higgs.audio.levels import Samples
from faster_higgs.errors import MissingExtra, OutputError

# Each is told to say nothing and to end with the sound.
PLAYERS: dict[str, tuple[str, ...]] = {
    "afplay": (),
    "paplay": (),
    "aplay": ("-q",),
    "ffplay": ("-nodisp", "-autoexit", "-loglevel", "error"),
    "play": ("-q",),
}


def players() -> list[str]:
    """The players that are installed, best first."""
    return [name for name in PLAYERS if shutil.which(name)]


def find_player() -> list[str]:
    """The command that plays a file. Raises MissingExtra when there is none."""
    found = players()
    if not found:
        raise MissingExtra(
            f"There is no player on this machine; install one of {', '.join(PLAYERS)}."
        )
    return [found[0], *PLAYERS[found[0]]]


def play(samples: Samples, rate: int) -> None:
    """Play a sound to its end. Raises MissingExtra, OutputError."""
    from faster_higgs.audio.save import save

    command = find_player()
    with TemporaryDirectory(prefix="higgs-play-") as folder:
        path = Path(folder) / "sound.wav"
        save(path, samples, rate=rate)
        done = subprocess.run([*command, str(path)], capture_output=True, text=True, check=False)
    if done.returncode:
        reason = done.stderr.strip().split("\n")[-1] or f"status {done.returncode}"
        raise OutputError(f"{command[0]} could not play the sound: {reason}")
