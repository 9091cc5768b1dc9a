"""A pause is exactly so much silence, exactly there, however the speech is asked for."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from faster_higgs.audio.encode import encode
from faster_higgs.delivery import Delivery, utterances
from faster_higgs.errors import TextError
from faster_higgs.prompt.voices import Voice
from faster_higgs.sampling import Sampling
from faster_higgs.speech import Higgs
from faster_higgs.testing import FakeHiggs, spoken, tiny_checkpoint, tones
from faster_higgs.text.pauses import LONGEST, Stretch, stretches, written

OFF = Delivery(normalization="off")
# A script, and its utterances with the silence around them: text, speaker, before, after.
GOLDEN = [
    ("One. [pause:500ms] Two.", [("One.", None, 0, 0), ("Two.", None, 0.5, 0)]),
    ("[pause:1.5s]One.", [("One.", None, 1.5, 0)]),
    ("One.[pause:2s]", [("One.", None, 0, 2)]),
    ("One,[PAUSE: 20 MS ]two.", [("One,", None, 0, 0), ("two.", None, 0.02, 0)]),
    ("One [pause:1s] \n[pause:250ms] two", [("One", None, 0, 0), ("two", None, 1.25, 0)]),
    ("One. [pause:1s] ... [pause:1s] Two.", [("One.", None, 0, 0), ("Two.", None, 2, 0)]),
    ("One. [pause:0s] Two.", [("One.", None, 0, 0), ("Two.", None, 0, 0)]),
    (
        "[SPEAKER0] A. [pause:1s] B. [SPEAKER1] C.[pause:2s][SPEAKER0] D.",
        [
            ("A.", "SPEAKER0", 0, 0),
            ("B.", "SPEAKER0", 1, 0),
            ("C.", "SPEAKER1", 0, 0),
            ("D.", "SPEAKER0", 2, 0),
        ],
    ),
    (
        "[SPEAKER0] A. [SPEAKER1] [pause:1s] B. [pause:1s]",
        [("A.", "SPEAKER0", 0, 0), ("B.", "SPEAKER1", 1, 1)],
    ),
    (
        "<SE>[Laughter]</SE> A. [pause:1s] <SE>[Cough]</SE>",
        [("<SE>[Laughter]</SE> A.", None, 0, 0), ("<SE>[Cough]</SE>", None, 1, 0)],
    ),
]
WRONG = ["[pause:]", "[pause]", "[pause:abc]", "[pause:-1s]", "[pause:500]", "[pause:1,5s]"]


def plan(text: str, delivery: Delivery = OFF) -> list[tuple[str, str | None, float, float]]:
    voices = [Voice(name, spoken(name), name) for name in ("a", "b")][: 1 + ("SPEAKER1" in text)]
    made = utterances(text, delivery, voices)
    return [(u.text, u.speaker, u.before, u.after) for u in made]


@pytest.mark.parametrize(("text", "expected"), GOLDEN)
def test_a_text_is_cut_where_its_pauses_are(text, expected):
    assert plan(text) == expected


def test_each_piece_is_made_speakable_on_its_own():
    found = plan("I have 3 [pause:1s] apples", Delivery())
    assert found == [("I have three.", None, 0, 0), ("apples.", None, 1, 0)]


def test_a_dialogue_spoken_together_is_cut_too_and_keeps_its_tags():
    text = "[SPEAKER0] A. [pause:1s] B. [SPEAKER1] C."
    made = utterances(text, OFF)
    assert [(u.text, u.before) for u in made] == [
        ("[SPEAKER0] A.", 0),
        ("[SPEAKER0] B. [SPEAKER1] C.", 1),
    ]
    assert [u.speaker for u in made] == ["SPEAKER0", None]
    assert all(u.tags == ("SPEAKER0", "SPEAKER1") for u in made)


@pytest.mark.parametrize("method", ["none", "word", "sentence", "speaker"])
def test_every_way_to_cut_keeps_the_pauses(method):
    made = utterances("A. [pause:1s] B.", Delivery(normalization="off", chunk_method=method))
    assert [(u.text, u.before) for u in made] == [("A.", 0), ("B.", 1)]


@pytest.mark.parametrize("wrong", [*WRONG, "[pause:5"])
def test_what_is_no_pause_is_refused(wrong):
    with pytest.raises(TextError, match=r"is not a pause; write \[pause:500ms\]"):
        utterances(f"One. {wrong} Two.", OFF)


def test_a_pause_has_an_end_and_so_have_all_together():
    with pytest.raises(TextError, match="is too long; one may last 10 s"):
        utterances("One. [pause:10.5s]", OFF)
    with pytest.raises(TextError, match="longer than 600 s together"):
        utterances("One." + "[pause:10s]" * 61, OFF)


def test_pauses_alone_are_nothing_to_say():
    with pytest.raises(TextError, match="no word"):
        utterances("[pause:1s][pause:2s]", OFF)


@given(st.floats(0, LONGEST))
def test_a_pause_is_read_as_it_was_written(seconds):
    assert stretches(written(seconds)) == [Stretch(""), Stretch("", round(seconds, 3))]


@given(st.text(max_size=40))
def test_no_text_breaks_the_cutting(text):
    try:
        found = stretches(text)
    except TextError:
        return
    assert "".join(one.text for one in found) == text or len(found) > 1


class TestSound:
    def test_it_is_exactly_there(self):
        with FakeHiggs() as higgs:
            speech = higgs.speak("[pause:40ms] One. [pause:1.5s] Two. [pause:1ms]", delivery=OFF)
        one, two = (tones(spoken(text)) for text in ("One.", "Two."))
        silences = [np.zeros(n, np.float32) for n in (960, 36_000, 24)]
        whole = np.concatenate([silences[0], one, silences[1], two, silences[2]])
        assert np.array_equal(speech.samples, whole)
        times = [(part.begin * 24_000, part.end * 24_000) for part in speech.parts]
        starts = 960, 960 + len(one) + 36_000
        expected = [(at, at + len(said)) for at, said in zip(starts, (one, two), strict=True)]
        assert np.allclose(times, expected)

    def test_a_model_with_a_real_codec_adds_nothing_to_it(self, tmp_path):
        text, sampling = "One. [pause:1s] Two.", Sampling(seed=3, max_new_tokens=30)
        with Higgs.load(tiny_checkpoint(tmp_path / "tiny")) as higgs:
            pieces = list(higgs.pieces(text, sampling=sampling))
            whole = higgs.speak(text, sampling=sampling)
            stream = b"".join(higgs.stream(text, sampling=sampling, format="pcm"))
        silent = [piece for piece in pieces if piece.is_pause]
        assert [len(piece.samples) for piece in silent] == [24_000]
        assert not silent[0].samples.any()
        assert stream == encode(whole.samples, "pcm")
        assert whole.parts[1].begin - whole.parts[0].end == pytest.approx(1.0)
