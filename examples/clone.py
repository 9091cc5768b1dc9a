"""A voice from a clip: python clone.py CLIP "What is said in the clip, word for word."."""

import sys

from faster_higgs import Higgs, HiggsError

clip, transcript = sys.argv[1:]

try:
    with Higgs.load() as higgs:
        voice = higgs.clone(clip, transcript)
        higgs.speak("This sentence was never said by me.", voice).save("cloned.wav")
except HiggsError as error:  # a bad clip, a missing model: one sentence says what to do
    sys.exit(f"{error}")

print("Listen to cloned.wav.")
