"""A long text to a sound file and its captions: python captions.py TEXT_FILE."""

import sys
from pathlib import Path

from faster_higgs import Delivery, Higgs


def clock(seconds: float) -> str:
    whole, thousandths = divmod(round(seconds * 1000), 1000)
    return f"{whole // 3600:02}:{whole // 60 % 60:02}:{whole % 60:02},{thousandths:03}"


source = Path(sys.argv[1])
with Higgs.load() as higgs:
    speech = higgs.speak(
        source.read_text(encoding="utf-8"),
        delivery=Delivery(max_words=25),  # short chunks make short captions
        progress=lambda seconds: print(f"\r{seconds:.0f} s", end="", file=sys.stderr),
    )

speech.save(source.with_suffix(".mp3"))
captions = [
    f"{number}\n{clock(part.begin)} --> {clock(part.end)}\n{part.text}\n"
    for number, part in enumerate(speech.parts, 1)
]
source.with_suffix(".srt").write_text("\n".join(captions), encoding="utf-8")
