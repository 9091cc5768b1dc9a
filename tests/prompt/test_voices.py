"""A folder of voices: found, encoded once, added whole or not at all, removed."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor

from faster_higgs.errors import AudioError, OutputError, VoiceError, VoiceNotFound
from faster_higgs.prompt.voices import PROFILES, Voice, VoiceStore

CODES = torch.arange(16).reshape(8, 2)


class Encoder:
    def __init__(self) -> None:
        self.calls = 0

    def __call__(self, path: Path) -> Tensor:
        self.calls += 1
        if path.is_file() and path.read_bytes() == b"bad":
            raise AudioError("The clip cannot be read.")
        return CODES


@pytest.fixture
def folders(tmp_path: Path) -> tuple[Path, Path]:
    own, shipped = tmp_path / "own", tmp_path / "shipped"
    shipped.mkdir()
    (shipped / "clara.txt").write_text("Some words.\n")
    (shipped / "clara.wav").write_bytes(b"sound")
    (shipped / "clara.description").write_text("a clear voice\n")
    return own, shipped


@pytest.fixture
def encoder() -> Encoder:
    return Encoder()


@pytest.fixture
def store(folders: tuple[Path, Path], encoder: Encoder) -> VoiceStore:
    return VoiceStore(list(folders), encoder, "codec-a")


def clip(folder: Path, content: bytes = b"sound") -> Path:
    path = folder / "clip.WAV"
    path.write_bytes(content)
    return path


def test_a_voice_is_encoded_once_and_kept(
    store: VoiceStore, encoder: Encoder, folders: tuple[Path, Path]
) -> None:
    for _ in range(2):
        voice = store.load("clara")
        assert voice.codes is not None
        assert torch.equal(voice.codes, CODES)
        assert voice.transcript == "Some words."
    assert encoder.calls == 1
    kept = folders[1] / "clara.safetensors"
    assert kept.stat().st_mode & 0o444 == 0o444


def test_codes_of_another_codec_are_made_again(
    store: VoiceStore, encoder: Encoder, folders: tuple[Path, Path]
) -> None:
    store.load("clara")
    VoiceStore(list(folders), encoder, "codec-b").load("clara")
    assert encoder.calls == 2


def test_adding_listing_and_removing(store: VoiceStore, tmp_path: Path) -> None:
    store.add("me", clip(tmp_path), "My words.")
    assert [v.name for v in store.list()] == ["clara", "me"]
    assert store.load("me").transcript == "My words."
    store.remove("me")
    assert [v.name for v in store.list()] == ["clara"]
    assert list((tmp_path / "own").iterdir()) == []


def test_an_own_voice_hides_a_shipped_one_of_its_name(store: VoiceStore, tmp_path: Path) -> None:
    store.add("clara", clip(tmp_path), "Mine.")
    assert store.load("clara").transcript == "Mine."
    store.remove("clara")
    assert store.load("clara").transcript == "Some words."


def test_a_clip_that_cannot_be_encoded_leaves_nothing(store: VoiceStore, tmp_path: Path) -> None:
    with pytest.raises(AudioError):
        store.add("me", clip(tmp_path, b"bad"), "Words.")
    assert not (tmp_path / "own").exists()


def test_a_voice_may_be_replaced_by_its_own_clip(store: VoiceStore, tmp_path: Path) -> None:
    store.add("me", clip(tmp_path, b"first"), "Words.")
    own = store.find("me").sound
    assert own is not None
    store.add("me", own, "Other words.", replace=True)
    assert store.load("me").transcript == "Other words."
    assert own.read_bytes() == b"first"


def test_a_replacement_that_fails_leaves_the_voice_as_it_was(
    store: VoiceStore, tmp_path: Path
) -> None:
    store.add("me", clip(tmp_path), "Words.")
    with pytest.raises(OutputError, match="cannot be saved"):
        store.add("me", tmp_path / "nowhere.wav", "Other words.", replace=True)
    assert store.load("me").transcript == "Words."
    assert {p.name for p in (tmp_path / "own").iterdir()} == {"me.txt", "me.wav", "me.safetensors"}


def test_a_removed_voice_takes_its_description_along(store: VoiceStore, tmp_path: Path) -> None:
    store.add("me", clip(tmp_path), "Words.")
    (tmp_path / "own" / "me.description").write_text("a low voice")
    store.remove("me")
    assert list((tmp_path / "own").iterdir()) == []


def test_a_clip_that_would_not_be_found_again_is_refused(store: VoiceStore, tmp_path: Path) -> None:
    with pytest.raises(VoiceError, match="not named as a sound file"):
        store.add("me", tmp_path / "clip.bin", "Words.")


def test_a_transcript_that_is_no_text_is_told(
    store: VoiceStore, folders: tuple[Path, Path]
) -> None:
    (folders[1] / "clara.txt").write_bytes(b"\xff\xfe words")
    with pytest.raises(VoiceError, match="UTF-8"):
        store.load("clara")


@pytest.mark.parametrize("name", ["", "../up", "a/b", "x" * 65, ".hidden"])
def test_names_that_are_no_file_names_are_refused(
    store: VoiceStore, tmp_path: Path, name: str
) -> None:
    with pytest.raises(VoiceError, match="cannot name a voice"):
        store.add(name, clip(tmp_path), "Words.")


def test_refusals_say_what_to_do(store: VoiceStore, tmp_path: Path) -> None:
    with pytest.raises(VoiceNotFound, match="Known: clara, profile:male_en"):
        store.load("nobody")
    with pytest.raises(VoiceError, match="transcript is empty"):
        store.add("me", clip(tmp_path), " ")
    with pytest.raises(VoiceError, match="shipped with the model"):
        store.remove("clara")
    store.add("me", clip(tmp_path), "Words.")
    with pytest.raises(VoiceError, match="already"):
        store.add("me", clip(tmp_path), "Words.")


def test_a_store_without_a_folder_of_the_users_changes_nothing(
    folders: tuple[Path, Path], encoder: Encoder, tmp_path: Path
) -> None:
    store = VoiceStore([folders[1]], encoder, "codec-a", writable=False)
    with pytest.raises(VoiceError, match="no folder to keep"):
        store.add("me", clip(tmp_path), "Words.")
    with pytest.raises(VoiceError, match="shipped"):
        store.remove("clara")


def test_described_voices(store: VoiceStore) -> None:
    assert store.load("profile:male_en") == Voice("male_en", description=PROFILES["male_en"])
    assert store.load("profile:clara").description == "a clear voice"
    with pytest.raises(VoiceNotFound, match="described voice"):
        store.load("profile:nobody")


def test_a_folder_that_cannot_be_written_is_told(tmp_path: Path, encoder: Encoder) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("not a folder")
    with pytest.raises(OutputError, match="cannot be saved"):
        VoiceStore([blocked / "voices"], encoder, "c").add("me", clip(tmp_path), "Words.")


def test_a_voice_without_clip_or_words_is_refused() -> None:
    with pytest.raises(VoiceError, match="neither"):
        Voice("x")
    with pytest.raises(VoiceError, match="no transcript"):
        Voice("x", CODES)
