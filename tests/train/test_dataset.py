"""Conversations: those of inference, from the right clips, the same again, and none that leaks."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

import tiny_data as data
from faster_higgs.delivery import Delivery, utterances
from faster_higgs.errors import DataError, SettingError
from faster_higgs.prompt.conversation import Conversation
from faster_higgs.prompt.expand import expand
from faster_higgs.prompt.template import write
from faster_higgs.prompt.voices import Voice
from faster_higgs.train.config import TASKS, MixtureSettings
from faster_higgs.train.dataset import Dataset, Mixed, Talk, with_replay
from faster_higgs.train.packing import Packer
from faster_higgs.train.sample import IGNORE

EVEN = MixtureSettings(**dict.fromkeys(TASKS, 1.0), in_system=0.4, max_speakers=3)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("samples") / "data"
    data.cache(place, data.clips())
    return place


def talks(made: Dataset, epochs: int = 4) -> list[Talk]:
    return [made.draw(i, epoch) for epoch in range(epochs) for i in range(len(made))]


@pytest.mark.parametrize("task", TASKS)
def test_what_is_trained_begins_with_the_prompt_of_inference(folder: Path, task: str) -> None:
    """The road of `higgs say`: a text and voices, cut by no length, asked and written."""
    made = data.dataset(folder, MixtureSettings.only(task, in_system=0.5, drop_scene=0.3))
    wording, config = data.demands().wording, data.demands().config
    seen = set()
    for number, talk in enumerate(talks(made)):
        example = made.example(number % len(made), number // len(made))
        clip = made.cache.clip
        voices = [Voice("v", clip(i).codes, clip(i).text) for i in talk.references]
        tagged = [f"[SPEAKER{talk.cast.index(i)}] {clip(i).text}" for i in talk.turns]
        text = "\n".join(tagged) if len(tagged) > 1 else clip(talk.turns[0]).text
        scene = "Audio is recorded from a quiet room." if talk.scene else None
        delivery = Delivery(scene, voices_in_system=talk.in_system, chunk_method="none")
        (said,) = utterances(text, delivery, voices)
        asked = Conversation(said.setting, said.tags, wording.spell).ask(said.text)
        prompt = expand(write(asked, wording.tokenizer), config)
        columns = len(prompt.columns)
        assert torch.equal(example.ids[: len(prompt.ids)], prompt.ids)
        assert torch.equal(example.columns[:columns], prompt.columns)
        assert bool((example.audio_labels[:columns] == IGNORE).all())
        answer = sum(clip(i).frames for i in talk.turns)
        assert len(example.columns) - columns == answer + 9
        assert int((example.audio_labels != IGNORE).sum()) == 8 * (answer + 1)
        assert (example.text_labels != IGNORE).sum() == 3
        assert example.name == "+".join(clip(i).id for i in talk.turns)
        seen.add((len(talk.turns), len(talk.references), talk.in_system, talk.scene))
    assert len(seen) >= 4


def test_references_are_other_clips_of_the_same_speaker_and_of_the_split(folder: Path) -> None:
    made = data.dataset(folder, replace(EVEN, max_reference_seconds=0.9))
    speaker, split, frames = map(made.cache.column, ("speaker", "split", "frames"))
    drawn = talks(made, 10)
    for talk in drawn:
        for voice, own in zip(talk.references, talk.cast, strict=False):
            assert speaker[voice] == speaker[own]
        assert not {*talk.references} & {*talk.turns}
        assert {split[i] for i in (*talk.references, *talk.turns)} == {"train"}
        assert all(frames[i] <= 0.9 * 25 for i in talk.references)
        assert len({speaker[i] for i in talk.turns}) == len(talk.turns)
        assert sorted(talk.turns) == sorted(talk.cast)
    by_target = Counter(talk.references for talk in drawn if len(talk.references) == 1)
    assert len(by_target) > 5
    assert {len(talk.turns) for talk in drawn} == {1, 2, 3}
    assert any(talk.turns != talk.cast for talk in drawn)


def test_a_clip_that_sounds_the_same_is_no_reference(tmp_path: Path) -> None:
    one, two, *others = data.clips(4, speakers=2)
    two, others = replace(two, speaker=one.speaker), [replace(c, speaker="b") for c in others]
    twin = replace(one, id="twin", text="something else.")
    cache = data.cache(tmp_path / "data", [one, twin, two, *others])
    made = Dataset(cache, data.demands(), EVEN)
    for talk in talks(made, 20):
        if talk.turns[0] in (0, 1):
            assert not {0, 1} & {*talk.references}


def test_equal_seed_epoch_and_index_give_equal_examples(folder: Path) -> None:
    first, again = data.dataset(folder, EVEN), data.dataset(folder, EVEN)
    other = data.dataset(folder, replace(EVEN, seed=1))
    assert talks(first) == talks(again) != talks(other)
    assert talks(first, 1) != [first.draw(i, 1) for i in range(len(first))]
    assert torch.equal(first.example(3, 2).columns, again.example(3, 2).columns)


def test_held_out_conversations_are_the_same_in_every_epoch_and_run(folder: Path) -> None:
    made = data.dataset(folder, replace(EVEN, drop_scene=0.9, drop_reference=0.9), split="test")
    other = data.dataset(folder, replace(EVEN, seed=7), split="test")
    once = [made.draw(i, 0) for i in range(len(made))]
    assert once == [made.draw(i, 5) for i in range(len(made))]
    assert once == [other.draw(i, 3) for i in range(len(other))]
    assert all(talk.scene for talk in once)
    assert sorted(made.indices) == made.cache.indices("test")


def test_data_that_are_only_for_evaluation_are_held_out_too(folder: Path) -> None:
    train = data.dataset(folder, replace(EVEN, seed=3))
    made = Dataset(train.cache, data.demands(), replace(EVEN, seed=3), "train", held_out=True)
    assert [made.draw(i, 4) for i in range(9)] == [made.draw(i, 0) for i in range(9)]
    assert talks(made, 1) != talks(train, 1)


def test_reference_turns_are_learnt_where_all_is_asked_for(folder: Path) -> None:
    settings = MixtureSettings.only(TASKS[1], in_system=0.5, loss_on="all", drop_reference=0.0)
    made = data.dataset(folder, settings)
    eos = data.demands().config.audio_stream_eos_id
    for index in range(len(made)):
        ends = (made.example(index, 0).audio_labels == eos).sum(0).tolist()
        assert ends == [1 if made.draw(index, 0).in_system else 2] * 8


def test_tasks_and_conditions_come_as_often_as_asked(folder: Path) -> None:
    settings = MixtureSettings(
        single_speaker_smart_voice=1,
        zero_shot_voice_cloning=2,
        multi_speaker_smart_voice=1,
        in_system=0.25,
        drop_reference=0.3,
        drop_scene=0.2,
    )
    drawn = talks(data.dataset(folder, settings), 100)
    cloned = [talk for talk in drawn if talk.references]
    assert len(cloned) / len(drawn) == pytest.approx(0.5 * 0.7, abs=0.04)
    share = sum(talk.in_system for talk in cloned) / len(cloned)
    assert share == pytest.approx(0.25, abs=0.05)
    assert sum(not t.scene for t in drawn) / len(drawn) == pytest.approx(0.2, abs=0.04)
    several = sum(len(talk.turns) > 1 for talk in drawn) / len(drawn)
    assert several == pytest.approx(0.25, abs=0.04)


def test_a_weight_is_how_often_a_clip_is_drawn(tmp_path: Path) -> None:
    weights = (3.0, 1.0, 0.5, 0.0, 1.5)
    made = [
        replace(c, weight=w, split="train") for c, w in zip(data.clips(5), weights, strict=True)
    ]
    source = Dataset(data.cache(tmp_path / "data", made), data.demands(), MixtureSettings())
    assert len(source) == 4
    counts = Counter(source.draw(i, e).turns[0] for e in range(300) for i in range(len(source)))
    for i, weight in enumerate(weights):
        assert counts[i] / 300 == pytest.approx(4 * weight / 6, abs=0.1)
    once = Counter(source.draw(i, 0).turns[0] for i in range(len(source)))
    assert once[0] == 2


def test_without_weights_an_epoch_has_every_clip_once(folder: Path) -> None:
    made = data.dataset(folder, MixtureSettings())
    for epoch in range(3):
        assert [made.draw(i, epoch).turns[0] for i in range(len(made))] == made.indices


def test_scene_and_description_are_told_to_the_model(tmp_path: Path) -> None:
    hall = "Audio is recorded from a hall."
    one = replace(data.clips(1)[0], scene=hall, columns={"description": "a low voice"})
    cache = data.cache(tmp_path / "data", [one])
    tokenizer: Any = data.demands().wording.tokenizer
    for prompted, expected in (("none", hall), ("description", "speaker0: a low voice")):
        settings = MixtureSettings.only(TASKS[0], drop_scene=0.0, speaker_prompt=prompted)
        made = Dataset(cache, data.demands(), settings)
        text = tokenizer.decode(made.example(0, 0).ids.tolist())
        assert hall in text and (expected.split(": ")[-1] in text)


def test_feminine_speakers_come_first_where_the_prompt_calls_them_so(tmp_path: Path) -> None:
    genders = ("male", "female", "")
    made = [replace(c, columns={"gender": genders[i % 3]}) for i, c in enumerate(data.clips())]
    settings = MixtureSettings.only(TASKS[2])
    source = Dataset(data.cache(tmp_path / "data", made), data.demands(), settings)
    for talk in talks(source, 4):
        kinds = [genders[i % 3] for i in talk.cast]
        assert kinds[0] != "male" and kinds[1] != "female"


def test_a_reference_that_the_corpus_names_is_taken(tmp_path: Path) -> None:
    """It must be of the clip's speaker and split; where it is not, another is drawn, and told."""
    clips = [replace(c, split="train") for c in data.clips()]
    clips[9] = replace(clips[9], split="validation")
    names = {0: (6, 1), 3: (9,), 4: (4,)}
    for i, named in names.items():
        ids = " ".join(clips[k].id for k in named)
        clips[i] = replace(clips[i], columns={"references": f"{ids} no-such-clip"})
    made = Dataset(data.cache(tmp_path / "data", clips), data.demands(), EVEN)
    assert made.notes == [
        "1 of 3 clips with references of their own have none that is of their speaker and split "
        "and at most 10 s; others are drawn."
    ]
    heard: dict[int, set[int]] = {0: set(), 3: set(), 4: set()}
    for talk in talks(made, 20):
        for own, voice in zip(talk.cast, talk.references, strict=False):
            heard.setdefault(own, set()).add(voice)
    assert heard[0] == {6} and len(heard[3]) > 2 and 9 not in heard[3]
    assert len(heard[4]) > 2 and 4 not in heard[4]


