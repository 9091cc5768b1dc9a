"""A script written for the original project runs with its import lines changed, here with pico."""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import huggingface_hub
import pytest
import soundfile

from faster_higgs.checkpoint.files import CODEC_IDS, MODEL_IDS, PACKAGED, REVISIONS

SCRIPT = """
from faster_higgs.compat import HiggsAudioServeEngine, HiggsAudioResponse
from faster_higgs.compat import ChatMLSample, Message, AudioContent

import torch
import torchaudio

model, codec = "{model}", "{codec}"
scene = "<|scene_desc_start|>\\nAudio is recorded from a quiet room.\\n<|scene_desc_end|>"
messages = [
    Message(role="system", content="Generate audio following instruction.\\n\\n" + scene),
    {reference}
    Message(role="user", content="The sun rises in the east and sets in the west."),
]
device = "cuda" if torch.cuda.is_available() else "cpu"
serve_engine = HiggsAudioServeEngine(model, codec, device=device)
output: HiggsAudioResponse = serve_engine.generate(
    chat_ml_sample=ChatMLSample(messages=messages),
    max_new_tokens=1024,
    temperature=0.3,
    top_p=0.95,
    top_k=50,
    stop_strings=["<|end_of_text|>", "<|eot_id|>"],
)
torchaudio.save("output.wav", torch.from_numpy(output.audio)[None, :], output.sampling_rate)
print(sorted(output.usage), output.generated_audio_tokens.shape[0])
"""
CLONE = """Message(role="user", content="She asked whether the teacher had seen the keys."),
    Message(role="assistant", content=AudioContent(audio_url="{clip}")),"""


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine where pico lies in the cache under the published names, and torchaudio saves."""
    hub = tmp_path / "hub"
    for hub_id, folder in ((MODEL_IDS[0], PACKAGED), (CODEC_IDS[0], PACKAGED / "codec")):
        home = hub / f"models--{hub_id.replace('/', '--')}"
        revision = REVISIONS.get(hub_id, "0" * 40)
        (home / "snapshots").mkdir(parents=True)
        (home / "refs").mkdir()
        (home / "refs" / "main").write_text(revision)
        (home / "snapshots" / revision).symlink_to(folder, target_is_directory=True)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(hub))
    monkeypatch.setattr("huggingface_hub.file_download.HF_HUB_CACHE", str(hub), raising=False)
    audio = ModuleType("torchaudio")
    audio.save = lambda path, sound, rate: soundfile.write(path, sound[0], rate)  # type: ignore
    monkeypatch.setitem(sys.modules, "torchaudio", audio)
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize("reference", ["", CLONE.format(clip=PACKAGED / "voices" / "clara.flac")])
@pytest.mark.usefixtures("machine")
def test_the_originals_script_speaks(
    tmp_path: Path, reference: str, capsys: pytest.CaptureFixture[str]
) -> None:
    script = SCRIPT.format(model=MODEL_IDS[0], codec=CODEC_IDS[0], reference=reference)
    names: dict[str, Any] = {}
    exec(script, names)
    names["serve_engine"].higgs.unload()
    assert capsys.readouterr().out.strip().endswith("8")
    samples, rate = soundfile.read(tmp_path / "output.wav")
    assert rate == 24_000
    assert len(samples) > rate
