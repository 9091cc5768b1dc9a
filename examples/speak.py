"""From text to a sound file."""

from faster_higgs import Higgs

with Higgs.load() as higgs:
    speech = higgs.speak("Hello world, this is Faster Higgs!")
    speech.save("hello.wav")

print(f"hello.wav holds {speech.seconds:.1f} s of speech.")
print(f"The same again: higgs.speak(..., sampling=Sampling(seed={speech.seed}))")
