"""The evaluation of pico: what it counts, that it resumes, what it says when it cannot run."""

from __future__ import annotations

import json
import platform
import random
import re
import shutil
import subprocess
import sys
from functools import cache
from importlib.machinery import ModuleSpec
from importlib.util import module_from_spec
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from evals import listen, machine, pico, settings, takes, tune, tune_corpus
from evals.dialogue import dialogues, turns
from evals.hearing import Ear, for_the_ear, plain, score
from evals.journal import Journal
from evals.likeness import OTHER_SENTENCES, Likeness
from evals.settings import RunSettings
from evals.summary import Clip, Row, judge, measure, share_of_turns
from faster_higgs.audio.save import save
from faster_higgs.errors import EngineError, MissingExtra, NoAudio, SettingError
from faster_higgs.testing import FakeHiggs, heard, spoken, tones
from faster_higgs.text.normalize import speakable
from recipes.pico import sentences, voices
from tests.project.source import ROOT

SENTENCES = (ROOT / "evals" / "sentences_en.txt").read_text(encoding="utf-8").splitlines()
RATE = 24_000


def tone(hertz: float, seconds: float = 0.5) -> np.ndarray:
    return np.sin(2 * np.pi * hertz * np.arange(round(seconds * RATE)) / RATE).astype(np.float32)


NUMBER = rf"(?:{'|'.join([*sentences.ONES, *sentences.TENS, 'hundred', 'thousand'])})"
COMPUTED = {  # the slots that are drawn as numbers: a little more than they can be
    "number": rf"{NUMBER}(?: {NUMBER})*",
    "clock": rf"{NUMBER}(?: {NUMBER}| oh| o'clock)*(?: in the morning| p m| a m)?",
    "money": rf"{NUMBER}(?: {NUMBER}| and)* (?:dollars|pounds|euros)(?: and {NUMBER}.* cents)?",
    "digits": rf"{NUMBER}(?: {NUMBER})*",
    "year": rf"{NUMBER}(?: {NUMBER})*",
    "date": rf"(?:{'|'.join(sentences.MONTHS).lower()})(?: \w+)+",
}


@cache
def patterns() -> list[re.Pattern[str]]:
    """What each template of the corpus can make, in the form in which sentences are compared."""
    slots = COMPUTED | {
        slot: f"(?:{'|'.join(map(sentences.plain, choices))})"
        for slot, choices in sentences.CHOICES.items()
    }
    return [
        re.compile(" ".join(slots.get(part) or sentences.plain(part) for part in parts))
        for parts in (re.findall(r"(?<={)\w+(?=})|[^{}]*\w[^{}]*", t) for t in sentences.TEMPLATES)
    ]


def templated(text: str) -> bool:
    """Whether a template of the corpus can make this sentence."""
    return any(pattern.fullmatch(sentences.plain(text)) for pattern in patterns())


class TestSentences:
    def test_there_are_200_different_short_ones(self):
        assert len(SENTENCES) == len({plain(text) for text in SENTENCES}) == 200
        assert all(2 <= len(text.split()) <= 18 and text.isascii() for text in SENTENCES)

    def test_they_are_varied(self):
        assert sum(text.endswith("?") for text in SENTENCES) >= 30
        assert sum(text.endswith("!") for text in SENTENCES) >= 15
        assert sum(any(c.isdigit() for c in text) for text in SENTENCES) >= 30
        assert sum(len(text.split()) <= 3 for text in SENTENCES) >= 10

    def test_the_voices_are_known_by_other_sentences(self):
        assert len(OTHER_SENTENCES) >= 12
        assert not {plain(t) for t in OTHER_SENTENCES} & {plain(t) for t in SENTENCES}

    @pytest.mark.slow
    @pytest.mark.skipif(not sentences.WORDNET.is_dir(), reason="needs Debian's wordnet-base")
    def test_none_of_them_is_in_the_corpus(self):
        texts = (path.read_text() for path in sentences.WORDNET.glob("data.*"))
        learned = " ".join(sentences.plain(text) for text in texts)
        ours = (sentences.plain(text) for text in SENTENCES + OTHER_SENTENCES)
        assert not [text for text in ours if f" {text} " in learned]

    def test_no_template_of_the_corpus_makes_one_of_them(self):
        assert all(map(templated, sentences.from_templates(500, random.Random(0))))
        assert not [text for text in SENTENCES + OTHER_SENTENCES if templated(speakable(text))]


