"""Look at a take: a picture of waveform and spectrogram, and the words a recogniser hears in it.

`python evals/listen.py output.wav -o output.png`. Does not know what was to be said.
"""

from __future__ import annotations

import argparse
import importlib.util
import sys
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from evals.hearing import Ear
from faster_higgs.audio.checks import examine
from faster_higgs.audio.files import read
from faster_higgs.cli.plot import check_plot, plot
from faster_higgs.errors import HiggsError, MissingExtra

RATE = 24_000


def main(arguments: Sequence[str] | None = None) -> int:
    """The exit code."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("sound", type=Path, help="a sound file of any format")
    parser.add_argument("-o", "--output", type=Path, required=True, help="a .png, .svg or .pdf")
    args = parser.parse_args(arguments)
    try:
        listen(args.sound, args.output)
    except HiggsError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    return 0


def listen(sound: Path, picture: Path) -> None:
    """Draw, listen, print."""
    if importlib.util.find_spec("pocketsphinx") is None:
        raise MissingExtra("pocketsphinx is not installed: `pip install 'faster-higgs[eval]'`.")
    check_plot(picture)
    samples = read(sound, rate=RATE)
    plot(picture, samples, RATE)
    print(*examine(samples, RATE).lines("")[1:], f"Heard: {Ear()(samples, RATE)}", sep="\n")


if __name__ == "__main__":
    sys.exit(main())
