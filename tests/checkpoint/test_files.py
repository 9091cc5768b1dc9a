"""Which folder a name means; the network is asked only by `download`."""

from __future__ import annotations

import errno
from pathlib import Path

import huggingface_hub.constants
import pytest
from huggingface_hub.errors import HFValidationError, LocalEntryNotFoundError

from faster_higgs.checkpoint import files
from faster_higgs.checkpoint.files import (
    CODEC_IDS,
    MODEL_IDS,
    REVISIONS,
    default_model,
    default_revision,
    download,
    find_codec,
    resolve,
)
from faster_higgs.errors import CheckpointError, CheckpointNotFound, OutputError, SettingError

OTHER_REVISION = "f" * 40


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty Hugging Face cache."""
    folder = tmp_path / "hub"
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(folder))
    monkeypatch.setattr("huggingface_hub.file_download.HF_HUB_CACHE", str(folder), raising=False)
    return folder


@pytest.fixture(autouse=True)
def packaged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A package with pico inside."""
    folder = tmp_path / "pico"
    folder.mkdir()
    (folder / "model.safetensors").write_bytes(b"")
    monkeypatch.setattr(files, "PACKAGED", folder)
    return folder


def put(cache: Path, hub_id: str, revision: str, *names: str, branch: str | None = None) -> Path:
    """A snapshot in the cache, as the hub's own client lays it out."""
    store = cache / f"models--{hub_id.replace('/', '--')}"
    snapshot = store / "snapshots" / revision
    snapshot.mkdir(parents=True)
    for name in ("config.json", *names):
        (snapshot / name).write_text("{}")
    if branch:
        (store / "refs").mkdir(exist_ok=True)
        (store / "refs" / branch).write_text(revision)
    return snapshot


def test_a_folder_is_itself(tmp_path: Path) -> None:
    assert resolve(tmp_path) == resolve(str(tmp_path)) == tmp_path


def test_a_file_is_not_a_checkpoint(packaged: Path) -> None:
    with pytest.raises(CheckpointError, match="is a file; give the folder"):
        resolve(packaged / "model.safetensors")


def test_a_hub_id_that_is_not_here_tells_how_to_fetch_it() -> None:
    with pytest.raises(CheckpointNotFound, match="higgs download someone/voice"):
        resolve("someone/voice")


@pytest.mark.parametrize("name", ["no/such/folder", "nowhere", "/no/such"])
def test_a_path_that_is_not_there_is_no_hub_id(name: str) -> None:
    with pytest.raises(CheckpointNotFound, match="There is no checkpoint folder"):
        resolve(name)


def test_a_folder_has_no_revisions(tmp_path: Path) -> None:
    assert resolve(tmp_path) == tmp_path
    with pytest.raises(SettingError, match="no revisions"):
        resolve(tmp_path, OTHER_REVISION)


def test_only_the_pinned_revision_is_meant_where_none_is_named(cache: Path) -> None:
    newest = put(cache, MODEL_IDS[0], OTHER_REVISION, "model.safetensors", branch="main")
    with pytest.raises(CheckpointNotFound, match=rf"\(revision {REVISIONS[MODEL_IDS[0]]}\)"):
        resolve(MODEL_IDS[0])
    assert default_model().packaged
    pinned = put(cache, MODEL_IDS[0], REVISIONS[MODEL_IDS[0]], "model.safetensors")
    assert resolve(MODEL_IDS[0]) == pinned
    assert resolve(MODEL_IDS[0], "main") == newest
    assert resolve(MODEL_IDS[0], OTHER_REVISION) == newest


def test_an_asked_revision_that_is_not_here_is_in_the_command_that_fetches_it() -> None:
    with pytest.raises(CheckpointNotFound, match="higgs download someone/voice --revision v2`"):
        resolve("someone/voice", "v2")


def test_an_id_without_a_pin_means_its_newest_revision(cache: Path) -> None:
    assert default_revision(MODEL_IDS[0]) == REVISIONS[MODEL_IDS[0]]
    assert default_revision(CODEC_IDS[0]) == "main"
    newest = put(cache, CODEC_IDS[0], OTHER_REVISION, "model.pth", branch="main")
    assert resolve(CODEC_IDS[0]) == newest