class TestPlain:
    @pytest.mark.parametrize(
        ("text", "words"),
        [
            ("The bus leaves at seven thirty.", "the bus leaves at seven thirty"),
            ("Don't, it’s HOT!", "don't it's hot"),
            ("'Quoted' words -- twenty-five", "quoted words twenty five"),
            ("at eight p.m. in the u.s.", "at eight pm in the us"),
            ("at eight P M in the U S", "at eight pm in the us"),
            ("mr. brown and Mrs Green", "mister brown and missus green"),
            ("a.'s and e-mail", "a's and email"),
            ("So am I a fool?", "so am i a fool"),
        ],
    )
    def test_letters_and_apostrophes_remain(self, text, words):
        assert plain(text) == words

    @given(st.text(alphabet="abim rk'.-,’Z9", max_size=40))
    def test_what_is_plain_stays_as_it_is(self, text):
        assert plain(plain(text)) == plain(text)


class TestScore:
    def test_nothing_wrong_is_zero_and_silence_is_all(self):
        said = ["one two three", "four"]
        assert score(said, said).wer == score(said, said).cer == 0
        assert score(said, ["", ""]).wer == score(said, ["", ""]).cer == 100

    def test_long_sentences_count_for_more(self):
        assert score(["a b c d e f g h i", "x"], ["a b c d e f g h i", "y"]).wer == 10

    def test_the_interval_holds_the_figure(self):
        said = ["one two three four"] * 30
        found = score(said, ["one two three five"] * 10 + said[10:])
        assert found.low < found.wer < found.high


class TestEar:
    def test_every_clip_reaches_it_alike(self):
        quiet, loud = (
            np.frombuffer(for_the_ear(level * tone(440), RATE), "<i2").astype(int)
            for level in (0.01, 0.9)
        )
        assert np.abs(quiet - loud).max() <= 1
        assert abs(loud.max() / 32767 - 0.7) < 0.02
        assert len(loud) == 16_000 * (0.5 + 2 * 0.2)
        assert np.abs(loud[:3000]).max() < 32

    def test_an_empty_clip_is_silence(self):
        assert len(for_the_ear(np.zeros(0, np.float32), RATE)) > 0

    def test_it_hears_a_clip_the_same_whatever_came_before(self):
        pytest.importorskip("pocketsphinx")
        ear, clip = Ear(), tone(300, 0.2) * np.hanning(4800).astype(np.float32)
        first = ear(clip, RATE)
        ear(tone(900, 0.2), RATE)
        assert ear(clip, RATE) == first