def test_speakers_with_one_clip_are_counted_and_spoken_without_a_voice(tmp_path: Path) -> None:
    lonely = [
        replace(c, split="train", speaker=f"s{min(i, 3)}") for i, c in enumerate(data.clips(6))
    ]
    cache = data.cache(tmp_path / "data", lonely)
    made = Dataset(cache, data.demands(), MixtureSettings(drop_reference=0.0))
    assert made.alone == [0, 1, 2]
    assert made.notes[0].startswith("3 of 6 clips have no other clip of their speaker (s0, s1, s2)")
    drawn = talks(made, 20)
    assert not any(talk.references for talk in drawn if talk.turns[0] < 3)
    assert any(talk.references for talk in drawn if talk.turns[0] == 3)
    with pytest.raises(DataError, match=r"3 of 6 clips .* \(s0, s1, s2\)"):
        Dataset(cache, data.demands(), MixtureSettings.only(TASKS[1]))
    assert Dataset(cache, data.demands(), MixtureSettings.only(TASKS[1]), held_out=True).notes
    with pytest.raises(DataError, match="needs two speakers with 2 clip"):
        Dataset(cache, data.demands(), MixtureSettings.only(TASKS[3]))


@pytest.mark.parametrize(
    ("codec", "says"),
    [
        ({"fingerprint": "other"}, "codec .* is 'other' and that of the model is 'tiny'"),
        ({"num_codebooks": 4}, "number of codebooks .* is 4 and that of the model is 8"),
        ({"codebook_size": 512}, "codebook size .* is 512 and that of the model is 1024"),
    ],
)
def test_data_of_another_codec_are_refused(tmp_path: Path, codec: Any, says: str) -> None:
    cache = data.cache(tmp_path / "data", data.clips(2), **codec)
    with pytest.raises(DataError, match=says):
        Dataset(cache, data.demands(), MixtureSettings())


