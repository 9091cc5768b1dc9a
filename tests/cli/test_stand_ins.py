"""The shipped stand-ins do what they promise: FakeHiggs is a Higgs, the tiny checkpoint loads."""

from __future__ import annotations

import inspect

import numpy as np
import pytest
import torch

from faster_higgs.engine.request import Finish
from faster_higgs.sampling import Sampling
from faster_higgs.speech import Higgs
from faster_higgs.testing import FakeHiggs, heard, spoken, tiny_checkpoint, tones

TEXT = "Hello, world. This is a test of tones."


@pytest.fixture
def fake():
    with FakeHiggs() as made:
        yield made


def test_every_public_method_takes_what_the_real_one_takes():
    for name, method in inspect.getmembers(Higgs, callable):
        if not name.startswith("_"):
            other = getattr(FakeHiggs, name)
            assert list(inspect.signature(method).parameters) == list(
                inspect.signature(other).parameters
            ), name


def test_a_character_is_a_tone_and_can_be_heard_again(fake):
    assert torch.equal(heard(tones(spoken(TEXT))), spoken(TEXT))
    speech = fake.speak(TEXT)
    codes = spoken(TEXT)
    assert torch.equal(heard(speech.samples)[:, : codes.shape[1]], codes)


def test_codes_survive_decoding_and_encoding(fake):
    assert torch.equal(fake.encode(fake.decode(spoken(TEXT))), spoken(TEXT))


def test_pieces_join_to_the_whole(fake):
    pieces = [piece.samples for piece in fake.pieces(TEXT)]
    assert len(pieces) > 3
    assert np.array_equal(np.concatenate(pieces), fake.speak(TEXT).samples)


def test_it_has_two_voices_and_clones_more(fake, tmp_path):
    assert [voice.name for voice in fake.voices.list()] == ["alice", "bob"]
    fake.speak(TEXT, "alice").save(tmp_path / "clip.wav")
    assert fake.clone(tmp_path / "clip.wav", TEXT).transcript == TEXT
    assert fake.speak(TEXT, "bob").finish is Finish.STOP


def test_it_cuts_as_a_model_does(fake):
    assert fake.speak(TEXT, sampling=Sampling(max_new_tokens=30)).finish is Finish.LENGTH


def test_nothing_of_it_stays(tmp_path):
    fake = FakeHiggs()
    assert fake.folder.exists()
    fake.close()
    assert not fake.folder.exists()


def test_a_folder_of_its_own_stays(tmp_path):
    FakeHiggs(tmp_path).close()
    assert tmp_path.exists()


@pytest.mark.parametrize("layout", ["transformers", "original"])
def test_a_tiny_checkpoint_is_a_whole_one(tmp_path, layout):
    tiny_checkpoint(tmp_path, seed=3, layout=layout)
    with Higgs.load(tmp_path, device="cpu") as higgs:
        speech = higgs.speak("Hi.", "alice", Sampling(seed=1, max_new_tokens=30))
        again = higgs.speak("Hi.", "alice", Sampling(seed=1, max_new_tokens=30))
        assert higgs.encode(speech.samples).shape[0] == 8
    assert np.array_equal(speech.samples, again.samples) and speech.seconds > 0


def test_layouts_and_seeds(tmp_path, tiny):
    sounds = []
    for name, seed, layout in (("a", 0, "original"), ("b", 1, "transformers")):
        folder = tiny_checkpoint(tmp_path / name, seed=seed, layout=layout)
        with Higgs.load(folder, device="cpu") as higgs:
            sounds.append(higgs.speak("Hi.", sampling=Sampling(seed=1, max_new_tokens=30)).samples)
    with Higgs.load(tiny, device="cpu") as higgs:
        same = higgs.speak("Hi.", sampling=Sampling(seed=1, max_new_tokens=30)).samples
    assert np.array_equal(sounds[0], same), "the layout changes nothing"
    assert not np.array_equal(sounds[1], same), "the seed changes everything"
