"""What a model says becomes training data that it reads as its own."""

from dataclasses import replace
from pathlib import Path

import pytest

from faster_higgs.data.cache import ABOUT, SHARDS, Cache
from faster_higgs.data.check import check
from faster_higgs.data.place import Place
from faster_higgs.data.rehearse import AS_LIKELY, Rehearsal, rehearse
from faster_higgs.errors import GenerationError, SettingError
from faster_higgs.locks import alone_in
from faster_higgs.prompt.conversation import Conversation
from faster_higgs.speech import Higgs
from faster_higgs.train.config import MixtureSettings
from faster_higgs.train.dataset import Dataset
from faster_higgs.train.demands import Demands
from faster_higgs.train.sample import build
from tests.data.tiny import PICO

TEXTS = ("Good morning.", "It is late.", "Thank you.")
PLACE = Place(PICO, PICO / "codec")


@pytest.fixture(scope="module")
def higgs():
    with Higgs.load(PICO, device="cpu") as loaded:
        yield loaded


def test_the_codes_are_those_the_model_speaks(higgs: Higgs, tmp_path: Path) -> None:
    spoken = rehearse(higgs, PLACE, Rehearsal(TEXTS, ("clara", "miles"), 7), tmp_path, _silent)
    assert spoken == {"clara": 2, "miles": 1} and Cache(tmp_path).about["unsaid"] == 0
    cache = Cache(tmp_path)
    clip = cache.clip(1)
    (piece,) = (p for p in higgs.pieces(TEXTS[1], "miles", replace(AS_LIKELY, seed=8)) if p.result)
    assert clip.codes.equal(piece.codes.long()) and clip.speaker == "miles"
    assert not check(tmp_path).problems
    assert cache.indices("train") == [0, 1, 2, 3, 4] and cache.column("weight") == [1, 1, 1, 0, 0]


def test_it_is_learnt_as_it_was_said(higgs: Higgs, tmp_path: Path) -> None:
    rehearse(higgs, PLACE, Rehearsal(TEXTS, ("clara", "miles")), tmp_path, _silent)
    settings = MixtureSettings.only("zero_shot_voice_cloning", drop_reference=0.0, drop_scene=0.0)
    data = Dataset(Cache(tmp_path), Demands.load(PICO), replace(settings, in_system=0.0))
    (utterance,) = higgs.plan(TEXTS[1], "miles")
    talk = Conversation(utterance.setting, utterance.tags, higgs.spell)
    prompt = higgs.prompt(talk.ask(utterance.text))
    asked = build([*prompt.ids], prompt.clips, data.marks)
    learnt = data.example(1, 0)
    assert len(data) == 3 and learnt.ids[: len(asked.ids)].equal(asked.ids)
    assert learnt.columns[: len(asked.columns)].equal(asked.columns)


def test_what_is_not_said_is_counted(higgs, tmp_path: Path, monkeypatch) -> None:
    pieces = higgs.pieces

    def silent_once(text: str, *rest: object) -> object:
        if text == TEXTS[1]:
            raise GenerationError("Nothing was said.")
        return pieces(text, *rest)

    monkeypatch.setattr(higgs, "pieces", silent_once)
    rehearsal = Rehearsal(TEXTS[:2], ("clara",))
    assert rehearse(higgs, PLACE, rehearsal, tmp_path, _silent) == {"clara": 1}
    assert Cache(tmp_path).about["unsaid"] == 1


def test_it_goes_on_and_refuses_other_texts(higgs: Higgs, tmp_path: Path) -> None:
    rehearsal = Rehearsal(TEXTS[:1], ("clara",))
    rehearse(higgs, PLACE, rehearsal, tmp_path, _silent)
    shard = tmp_path / SHARDS / "part-00000.arrow"
    made = shard.stat().st_mtime_ns
    (tmp_path / ABOUT).unlink()
    rehearse(higgs, PLACE, rehearsal, tmp_path, _silent)
    assert shard.stat().st_mtime_ns == made and (tmp_path / ABOUT).is_file()
    with pytest.raises(SettingError, match="other texts"):
        rehearse(higgs, PLACE, Rehearsal(TEXTS[1:2], ("clara",)), tmp_path, _silent)


def test_two_do_not_rehearse_in_one_folder(higgs: Higgs, tmp_path: Path) -> None:
    with alone_in(tmp_path / "a"), pytest.raises(SettingError, match="Another process"):
        rehearse(higgs, PLACE, Rehearsal(TEXTS[:1], ("clara",)), tmp_path / "a", _silent)
    assert not (tmp_path / "a").exists()


def _silent(done: int, total: int) -> None:
    return