def test_data_of_another_wording_are_refused(folder: Path) -> None:
    cache = data.dataset(folder, MixtureSettings()).cache
    wording = replace(data.demands().wording, fingerprint="new")
    with pytest.raises(DataError, match=r"wording .* is 'tiny' and that of the model is 'new'"):
        Dataset(cache, replace(data.demands(), wording=wording), MixtureSettings())


def test_an_empty_split_is_refused(tmp_path: Path) -> None:
    cache = data.cache(tmp_path / "data", data.clips(3))
    with pytest.raises(DataError, match=r"'validation' .* has no clips"):
        Dataset(cache, data.demands(), MixtureSettings(), "validation")


class Numbers:
    """Examples that are the clip's number and the epoch."""

    def __init__(self, count: int) -> None:
        self.count = count

    def __len__(self) -> int:
        return self.count

    def example(self, index: int, epoch: int) -> Any:
        return self.count, index, epoch


def test_replayed_data_are_gone_through_share_by_share() -> None:
    mixed = Mixed([Numbers(90), Numbers(25)], [0.9, 0.1])
    assert len(mixed) == 100
    seen = [mixed.example(i, epoch) for epoch in range(5) for i in range(100)]
    assert [n for count, n, epoch in seen if count == 90 and epoch == 4] == list(range(90))
    replayed = [(lap, n) for count, n, lap in seen if count == 25]
    assert len(replayed) == len(set(replayed)) == 50
    assert {lap for lap, _ in replayed} == {0, 1}
    assert [n for _, n in replayed[:25]] != list(range(25))


def test_a_share_of_replay_is_mixed_in(folder: Path) -> None:
    made = data.dataset(folder, MixtureSettings(replay=0.2))
    mixed = with_replay(made, [made], made.settings)
    assert len(mixed) == round(len(made) / 0.8)
    assert with_replay(made, [], made.settings) is made
    batch = Packer(mixed, 4000).next()
    assert len(batch.segment.unique()) == len(mixed)


@pytest.mark.parametrize(
    "settings",
    [
        dict.fromkeys(TASKS, 0.0),
        {TASKS[0]: -1.0},
        {"drop_scene": 1.5},
        {"in_system": float("nan")},
        {"replay": 1.0},
        {"max_speakers": 1},
        {"max_reference_seconds": 0.0},
        {"loss_on": "everything"},
        {"speaker_prompt": "reference"},
        {"seed": -1},
    ],
)
def test_nonsense_is_refused(settings: dict[str, Any]) -> None:
    with pytest.raises(SettingError, match=r"\.$"):
        MixtureSettings(**settings)


def test_an_unknown_task_is_refused_with_those_there_are() -> None:
    with pytest.raises(SettingError, match="zero_shot_voice_cloning"):
        MixtureSettings.only("translate")
