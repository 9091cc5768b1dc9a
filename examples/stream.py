"""Speech as it is made: the first bytes are there long before the last."""

import time

from faster_higgs import Higgs

TEXT = "The first words of a long story can be heard while its end is still being spoken."

with Higgs.load() as higgs, open("story.mp3", "wb") as file:
    begin = time.monotonic()
    for piece in higgs.stream(TEXT, format="mp3"):
        file.write(piece)
        print(f"{time.monotonic() - begin:6.2f} s: {len(piece)} bytes")