def test_an_unfinished_download_does_not_count(cache: Path) -> None:
    snapshot = put(cache, MODEL_IDS[0], REVISIONS[MODEL_IDS[0]])
    with pytest.raises(CheckpointNotFound):
        resolve(MODEL_IDS[0])
    index = '{"weight_map": {"a": "model-00001-of-00002.safetensors"}}'
    (snapshot / "model.safetensors.index.json").write_text(index)
    assert default_model().packaged
    (snapshot / "model-00001-of-00002.safetensors").write_bytes(b"")
    assert default_model() == (snapshot, False)


def test_the_default_is_what_the_environment_names_then_the_published_then_pico(
    cache: Path, packaged: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert default_model() == (packaged, True)
    published = put(cache, MODEL_IDS[1], OTHER_REVISION, "model.safetensors", branch="main")
    assert default_model() == (published, False)
    monkeypatch.setenv("HIGGS_MODEL", str(tmp_path))
    assert default_model() == (tmp_path, False)
    monkeypatch.setenv("HIGGS_MODEL", str(tmp_path / "none"))
    with pytest.raises(CheckpointNotFound):
        default_model()


def test_no_model_at_all_tells_both_ways_out(packaged: Path) -> None:
    (packaged / "model.safetensors").unlink()
    with pytest.raises(CheckpointNotFound, match=r"higgs download .* HIGGS_MODEL"):
        default_model()


def test_the_codec_is_inside_the_model_or_the_published_one(cache: Path, packaged: Path) -> None:
    with pytest.raises(CheckpointNotFound, match=f"higgs download {CODEC_IDS[0]}"):
        find_codec(packaged)
    published = put(cache, CODEC_IDS[0], OTHER_REVISION, "model.pth", branch="main")
    assert find_codec(packaged) == published
    (packaged / "codec").mkdir()
    assert find_codec(packaged) == packaged / "codec"


def fake_download(monkeypatch: pytest.MonkeyPatch, outcome: Path | Exception) -> list[dict]:  # type: ignore[type-arg]
    calls = []

    def snapshot_download(hub_id: str, **options: object) -> str:
        calls.append({"hub_id": hub_id, **options})
        if isinstance(outcome, Exception):
            raise outcome
        return str(outcome)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", snapshot_download)
    return calls


def test_download_pins_the_revision_and_takes_only_what_is_needed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = fake_download(monkeypatch, tmp_path)
    assert download(MODEL_IDS[0]) == tmp_path
    download(MODEL_IDS[0], "main")
    download(CODEC_IDS[0])
    assert [call["revision"] for call in calls] == [REVISIONS[MODEL_IDS[0]], "main", "main"]
    assert "*.safetensors" in calls[0]["allow_patterns"]
    assert calls[2]["allow_patterns"] == ["*.json", "model.pth"]


@pytest.mark.parametrize(
    ("outcome", "error", "said"),
    [
        (HFValidationError("bad"), CheckpointNotFound, "is not a hub id"),
        (
            LocalEntryNotFoundError("Got: no route\nmore"),
            CheckpointNotFound,
            "fetched: Got: no route$",
        ),
        (ConnectionError("no route"), CheckpointNotFound, "cannot be fetched: no route"),
        (OSError(errno.ENOSPC, "No space left"), OutputError, "cannot be written.*No space left"),
    ],
)
def test_a_download_that_fails_says_why_in_one_line(
    monkeypatch: pytest.MonkeyPatch, outcome: Exception, error: type[Exception], said: str
) -> None:
    fake_download(monkeypatch, outcome)
    with pytest.raises(error, match=said) as caught:
        download("someone/voice")
    assert "\n" not in str(caught.value)


def test_without_a_network_a_download_ends_in_one_sentence() -> None:
    with pytest.raises(CheckpointNotFound, match=r"'someone/voice' .* cannot be fetched"):
        download("someone/voice")
