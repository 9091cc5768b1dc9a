"""The steps of pico's recipe go on where they stopped, and use what was made last."""

from __future__ import annotations

import argparse
import json
import os
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any
from unittest.mock import Mock, call

import codec
import codes
import data
import hubert
import lm
import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from faster_higgs.errors import SettingError
from faster_higgs.train.config import RunSettings
from faster_higgs.train.run import Run

FRAMES = 30
FROZEN = Path(codec.__file__).parent / "frozen"


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Sixty clips of noise, with phones."""
    folder = tmp_path_factory.mktemp("work") / "corpus"
    folder.mkdir()
    rng = np.random.default_rng(0)
    samples = FRAMES * data.FRAME
    rows = [
        {
            "text": f"sentence {i}",
            "voice": "clara",
            "at": i * samples,
            "samples": samples,
            "phones": [["pau", 0.1], [data.PHONES[1 + i % 40], FRAMES * 0.04]],
        }
        for i in range(60)
    ]
    np.save(folder / "0000.npy", rng.integers(-3000, 3000, 60 * samples).astype(np.int16))
    (folder / "0000.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return data.Corpus(folder)


def namer() -> Any:
    torch.manual_seed(0)
    return hubert.Namer().eval()


def names(corpus: Any, folder: Path, steps: int) -> tuple[Run, dict[str, Tensor]]:
    made = namer()
    pace = RunSettings(steps=steps, schedule="constant", warmup=0, eval_every=99)
    run = Run(hubert.NamerTask(made, corpus, 2), pace, folder, say=lambda line: None)
    run.resume_if_any()
    run.go()
    return run, made.state_dict()


def test_the_namer_resumed_equals_the_namer_uninterrupted(
    corpus: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hubert.NamerTask, "evaluate", lambda task: {})  # which changes nothing
    _, whole = names(corpus, tmp_path / "whole", 2)
    names(corpus, tmp_path / "parts", 1)
    run, parts = names(corpus, tmp_path / "parts", 2)
    assert run.step == 2
    assert all(torch.equal(whole[name], parts[name]) for name in whole)


def test_the_shipped_namer_still_loads_and_hears_as_the_codec_does() -> None:
    made = hubert.Namer()
    made.load_state_dict(load_file(FROZEN / "hubert.safetensors"))
    wave = 0.1 * torch.randn(1, 20 * data.FRAME, generator=torch.Generator().manual_seed(0))
    built = codec.Codec(codec.CONFIG)
    hears = made.eval().hubert
    parametrize = torch.nn.utils.parametrize
    with torch.no_grad():
        wanted = hubert.features(hears, wave, made.taps)
        parametrize.remove_parametrizations(hears.encoder.pos_conv_embed.conv, "weight")
        built.semantic_model.load_state_dict(hears.state_dict())
        torch.testing.assert_close(built.semantic_features(wave).mT, wanted)


@torch.inference_mode()
def test_finished_features_are_kept(
    corpus: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(codes, "batches", lambda _: [[i] for i in range(60)])
    cpu, made = torch.device("cpu"), namer()
    whole = codes.Features(corpus, "a", tmp_path)
    whole.fill(made, cpu)
    kept = [np.array(file) for file in (whole.spoken, whole.heard)]
    note = tmp_path / "features.json"
    note.write_text(json.dumps({**json.loads(note.read_text()), "done": 58}))
    rest = codes.Features(corpus, "a", tmp_path)
    rest.heard[58 * FRAMES :] = 0
    seen: list[int] = []
    compute = rest._compute
    rest._compute = lambda some, *more: (seen.extend(some), compute(some, *more))
    rest.fill(made, cpu)
    assert seen == [58, 59]
    assert np.array_equal(kept[0], rest.spoken) and np.array_equal(kept[1], rest.heard)
    assert codes.Features(corpus, "a", tmp_path).done == 60
    assert codes.Features(corpus, "b", tmp_path).done == 0


def test_the_quantiser_stays_and_belongs_to_one_hubert(tmp_path: Path) -> None:
    given = FROZEN / "quantiser.safetensors"
    first = codes.quantiser(None, "a", tmp_path, given)
    again = codes.quantiser(None, "a", tmp_path, None)
    assert all(torch.equal(first[name], again[name]) for name in first)
    with pytest.raises(SettingError, match="another HuBERT"):
        codes.quantiser(None, "b", tmp_path, None)


def result(work: Path, mode: str, value: float, seconds: int) -> None:
    folder = work / f"codec-{mode}"
    (folder / "step-00000001").mkdir(parents=True)
    state = {
        name: torch.full_like(part, value)
        for name, part in codec.Codec(codec.CONFIG).state_dict().items()
        if name.startswith("fc_p")
    }
    save_file(state, folder / "step-00000001" / "codec.safetensors")
    (folder / "latest").write_text("step-00000001\n")
    os.utime(folder / "latest", (seconds, seconds))


def prepare(work: Path) -> None:
    (work / "codes").mkdir()
    save_file(load_file(FROZEN / "quantiser.safetensors"), work / "codes" / "quantiser.safetensors")
    save_file(load_file(FROZEN / "hubert.safetensors"), work / "hubert.safetensors")


def test_what_was_trained_last_is_assembled(tmp_path: Path) -> None:
    prepare(tmp_path)
    for mode, value, seconds in (("encoder", 1, 10), ("joint", 2, 20), ("decoder", 3, 30)):
        result(tmp_path, mode, value, seconds)
    assert codec.runs(tmp_path) == ["encoder", "joint", "decoder"]
    made = codec.assemble(tmp_path)
    assert made.fc_post_acoustic.weight.unique().tolist() == [3]
    assert made.fc_prior.weight.unique().tolist() == [2]


def options(mode: str, **more: Any) -> argparse.Namespace:
    given = {"adversarial_from": None, **more}
    return argparse.Namespace(mode=mode, batch=2, frames=26, rate=1e-3, **given)


def test_the_adversarial_loss_is_reached_and_does_not_change_what_a_run_is() -> None:
    plain, later = (codec.settings(options("joint", adversarial_from=n)) for n in (None, 50))
    assert (plain.discriminate_from, later.discriminate_from) == (None, 50)
    assert codec.identity(plain) == codec.identity(later)
    assert codec.identity(plain)["given"] == 0.5
    assert codec.identity(codec.settings(options("encoder")))["semantic"] is False
    with pytest.raises(SettingError, match="no sound"):
        codec.settings(options("encoder", adversarial_from=0))


def test_a_clip_has_the_features_of_its_own_frames(corpus: Any, tmp_path: Path) -> None:
    starts, rng = codes.starts(corpus), np.random.default_rng(0)
    total = int(starts[-1])
    features = rng.normal(size=(total, codec.HIDDEN)).astype(np.float16)
    np.save(tmp_path / "codes.npy", np.zeros((codec.STAGES, total), np.int16))
    np.save(tmp_path / "latents.npy", np.zeros((total, codec.LATENT), np.float16))
    np.save(tmp_path / "hubert.npy", features)
    np.save(tmp_path / "starts.npy", starts)
    clip = codec.Clips(corpus, tmp_path, [3, 5])[1]
    wanted = torch.from_numpy(features[starts[5] : starts[6]]).float().T
    assert clip.features is not None and torch.equal(clip.features, wanted)
    assert len(clip.samples) == FRAMES * data.FRAME


def test_held_out_clips_are_heard_from_both_their_codes() -> None:
    clip = codec.CodecClip(
        torch.zeros(4 * data.FRAME, dtype=torch.int16), torch.zeros(8, 4, dtype=torch.int64)
    )
    heard: list[tuple[str, int]] = []

    class Journal:
        def sound(self, step: int, name: str, samples: Tensor, rate: int) -> None:
            heard.append((name, len(samples)))

    made = codec.Codec(codec.CONFIG)
    codec.Listener(made, [clip] * 9, encodes=True)(5, Journal())
    assert heard[:2] == [("given/0", 4 * data.FRAME), ("encoded/0", 4 * data.FRAME)]
    assert len(heard) == 8
    codec.Listener(made, [clip] * 9, encodes=False)(5, Journal())
    assert len(heard) == 12


@pytest.mark.parametrize("end", [None, SettingError("The disk is full.")])
def test_nothing_is_made_beside_the_language_model_once_its_run_is_over(
    end: SettingError | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = Mock()
    heavy = "Conversations Corpus DualFFN LanguageTask Listener Run assemble heard"
    for name in heavy.split():
        monkeypatch.setattr(lm, name, getattr(told, name))
    told.Run.return_value.go.side_effect = end
    monkeypatch.setattr(sys, "argv", ["lm.py", "--work", str(tmp_path)])
    with suppress(SettingError):
        lm.main()
    assert told.mock_calls[-2:] == [call.Run().go(), call.LanguageTask().close()]