class TestLikeness:
    def alike(self):
        def embed(samples, rate):
            if not samples.size:
                return None
            strength = np.abs(np.fft.rfft(samples[: rate // 10]))[:100]
            return strength / np.linalg.norm(strength)

        clips = {"low": [tone(100), tone(110)], "high": [tone(700), tone(710)]}
        return Likeness(clips, RATE, embed)

    def test_a_clip_is_most_like_its_own_voice(self):
        found = self.alike()(tone(710), RATE)
        assert found["high"] > 0.5 > found["low"]

    def test_silence_is_like_nobody(self):
        assert self.alike()(np.zeros(0, np.float32), RATE) == {}


def row(**changed) -> Row:
    clips = {
        "take": Clip(2.0, changed.pop("heard", "hello there"), changed.pop("likeness", {})),
        "teacher": Clip(1.6, "hello there"),
    }
    found = {"finish": "stop", "compute": 1.0, "tail": 0.2} | changed
    return Row("Hello there.", "Hello there.", "ann", 0, clips, **found)


class TestFigures:
    def test_a_take_fails_to_stop_when_it_is_cut_or_ends_in_silence(self):
        rows = [row(), row(finish="length"), row(tail=1.2), row(finish="no_audio")]
        assert measure(rows)["stop_failures"] == 75
        assert measure(rows)["finish"] == {"stop": 2, "length": 1, "no_audio": 1}

    def test_a_take_without_sound_has_the_wrong_voice(self):
        right, wrong = {"ann": 0.9, "bob": 0.5}, {"ann": 0.4, "bob": 0.6}
        rows = [row(likeness=right), row(likeness=wrong), row(likeness={}), row(likeness=right)]
        found = measure(rows)
        assert found["voice_accuracy"] == 50
        assert found["similarity_within"] == pytest.approx(0.733, abs=1e-3)
        assert found["similarity_between"] == pytest.approx(0.533, abs=1e-3)

    def test_speed_and_length_are_ratios(self):
        found = measure([row(), row(compute=0.2)])
        assert found["rtf"] == 0.3
        assert found["duration_ratio"]["median"] == 1.25

    def test_what_was_not_made_has_no_figure(self):
        only_teacher = Row("Hi.", "Hi.", "ann", 0, {"teacher": Clip(1.0, "hi")})
        assert set(measure([only_teacher])) == {
            *("sentences", "teacher_wer", "teacher_cer", "teacher_wer_95")
        }

    @pytest.mark.parametrize(
        ("figures", "reached"),
        [
            ({"wer": 9.0, "teacher_wer": 6.0}, "aim"),
            ({"wer": 21.0, "teacher_wer": 6.0}, "must"),
            ({"wer": 21.1, "teacher_wer": 6.0}, "missed"),
            ({"codec_wer": 11.0, "teacher_wer": 6.0}, "must"),
            ({"stop_failures": 0.0}, "aim"),
            ({"stop_failures": 2.5}, "missed"),
            ({"voice_accuracy": 99.5}, "must"),
            ({"voice_accuracy": 94.9}, "missed"),
            ({"cold_start_s": 3.1}, "must"),
        ],
    )
    def test_the_gates_are_those_of_the_project(self, figures, reached):
        (verdict,) = judge(figures)
        assert verdict["reached"] == reached

    def test_a_word_error_rate_without_the_teachers_is_not_judged(self):
        assert judge({"wer": 5.0}) == []


class TestJournal:
    def test_rows_come_back_as_they_were(self, tmp_path):
        kept = [row(), row(heard="yellow bear", likeness={"ann": 0.5})]
        Journal(tmp_path / "j", {"seed": 1}).add(kept)
        assert Journal(tmp_path / "j", {"seed": 1}).rows == kept

    def test_a_torn_line_is_made_again(self, tmp_path):
        path = tmp_path / "j"
        Journal(path, {"seed": 1}).add([row(), row()])
        path.write_bytes(path.read_bytes()[:-20])
        again = Journal(path, {"seed": 1})
        assert again.rows == [row()]
        again.add([row(finish="length")])
        assert Journal(path, {"seed": 1}).rows == [row(), row(finish="length")]

    def test_another_run_is_refused(self, tmp_path):
        Journal(tmp_path / "j", {"seed": 1}).add([row()])
        with pytest.raises(SettingError, match="delete it"):
            Journal(tmp_path / "j", {"seed": 2})


@pytest.fixture
def fakes(monkeypatch):
    """A whole evaluation without model, synthesiser or recogniser: everybody speaks in tones."""
    known = {tuple(spoken(text)[0].tolist()): text for text in TEXTS}

    def hear(self, clips, rate):
        fake.heard += len(clips)
        if fake.heard > fake.patience:
            raise KeyboardInterrupt
        return [known.get(tuple(heard(clip)[0].tolist()), "nothing") for clip in clips]

    class Fakes:
        heard, patience = 0, 1000

    fake = Fakes()
    teachers = dict.fromkeys(("alice", "bob"), voices.TEACHERS["clara"])
    for module in (voices, takes):
        monkeypatch.setattr(module, "TEACHERS", teachers)
    monkeypatch.setattr(takes, "teacher", lambda text, voice: tones(spoken(text)))
    monkeypatch.setattr(takes, "likeness", lambda *_: lambda *_: {"alice": 0.9, "bob": 0.4})
    monkeypatch.setattr(pico, "load", lambda folder: FakeHiggs())
    monkeypatch.setattr(pico, "check_tools", lambda skip: None)
    monkeypatch.setattr(pico.Ears, "__call__", hear)
    monkeypatch.setattr(machine, "cold_start", lambda folder: 2.5)
    return fake


TEXTS = [f"Sentence {name}." for name in "one two three four five six seven eight nine ten".split()]


@pytest.fixture
def command(tmp_path) -> list[str]:
    file, model = tmp_path / "texts.txt", tmp_path / "model"
    file.write_text("\n\n".join(TEXTS))
    model.mkdir()
    (model / "weights").write_text("any")
    flags = ["--sentences", file, "--json", tmp_path / "out" / "result.json", "--model", model]
    return [*map(str, flags), "--workers", "0"]


def result(tmp_path: Path) -> dict:
    return json.loads((tmp_path / "out" / "result.json").read_text())


class TestEvaluation:
    def test_it_measures_what_the_project_asks_for(self, fakes, command, tmp_path, capsys):
        assert pico.main(command) == 0
        found = result(tmp_path)
        assert (found["wer"], found["teacher_wer"], found["codec_wer"]) == (0, 0, 0)
        assert (found["stop_failures"], found["voice_accuracy"]) == (0, 50)
        assert (found["clone_wer"], found["clone_voice_accuracy"]) == (0, 50)
        assert (found["dialogue_turns"], found["dialogue_voice_accuracy"]) == (10, 50)
        assert found["threads"] >= 1
        assert found["duration_ratio"]["median"] == 1
        assert found["rtf"] > 0
        assert {"machine", "versions", "date", "model_hash", "by_voice"} <= set(found)
        assert [take["voice"] for take in found["takes"]] == ["alice", "bob"] * 5
        printed = capsys.readouterr()
        assert "FAIL" in printed.out  # every second voice is the wrong one
        assert "aim reached" in printed.out
        assert "10/10" in printed.err

    def test_interrupted_and_resumed_is_as_if_nothing_had_happened(self, fakes, command, tmp_path):
        assert pico.main(command) == 0
        whole = result(tmp_path)
        fakes.heard, fakes.patience = 0, 4 * pico.GROUP
        assert pico.main(command) == 130
        fakes.heard, fakes.patience = 0, 4 * (len(TEXTS) - pico.GROUP)
        assert pico.main(command) == 0
        resumed = result(tmp_path)
        for found in (whole, resumed):
            for take in found["takes"]:
                take["compute"] = 0
        assert resumed["takes"] == whole["takes"]
        assert [path.name for path in (tmp_path / "out").iterdir()] == ["result.json"]

    def test_a_cut_take_is_counted(self, fakes, command, tmp_path, monkeypatch):
        real = FakeHiggs.speak

        def short(self, text, voice, sampling):
            return real(self, text, voice, takes.replace(sampling, max_new_tokens=30))

        monkeypatch.setattr(FakeHiggs, "speak", short)
        assert pico.main(command) == 0
        assert result(tmp_path)["stop_failures"] == 100
        assert result(tmp_path)["wer"] == 100

    def test_parts_can_be_left_out(self, fakes, command, tmp_path):
        skip = "teacher,codec,similarity,cold-start"
        assert pico.main([*command, "--skip", skip, "--limit", "3"]) == 0
        found = result(tmp_path)
        assert found["sentences"] == 3
        assert not {"teacher_wer", "codec_wer", "voice_accuracy", "cold_start_s"} & set(found)
        assert {"wer", "clone_wer"} <= set(found)

    def test_a_share_of_the_sentences_is_cloned_and_talked_over(
        self, fakes, command, tmp_path, monkeypatch
    ):
        monkeypatch.setattr(pico, "SHARE", 4)
        assert pico.main(command) == 0
        found = result(tmp_path)
        assert ["clone" in take["clips"] for take in found["takes"]] == [True] * 4 + [False] * 6
        assert [turn["voice"] for turn in found["dialogues"]] == ["alice", "bob"] * 2
        assert [turn["text"] for turn in found["dialogues"]] == TEXTS[:4]

    def test_clones_and_dialogues_can_be_left_out(self, fakes, command, tmp_path):
        assert pico.main([*command, "--skip", "clone,dialogue"]) == 0
        assert not {"clone_wer", "dialogue_turns"} & set(result(tmp_path))

    def test_voices_can_be_chosen(self, fakes, command, tmp_path, capsys):
        assert pico.main([*command, "--voices", "bob", "--seed", "7"]) == 0
        assert {take["voice"] for take in result(tmp_path)["takes"]} == {"bob"}
        assert [take["seed"] for take in result(tmp_path)["takes"]] == list(range(7, 17))
        assert pico.main([*command, "--voices", "carol"]) == 2
        assert "carol" in capsys.readouterr().err

    @pytest.mark.parametrize(
        ("lines", "word"), [("", "no sentence"), ("Good.\n?!\n", "take it out"), (None, "read")]
    )
    def test_bad_sentences_are_told_in_a_sentence(self, fakes, command, lines, word, capsys):
        path = Path(command[1])
        path.unlink() if lines is None else path.write_text(lines)
        assert pico.main(command) == 2
        assert word in capsys.readouterr().err


class TestDialogue:
    def test_two_voices_take_turns_and_the_pairs_change(self):
        texts = [f"Text {i}." for i in range(9)]
        found = dialogues(texts, ["ann", "bob", "cy"], 5)
        assert [(one.texts, one.voices, one.seed) for one in found] == [
            (tuple(texts[:4]), ("ann", "bob"), 5),
            (tuple(texts[4:8]), ("ann", "cy"), 6),
        ]
        assert found[0].script.splitlines()[:3] == [
            *("[SPEAKER0] Text 0.", "[SPEAKER1] Text 1.", "[SPEAKER0] Text 2.")
        ]

    def test_one_voice_has_nobody_to_talk_to(self):
        assert dialogues(TEXTS, ["ann"], 0) == []

    def test_a_turn_is_judged_by_its_own_sound(self):
        (dialogue,) = dialogues(["Hello there.", "Good day."], ["alice", "bob"], 0)
        with FakeHiggs() as higgs:
            found = list(turns(dialogue, higgs, lambda samples, rate: {"s": len(samples) / rate}))
        assert [(turn.text, turn.voice) for turn in found] == [
            *(("Hello there.", "alice"), ("Good day.", "bob"))
        ]
        assert found[0].likeness["s"] > found[1].likeness["s"] > 0

    def test_a_dialogue_without_sound_counts_as_nobodys(self, monkeypatch):
        def silent(*_):
            raise NoAudio("Nothing.")

        (dialogue,) = dialogues(["Hello there.", "Good day."], ["alice", "bob"], 0)
        monkeypatch.setattr(FakeHiggs, "speak", silent)
        with FakeHiggs() as higgs:
            found = share_of_turns(list(turns(dialogue, higgs, lambda *_: {})))
        assert (found["dialogue_turns"], found["dialogue_voice_accuracy"]) == (2, 0)


class TestSettings:
    @pytest.mark.parametrize(
        "wrong",
        [{"skip": {"teacher"}}, {"skip": {"all"}}, {"skip": {*settings.PARTS}}, {"limit": 0}],
    )
    def test_contradictions_are_refused(self, wrong):
        wrong = wrong | {"skip": frozenset(wrong.get("skip", ()))}
        with pytest.raises(SettingError):
            RunSettings(Path("a"), Path("b"), **wrong)

    def test_missing_tools_are_named_with_the_way_to_get_them(self, monkeypatch):
        monkeypatch.setattr(settings.shutil, "which", lambda name: None)
        monkeypatch.setattr(settings.importlib.util, "find_spec", lambda name: None)
        with pytest.raises(MissingExtra) as error:
            settings.check_tools(frozenset())
        lines = str(error.value).splitlines()
        assert len(lines) == 5
        assert "apt-get install flite" in lines[0]
        assert all("faster-higgs[eval]" in line for line in lines[1:])


class TestMachine:
    def test_a_fingerprint_changes_with_any_file(self, tmp_path):
        (tmp_path / "deep").mkdir()
        (tmp_path / "deep" / "a").write_text("1")
        before = machine.fingerprint(tmp_path)
        assert machine.fingerprint(tmp_path) == before
        (tmp_path / "deep" / "a").write_text("2")
        assert machine.fingerprint(tmp_path) != before

    def test_it_knows_where_it_runs(self):
        assert machine.machine()["cores"] >= 1
        assert platform.release() not in str(machine.machine())
        assert {"python", "torch", "numpy"} <= set(machine.versions())

    def test_a_command_that_fails_is_told_with_its_reason(self, tmp_path, monkeypatch):
        failed = subprocess.CompletedProcess([], 2, "", "warm words\nNo model is here.\n")
        monkeypatch.setattr(machine.subprocess, "run", lambda *_, **__: failed)
        with pytest.raises(EngineError, match=r"No model is here\..*--skip cold-start"):
            machine.cold_start(tmp_path)


@pytest.mark.skipif(shutil.which("flite") is None, reason="needs flite")
def test_the_teacher_speaks_at_the_models_rate():
    sound = takes.teacher("Hello there.", "iris")
    assert sound.dtype == np.float32
    assert 0.3 * RATE < len(sound) < 3 * RATE
    assert np.abs(sound).max() > 0.1


def test_a_take_can_be_looked_at(tmp_path, monkeypatch, capsys):
    ear = module_from_spec(ModuleSpec("pocketsphinx", None))
    monkeypatch.setitem(sys.modules, "pocketsphinx", ear)
    monkeypatch.setattr(listen, "Ear", lambda: lambda samples, rate: "a tone")
    save(tmp_path / "in.wav", 0.5 * tone(440))
    assert listen.main([str(tmp_path / "in.wav"), "-o", str(tmp_path / "out.png")]) == 0
    assert (tmp_path / "out.png").stat().st_size > 1000
    assert "Heard: a tone" in capsys.readouterr().out
    assert listen.main([str(tmp_path / "none.wav"), "-o", str(tmp_path / "out.png")]) == 2


class TestTune:
    def test_what_is_judged_is_neither_spoken_nor_rehearsed_before(self):
        said, rehearsed = tune_corpus.texts(SENTENCES)
        assert len(said) >= tune_corpus.CLIPS and len(rehearsed) == tune_corpus.REHEARSED
        assert not {plain(text) for text in SENTENCES} & {plain(text) for text in said + rehearsed}

    def test_the_new_voice_is_none_of_pico_s(self):
        assert tune_corpus.NEW not in voices.TEACHERS
        known = {(t.voice, t.shift) for t in voices.TEACHERS.values()}
        new = tune_corpus.VOICES[tune_corpus.NEW]
        assert (new.voice, new.shift) not in known

    def test_every_step_is_a_command_that_is_understood(self, tmp_path, monkeypatch):
        from faster_higgs.cli.main import build

        monkeypatch.setattr(tune, "PACKAGED", tmp_path)
        for command in tune.steps(tune.read_flags(["--work", "w", "--json", "j"])).values():
            context = build().make_context("higgs", list(command), resilient_parsing=False)
            name, sub, rest = context.command.resolve_command(context, list(command))
            while hasattr(sub, "resolve_command"):
                name, sub, rest = sub.resolve_command(sub.make_context(name, rest), rest)
            sub.make_context(name, rest)  # an unknown flag would raise

    def test_gates_tell_a_voice_that_was_not_learnt(self):
        before = {"new": {}, "old": {"wer": 20.0}}
        new = {"voice_accuracy": 95.0, "wer": 20.0, "teacher_wer": 16.0, "codec_wer": 18.0}
        alike = {**dict.fromkeys(voices.TEACHERS, 0.6), tune_corpus.NEW: 0.8}
        good = {"new": new, "old": {"wer": 21.0}, "alike": alike}
        worse = {**alike, "angus": 0.9}
        bad = {"new": {**new, "wer": 40.0}, "old": {"wer": 23.0}, "alike": worse}
        found = tune.gates(
            {"pico, one clip as reference": before, "adapter": good, "all weights": bad}
        )
        assert [gate["passed"] for gate in found] == [True] * 4 + [False] * 4
