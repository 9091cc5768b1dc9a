"""A speech that was broken off goes on as if nothing had happened."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from faster_higgs.audio.levels import Samples
from faster_higgs.delivery import Delivery
from faster_higgs.prompt.plain import bytes_of, codes_of, voice_of_plain, voice_to_plain
from faster_higgs.prompt.voices import Voice
from faster_higgs.sampling import Sampling
from faster_higgs.speech import Higgs
from faster_higgs.spoken import Piece
from faster_higgs.testing import tiny_checkpoint

LIVELY = Sampling(temperature=1.0, top_k=0, top_p=1.0, seed=5, max_new_tokens=40)
# The long sentence leaves less room for what was said before it than the last ones would.
TEXT = (
    "One. [pause:10ms] Two now. [pause:10ms] Three of them. [pause:10ms] "
    "A very long sentence stands here and takes many more steps than any other one would take. "
    "[pause:10ms] Five. [pause:10ms] Six are here."
)


@pytest.fixture(scope="module")
def higgs(tmp_path_factory: pytest.TempPathFactory) -> Higgs:
    return Higgs.load(tiny_checkpoint(tmp_path_factory.mktemp("tiny")))


def spoken(
    higgs: Higgs, voice: str | list[Voice], delivery: Delivery, said: Sequence[Tensor | None] = ()
) -> tuple[list[Samples], list[Tensor | None]]:
    """The sound of each utterance, and what is remembered of it."""
    sounds, remembered, sound = list[Samples](), list[Tensor | None](), list[Samples]()
    for piece in higgs.pieces(TEXT, voice, LIVELY, delivery, said=said):
        sound.append(piece.samples)
        if piece.result is not None:
            sounds.append(np.concatenate(sound))
            remembered.append(piece.remembered)
            sound = []
    return sounds, remembered


@pytest.fixture(autouse=True)
def remembering(monkeypatch: pytest.MonkeyPatch) -> None:
    """This model never comes to an end by itself, and what is broken off is not remembered."""
    monkeypatch.setattr(Piece, "remembered", property(lambda piece: piece.codes))


@pytest.mark.parametrize(
    ("voice", "history", "room"),
    [([], None, 4096), ([], None, 600), ([], 1, 4096), ("alice", None, 4096)],
    ids=["rolling", "forgetting", "one", "clip"],
)
def test_the_rest_is_that_of_the_uninterrupted_speech(
    higgs: Higgs, monkeypatch: pytest.MonkeyPatch, voice: str, history: int | None, room: int
) -> None:
    monkeypatch.setattr(higgs, "_longest", room)
    delivery = Delivery(history=history)
    sounds, remembered = spoken(higgs, voice, delivery)
    assert len(sounds) == 6
    for done in (2, 4):
        rest, _ = spoken(higgs, voice, delivery, remembered[:done])
        assert len(rest) == len(sounds) - done
        for ours, whole in zip(rest, sounds[done:], strict=True):
            np.testing.assert_array_equal(ours, whole)


def test_what_is_remembered_matters(higgs: Higgs) -> None:
    """Else the law above would say nothing."""
    sounds, _ = spoken(higgs, [], Delivery())
    rest, _ = spoken(higgs, [], Delivery(), [None] * 4)
    assert not np.array_equal(rest[0], sounds[4])


@pytest.mark.parametrize("frames", [0, 1, 50])
def test_codes_come_back_from_bytes(frames: int) -> None:
    codes = torch.randint(1024, (8, frames))
    assert torch.equal(codes_of(bytes_of(codes), 8), codes)


@pytest.mark.parametrize("codebooks", [0, 7])
def test_bytes_that_are_no_codes_are_refused(codebooks: int) -> None:
    with pytest.raises(ValueError, match="codebooks"):
        codes_of(bytes_of(torch.zeros(8, 5, dtype=torch.long)), codebooks)


def test_voices_come_back_from_plain_data(higgs: Higgs, tmp_path: Path) -> None:
    told = Voice("words", description="deep, slow")
    for voice in (higgs.voices.load("alice"), told):
        again = voice_of_plain(voice_to_plain(voice))
        assert again == voice
        assert voice.codes is None or torch.equal(again.codes, voice.codes)
