"""Two people talk: each speaker of the text gets a voice, in order."""

from faster_higgs import Delivery, Higgs, Sampling

SCRIPT = """
[SPEAKER0] Have you seen my keys?
[SPEAKER1] They are on the table, where you left them.
[SPEAKER0] That is the last place I would have looked.
"""

with Higgs.load() as higgs:
    names = [voice.name for voice in higgs.voices.list()]
    speech = higgs.speak(
        SCRIPT,
        voice=names[:2],
        sampling=Sampling(temperature=0.3, seed=7),
        delivery=Delivery(scene="Audio is recorded in a small kitchen."),
    )
    speech.save("dialogue.flac")

for part in speech.parts:
    print(f"{part.begin:5.1f} to {part.end:5.1f} s  {part.text}")
