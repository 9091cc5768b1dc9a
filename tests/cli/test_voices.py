"""`higgs voices` with a tiny codec: add, list, show, play, remove."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path

import numpy as np
import pytest

from faster_higgs.audio.files import read
from faster_higgs.audio.save import save
from faster_higgs.cli.loading import encoding_voices, voice_folders
from faster_higgs.errors import AudioError
from faster_higgs.prompt.voices import PROFILES
from faster_higgs.speech import Higgs
from faster_higgs.testing import spoken, tiny_checkpoint, tones

WORDS = "This is what is said in the clip."


@pytest.fixture
def clip(here):
    """A good clip, its words beside it."""
    noise = np.random.default_rng(0).standard_normal(3 * 24_000)
    gate = np.repeat(np.tile([1.0, 0.0], 15), 2_400)
    save("clip.wav", (0.1 * noise * gate).astype(np.float32))
    Path("clip.txt").write_text(WORDS)
    return "clip.wav"


def rows(ended):
    """The lines of a list, their columns one blank apart."""
    return [" ".join(line.split()) for line in ended.out.splitlines()]


@pytest.fixture
def voices(run, tiny):
    return lambda *arguments: run("voices", *arguments, "--model", tiny)


def test_a_voice_is_added_listed_shown_used_and_removed(voices, run, tiny, clip, tmp_path):
    ended = voices("add", "me", clip)
    assert ended.code == 0 and ended.err == "" and "--voice me" in ended.out
    names = sorted(path.name for path in (tmp_path / "mine").iterdir())
    assert names[:2] == ["me.txt", "me.wav"] and len(names) == 3
    assert re.fullmatch(r"me@[0-9a-f]{16}\.safetensors", names[2])
    assert f"me 3.0 s yours {WORDS}" in rows(voices("list"))
    assert f"Transcript: {WORDS}" in voices("show", "me").out
    said = run("say", "Hello.", "--voice", "me", "--model", tiny, "--max_new_tokens", 20)
    assert said.code == 0 and "voice: me" in said.out
    assert voices("remove", "me").out == "Removed me.\n"
    assert list((tmp_path / "mine").iterdir()) == []


def test_the_words_may_be_told_or_in_another_file(voices, clip):
    voices("add", "a", clip, "--text", "Told.")
    assert "Transcript: Told." in voices("show", "a").out
    Path("other.txt").write_text("From a file.\n")
    voices("add", "b", clip, "--text-file", "other.txt")
    assert "Transcript: From a file." in voices("show", "b").out
    both = voices("add", "c", clip, "--text", "One.", "--text_file", "other.txt")
    assert both.code == 2 and "leave one of them out" in both.error


def test_findings_are_told_and_the_voice_is_kept(voices, here):
    save("dull.wav", tones(spoken("A voice of plain tones, no more.")))
    ended = voices("add", "dull", "dull.wav", "--text", WORDS)
    assert ended.code == 0
    assert ended.err.startswith("Warning: The clip has nothing above")


def test_a_name_that_is_taken_is_refused_and_may_be_replaced(voices, clip):
    voices("add", "me", clip)
    assert "already" in voices("add", "me", clip).error
    assert voices("add", "me", clip, "--text", "New words.", "--replace").code == 0
    assert "New words." in voices("show", "me").out


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="needs a folder nobody may write")
def test_a_folder_that_cannot_be_written_is_told(voices, clip):
    ended = voices("add", "me", clip, "--voices-dir", "/proc/voices")
    assert ended.code == 2 and "cannot be saved in /proc/voices" in ended.error


@pytest.mark.parametrize("name", ["a/b", "", "../x", "with space"])
def test_a_name_that_is_no_name_is_refused(voices, clip, name):
    ended = voices("add", name, clip)
    assert ended.code == 2 and "cannot name a voice" in ended.error


def test_the_list_has_shipped_and_described_voices(voices):
    told = json.loads(voices("list", "--json").out)
    assert [row["name"] for row in told] == ["alice", "bob", *(f"profile:{n}" for n in PROFILES)]
    assert told[0]["source"] == "shipped" and told[0]["seconds"] > 1
    assert told[2]["source"] == "described" and told[2]["seconds"] is None


def test_a_list_without_any_model_has_only_the_users(run, monkeypatch, tmp_path):
    monkeypatch.setattr("faster_higgs.checkpoint.files.PACKAGED", tmp_path)
    ended = run("voices", "list")
    assert ended.code == 0 and "alice" not in ended.out


def test_an_unknown_or_shipped_voice_is_not_removed(voices):
    assert "Known: alice, bob" in voices("remove", "nobody").error
    assert "shipped" in voices("remove", "alice").error
    assert voices("show", "alice").code == 0


def test_a_folder_of_clips_from_elsewhere_can_be_used(run, tiny, clip, here):
    ended = run("voices", "list", "--model", tiny, "--voices-dir", here)
    assert f"clip 3.0 s yours {WORDS}" in rows(ended)


@pytest.fixture
def player(tmp_path, monkeypatch):
    """A player that keeps what it was asked to play; the only one on this machine."""
    folder = tmp_path / "bin"
    folder.mkdir()
    program = folder / "aplay"
    program.write_text(f'#!/bin/sh\nfor last; do :; done\n/bin/cp "$last" "{tmp_path}/heard.wav"\n')
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(folder))
    return tmp_path / "heard.wav"


def test_a_voice_is_played(voices, player, tiny):
    assert voices("play", "alice").code == 0
    assert player.read_bytes() == (tiny / "voices" / "alice.wav").read_bytes()


def test_a_voice_without_sound_file_is_played_from_its_codes(voices, player, clip, tmp_path):
    voices("add", "me", clip)
    (tmp_path / "mine" / "me.wav").unlink()
    assert voices("play", "me").code == 0
    assert len(read(player)) == pytest.approx(3 * 24_000, abs=2_000)


def test_a_speech_is_played_after_it_was_saved(fake, run, player, here):
    assert run("say", "Hello.", "--play").code == 0
    assert player.read_bytes() == (here / "output.wav").read_bytes()


def test_a_player_that_fails_is_told(voices, player, monkeypatch):
    program = Path(os.environ["PATH"]) / "aplay"
    program.write_text('#!/bin/sh\necho "no sound card" >&2\nexit 3\n')
    ended = voices("play", "alice")
    assert ended.code == 1 and "aplay could not play the sound: no sound card" in ended.error


def test_without_a_player_nothing_is_begun(fake, run, here, monkeypatch):
    monkeypatch.setenv("PATH", str(here))
    ended = run("say", "Hello.", "--play")
    assert ended.code == 2 and "install one of afplay, paplay, aplay" in ended.error
    assert list(here.iterdir()) == []


@pytest.mark.parametrize(
    ("environment", "platform", "folders"),
    [
        ({"HIGGS_VOICES": os.pathsep.join(["a", "b"])}, "linux", ["a", "b"]),
        ({"XDG_DATA_HOME": "d"}, "linux", ["d/faster-higgs/voices"]),
        ({"LOCALAPPDATA": "d"}, "win32", ["d/faster-higgs/voices"]),
        ({}, "linux", ["~/.local/share/faster-higgs/voices"]),
        ({}, "darwin", ["~/Library/Application Support/faster-higgs/voices"]),
    ],
)
def test_where_the_users_voices_are(environment, platform, folders):
    wanted = [Path(folder).expanduser() for folder in folders]
    assert voice_folders(None, environment, platform) == wanted
    assert voice_folders(Path("given"), environment, platform) == [Path("given")]


@pytest.mark.parametrize("seconds", [0.5, 90])
def test_adding_and_cloning_refuse_the_same_clips(tiny, tmp_path, seconds):
    sound = np.resize(tones(spoken("Some letters to repeat.")), round(seconds * 24_000))
    save(tmp_path / "clip.wav", sound)
    refusals = []
    with Higgs.load(tiny, device="cpu") as higgs:
        for encode in (higgs.encode, encoding_voices(tiny, [tmp_path / "mine"])._encode):
            with pytest.raises(AudioError) as refused:
                encode(tmp_path / "clip.wav")
            refusals.append(str(refused.value))
    assert refusals[0] == refusals[1]


def test_a_described_voice_is_shown(voices):
    ended = voices("show", "profile:male_en")
    words = f"Name: profile:male_en\nSource: described\nDescription: {PROFILES['male_en']}\n"
    assert ended == (0, words, "")
    assert voices("show", "profile:alice").error.startswith("No described voice 'profile:alice'")


@pytest.mark.parametrize("command", ["play", "remove"])
def test_a_described_voice_has_no_files(voices, player, command):
    ended = voices(command, "profile:male_en")
    assert ended.code == 2 and "'profile:male_en' is a description" in ended.error


def test_a_voice_of_words_alone_is_listed_and_shown(voices, player, tmp_path):
    (tmp_path / "mine").mkdir(exist_ok=True)
    (tmp_path / "mine" / "old.description").write_text("an old man")
    assert "described" in next(x for x in voices("list").out.splitlines() if x.startswith("old"))
    assert "Description: an old man" in voices("show", "old").out
    assert "can only be spoken" in voices("play", "old").error


def test_codes_of_another_codec_are_not_played(voices, run, player, clip, tmp_path):
    voices("add", "me", clip)
    (tmp_path / "mine" / "me.wav").unlink()
    ended = run("voices", "play", "me", "--model", tiny_checkpoint(tmp_path / "other", seed=1))
    assert ended.code == 2 and "made by another codec" in ended.error


class TestPresets:
    """`higgs voices import`: a folder with a config.json, as Boson's server has it."""

    @pytest.fixture
    def presets(self, clip):
        def written(entries):
            Path("presets").mkdir(exist_ok=True)
            Path(clip).replace("presets/clip.wav") if Path(clip).exists() else None
            Path("presets/config.json").write_text(json.dumps(entries), encoding="utf-8")
            return "presets"

        return written

    def test_each_becomes_a_voice(self, voices, presets):
        usual = "Convert text to speech with the same voice."
        one = {"transcript": WORDS, "audio_file": "clip.wav"}
        folder = presets(
            {
                "ann": one,
                "bob": one | {"system_prompt": usual},
                "eve": one | {"system_prompt": "Sad."},
            }
        )
        ended = voices("import", folder)
        assert ended.code == 0 and ended.out == "Added ann.\nAdded bob.\nAdded eve.\n"
        assert ended.err.count("Note: ") == 1 and "eve" in ended.err and "Sad." in ended.err
        assert f"eve 3.0 s yours {WORDS}" in rows(voices("list"))
        assert "already" in voices("import", folder).error
        assert voices("import", folder, "--replace").code == 0

    @pytest.mark.parametrize(
        ("entries", "word"),
        [
            ([], "names no voices"),
            ({}, "names no voices"),
            ({"ann": "clip.wav"}, "nothing else"),
            ({"ann": {"transcript": WORDS}}, "no audio_file"),
            ({"ann": {"transcript": " ", "audio_file": "clip.wav"}}, "no transcript"),
            ({"ann": {"transcript": WORDS, "audio_file": "gone.wav"}}, "is not there"),
            ({"ann": {"transcript": WORDS, "audio_file": "../clip.txt"}}, "lies outside"),
            ({"ann": {"transcript": WORDS, "audio_file": "/etc/passwd"}}, "lies outside"),
            ({"a/b": {"transcript": WORDS, "audio_file": "clip.wav"}}, "cannot name a voice"),
            ({"ann": {"transcript": WORDS, "audio_file": "clip.wav", "x": 1}}, "nothing else"),
        ],
    )
    def test_a_wrong_folder_changes_nothing(self, voices, presets, tmp_path, entries, word):
        good = {"good": {"transcript": WORDS, "audio_file": "clip.wav"}}
        folder = presets(good | entries if isinstance(entries, dict) and entries else entries)
        ended = voices("import", folder)
        assert ended.code == 2 and word in ended.error
        assert not (tmp_path / "mine").exists()

    def test_a_folder_without_a_config_is_told(self, voices, here):
        assert "config.json cannot be read" in voices("import", ".").error
        Path("config.json").write_bytes(b"\xff{")
        assert "is not JSON" in voices("import", ".").error


def test_an_openai_name_is_noted_or_meant(voices, clip):
    ended = voices("add", "alloy", clip)
    assert ended.code == 0 and "--openai-name" in ended.err
    ended = voices("add", "alloy", clip, "--openai-name", "--replace")
    assert ended.code == 0 and ended.err == ""
    assert "is no name of OpenAI's" in voices("add", "me", clip, "--openai-name").error
