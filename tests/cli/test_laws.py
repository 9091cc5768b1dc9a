"""One request, from the command line and from Python: the same prompt and the same sound."""

from __future__ import annotations

import numpy as np
import pytest

from faster_higgs import speech
from faster_higgs.audio.files import read
from faster_higgs.cli.flags import SayFlags
from faster_higgs.cli.request import planned, request
from faster_higgs.cli.scenes import SCENES
from faster_higgs.delivery import Delivery
from faster_higgs.sampling import Sampling
from faster_higgs.speech import Higgs
from faster_higgs.testing import FakeHiggs

DIALOGUE = "[SPEAKER0] Have you seen it? [SPEAKER1] I have not. [SPEAKER0] Look again."
LONG = "One thing is said. Another thing is said. A third thing is said at the end."

REQUESTS = [
    (LONG, [], {}),
    (LONG, ["--voice", "bob"], {"voice": "bob"}),
    (DIALOGUE, [], {}),
    (DIALOGUE, ["--ref_audio", "alice,bob"], {"voice": "alice,bob"}),
    (DIALOGUE, ["--voice", "alice,bob"], {"voice": ["alice", "bob"]}),
    (LONG, ["--voice", "profile:male_en"], {"voice": "profile:male_en"}),
    (
        DIALOGUE,
        ["--ref_audio", "alice,bob", "--ref_audio_in_system_message", "--chunk_method", "speaker"],
        {
            "voice": "alice,bob",
            "delivery": Delivery(voices_in_system=True, chunk_method="speaker"),
        },
    ),
    (
        LONG,
        [
            "--chunk_method",
            "word",
            "--chunk_max_word_num",
            "5",
            "--generation_chunk_buffer_size",
            "1",
        ],
        {"delivery": Delivery(chunk_method="word", max_words=5, history=1)},
    ),
    (LONG, ["--scene_prompt", "empty"], {"delivery": Delivery(scene=None)}),
    (LONG, ["--scene_prompt", "studio"], {"delivery": Delivery(scene=SCENES["studio"])}),
    (LONG, ["--system_prompt", "Be brief."], {"delivery": Delivery(system="Be brief.")}),
    (
        LONG,
        ["--system_prompt", "Be brief.", "--voice", "alice"],
        {"delivery": Delivery(system="Be brief."), "voice": "alice"},
    ),
    ("Drei 3.", ["--language", "de"], {"delivery": Delivery(language="de")}),
    (
        "It is 5 km.",
        ["--normalization", "original"],
        {"delivery": Delivery(normalization="original")},
    ),
    (LONG, ["--temperature", "1", "--top_k", "0"], {"sampling": Sampling(1.0, 0)}),
]


@pytest.fixture
def prompts(monkeypatch):
    """Every prompt and sampling that a fake model is given."""
    seen, frames = [], FakeHiggs.frames

    def noting(self, prompt, sampling, *rest, **urgency):
        clips = [clip.tolist() for clip in prompt.clips]
        seen.append((prompt.ids, clips, sampling))
        return frames(self, prompt, sampling, *rest, **urgency)

    monkeypatch.setattr(FakeHiggs, "frames", noting)
    return seen


@pytest.mark.parametrize(("text", "flags", "keywords"), REQUESTS)
def test_the_command_line_and_python_ask_the_model_the_same(
    spoken, fake, prompts, text, flags, keywords
):
    assert spoken(text, *flags, "--seed", 7).code == 0
    by_command = list(prompts)
    prompts.clear()
    sampling = keywords.pop("sampling", Sampling())
    with FakeHiggs(fake) as higgs:
        higgs.speak(
            text, sampling=Sampling(sampling.temperature, sampling.top_k, seed=7), **keywords
        )
    assert by_command == prompts and prompts


@pytest.mark.parametrize(("text", "flags", "keywords"), REQUESTS)
def test_the_plan_without_voices_is_the_plan_with_them(fake, run, text, flags, keywords):
    from faster_higgs.cli import say
    from faster_higgs.cli.main import main

    seen: list[SayFlags] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(say, "run", seen.append)
        main(["say", text, *flags])
    asked = request(seen[0])
    with FakeHiggs(fake) as higgs:
        whole = higgs.plan(text, keywords.get("voice"), asked.delivery)
    assert [u.text for u in planned(asked, fake)] == [u.text for u in whole]


def test_a_real_model_speaks_the_same_from_both(run, tiny, here):
    flags = ["--model", tiny, "--seed", 11, "--max_new_tokens", 40, "--voice", "alice"]
    ended = run("say", LONG, *flags, "-o", "a.wav", "--device", "cpu")
    assert ended.code == 0 and ended.err == ""
    sampling = Sampling(seed=11, max_new_tokens=40)
    with Higgs.load(tiny, device="cpu") as higgs:
        spoken = higgs.speak(LONG, "alice", sampling)
    spoken.save("b.wav")
    assert (here / "a.wav").read_bytes() == (here / "b.wav").read_bytes()
    assert len(read("a.wav")) == len(spoken.samples) > 0


@pytest.mark.parametrize("rules", ["original", "transformers"])
def test_a_real_model_speaks_by_the_rules_of_the_references(run, tiny, rules):
    flags = ["--model", tiny, "--seed", 3, "--max_new_tokens", 60, "--device", "cpu"]
    assert run("say", "Hello.", *flags, "--rules", rules).code == 0


def test_bytes_to_standard_output_are_those_of_stream(fake, here, capsysbinary):
    from faster_higgs.cli.main import main

    for format in ("wav", "pcm", "mp3"):
        main(["say", LONG, "-o", "-", "--format", format, "--seed", "3", "--quiet"])
        out = capsysbinary.readouterr().out
        with speech.Higgs.load() as higgs:
            pieces = higgs.stream(LONG, sampling=Sampling(seed=3), format=format)
            assert out == b"".join(pieces)
    assert np.frombuffer(out, np.uint8).size
