"""A folder of voices: found, encoded once, added whole or not at all, removed."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
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


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


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
    VoiceStore(list(folders), encoder, "codec-a").load("clara")
    assert encoder.calls == 1
    kept = folders[0] / "clara@codec-a.safetensors"
    assert kept.stat().st_mode & 0o444 == 0o444


def test_a_shipped_voice_is_never_written(
    store: VoiceStore, encoder: Encoder, folders: tuple[Path, Path]
) -> None:
    before = contents(folders[1])
    store.load("clara")
    VoiceStore(list(folders), encoder, "codec-b").load("clara")
    VoiceStore([folders[1]], encoder, "codec-c", writable=False).load("clara")
    assert contents(folders[1]) == before


def test_shipped_codes_are_used_as_they_are(
    folders: tuple[Path, Path], encoder: Encoder, store: VoiceStore
) -> None:
    save_file({"codes": CODES}, folders[1] / "clara.safetensors", metadata={"codec": "codec-a"})
    store.load("clara")
    assert encoder.calls == 0
    VoiceStore(list(folders), encoder, "codec-b").load("clara")
    store.load("clara")
    assert encoder.calls == 1


def test_codes_are_kept_for_each_codec(encoder: Encoder, folders: tuple[Path, Path]) -> None:
    for made_by in ("codec-a", "codec-b", "codec-a", "codec-b"):
        VoiceStore(list(folders), encoder, made_by).load("clara")
    assert encoder.calls == 2


def test_without_a_place_to_keep_codes_they_are_still_made_once(
    encoder: Encoder, folders: tuple[Path, Path]
) -> None:
    store = VoiceStore([folders[1]], encoder, "codec-a", writable=False)
    for _ in range(2):
        store.load("clara")
    assert encoder.calls == 1


def test_a_clip_that_was_changed_is_encoded_again(
    store: VoiceStore, encoder: Encoder, tmp_path: Path
) -> None:
    store.add("me", clip(tmp_path), "Words.")
    (tmp_path / "own" / "me.wav").write_bytes(b"another sound")
    store.load("me")
    assert encoder.calls == 2
    store.load("me")
    assert encoder.calls == 2


def test_codes_in_the_users_folder_that_do_not_name_their_clip_are_not_believed(
    store: VoiceStore, encoder: Encoder, tmp_path: Path
) -> None:
    store.add("me", clip(tmp_path), "Words.")
    own = tmp_path / "own"
    (own / "me@codec-a.safetensors").unlink()
    save_file({"codes": CODES}, own / "me.safetensors", metadata={"codec": "codec-a"})
    VoiceStore([own], encoder, "codec-a").load("me")
    assert encoder.calls == 2


def test_codes_of_a_shipped_voice_are_not_those_of_another_clip(
    store: VoiceStore, encoder: Encoder, folders: tuple[Path, Path], tmp_path: Path
) -> None:
    store.load("clara")
    (folders[1] / "clara.wav").write_bytes(b"the clara of another model")
    VoiceStore(list(folders), encoder, "codec-a").load("clara")
    assert encoder.calls == 2


def test_a_voice_without_its_clip_speaks_with_the_codes_that_were_kept(
    store: VoiceStore, encoder: Encoder, tmp_path: Path
) -> None:
    store.add("me", clip(tmp_path), "Words.")
    (tmp_path / "own" / "me.wav").unlink()
    assert store.load("me").codes is not None
    other = VoiceStore([tmp_path / "own"], encoder, "codec-b")
    with pytest.raises(VoiceError, match="made by another codec"):
        other.load("me")


def test_adding_listing_and_removing(store: VoiceStore, tmp_path: Path) -> None:
    store.add("me", clip(tmp_path), "My words.")
    assert [v.name for v in store.list()] == ["clara", "me"]
    assert store.load("me").transcript == "My words."
    store.remove("me")
    assert [v.name for v in store.list()] == ["clara"]
    assert list((tmp_path / "own").iterdir()) == []


def test_a_removed_voice_takes_the_codes_of_every_codec_along(
    store: VoiceStore, encoder: Encoder, tmp_path: Path
) -> None:
    store.add("me", clip(tmp_path), "My words.")
    store.add("me.too", clip(tmp_path), "My words.")
    VoiceStore([tmp_path / "own"], encoder, "codec-b").load("me")
    store.remove("me")
    left = {path.name for path in (tmp_path / "own").iterdir()}
    assert left == {"me.too.txt", "me.too.wav", "me.too@codec-a.safetensors"}


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
    assert {p.name for p in (tmp_path / "own").iterdir()} == {
        "me.txt",
        "me.wav",
        "me@codec-a.safetensors",
    }


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
    with pytest.raises(VoiceNotFound, match="No described voice 'profile:nobody'"):
        store.find("profile:nobody")
    with pytest.raises(VoiceError, match="'profile:male_en' is a description and has no files"):
        store.find("profile:male_en")
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


def test_a_voice_may_be_words_alone(store: VoiceStore, tmp_path: Path) -> None:
    store.describe("old", "an old man, hoarse", about={"consent": "mine"})
    (files,) = [files for files in store.list() if files.name == "old"]
    assert files.described and files.about() == {"consent": "mine"}
    assert store.load("old") == Voice("old", description="an old man, hoarse")
    assert store.load("profile:old").description == "an old man, hoarse"
    with pytest.raises(VoiceError, match="already"):
        store.describe("old", "a young man")
    store.remove("old")
    assert not list(tmp_path.rglob("old*"))


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
