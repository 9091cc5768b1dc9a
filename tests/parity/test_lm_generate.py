"""Generation against the vectors: prompts, delay, warpers, repetition, rules, greedy runs."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from faster_higgs.checkpoint.load import load_model
from faster_higgs.delay import DelayClock, delay, undelay, unwrap, wrap
from faster_higgs.engine.drawing import repeats, warp
from faster_higgs.engine.engine import Engine
from faster_higgs.engine.request import Finish, Result
from faster_higgs.model.dual_ffn import DualFFN
from faster_higgs.prompt.expand import expand
from faster_higgs.prompt.template import Clip, Message, Prompt, write
from faster_higgs.sampling import Rules, Sampling

GREEDY = Sampling(temperature=0.0, ras_window=0, seed=0)


@pytest.fixture(scope="module")
def lm(parity_dir: Path) -> Path:
    return parity_dir / "lm"


@pytest.fixture(scope="module")
def model(lm: Path, tmp_path_factory: pytest.TempPathFactory) -> DualFFN:
    folder = tmp_path_factory.mktemp("model")
    shutil.copyfile(lm / "config_original.json", folder / "config.json")
    shutil.copyfile(lm / "weights_original.safetensors", folder / "model.safetensors")
    return load_model(folder)[1]


@pytest.fixture(scope="module")
def prompts(lm: Path) -> dict[str, Any]:
    return json.loads((lm / "prompts.json").read_text())


@pytest.fixture(scope="module")
def sampling_vectors(lm: Path) -> dict[str, Tensor]:
    return load_file(lm / "expected_sampling.safetensors")


@pytest.fixture(scope="module")
def decode_vectors(lm: Path) -> dict[str, Tensor]:
    return load_file(lm / "expected_decode.safetensors")


def written_prompt(lm: Path, prompts: dict[str, Any], name: str) -> Prompt:
    codes, special = load_file(lm / "inputs_codes.safetensors"), prompts["special_token_ids"]
    kinds = {special["audio_in"]: "audio_in", special["audio_out"]: "audio_out"}
    ids, seen, clips = prompts["prompts"][name]["token_ids"], {"audio_in": 0, "audio_out": 0}, []
    for token in ids:
        if kind := kinds.get(token):
            clips.append(codes[f"{name}.{kind}.{seen[kind]}"])
            seen[kind] += 1
    return Prompt(tuple(ids), tuple(clips))


def answer(
    model: DualFFN, prompt: Prompt, sampling: Sampling, stop: tuple[int, ...] = ()
) -> tuple[Tensor, Result]:
    engine = Engine(model)
    engine.add(prompt, sampling, stop)
    frames: list[Tensor] = []
    while not engine.idle:
        for event in engine.step():
            frames.append(event.frames)
            if event.result is not None:
                return torch.cat(frames, dim=1), event.result
    raise AssertionError("the engine went idle without a result")


def runs(vectors: dict[str, Tensor], machine: str) -> list[str]:
    found = sorted(
        {
            key.split(".")[0]
            for key in vectors
            if f".{machine}." in key and not key.startswith("sampled")
        }
    )
    assert found
    return found


def test_prompts_expand_as_both_references_do(
    lm: Path, prompts: dict[str, Any], model: DualFFN
) -> None:
    vectors = load_file(lm / "expected_prefill.safetensors")
    for name in {key.split(".")[0] for key in vectors if key.endswith(".expanded_input_ids")}:
        expanded = expand(written_prompt(lm, prompts, name), model.config)
        assert torch.equal(expanded.ids, vectors[f"{name}.expanded_input_ids"])
        assert torch.equal(expanded.columns, vectors[f"{name}.frames"])
        assert torch.equal(expanded.is_audio, vectors[f"{name}.audio_position_mask"])
        assert torch.equal(
            expanded.is_audio.nonzero()[expanded.spoken],
            vectors[f"{name}.audio_out_mask"].nonzero(),
        )


def test_every_greedy_run_of_the_original_is_token_exact(
    lm: Path, prompts: dict[str, Any], model: DualFFN, decode_vectors: dict[str, Tensor]
) -> None:
    special = prompts["special_token_ids"]
    stop = (special["eot"], special["end_of_text"])
    for name in runs(decode_vectors, "orig"):
        limit = prompts["prompts"][name]["max_new_tokens"]
        sampling = Sampling(
            temperature=0.0, ras_window=0, seed=0, rules="original", max_new_tokens=limit
        )
        frames, result = answer(model, written_prompt(lm, prompts, name), sampling, stop)
        assert list(result.text_ids) == decode_vectors[f"{name}.orig.new_text_tokens"].tolist(), (
            name
        )
        segments = int(decode_vectors[f"{name}.orig.num_segments"])
        assert len(result.segments) == segments, name
        assert (result.finish is Finish.NO_AUDIO) == (segments == 0)
        expected = [decode_vectors[f"{name}.orig.segment{j}.delayed"] for j in range(segments)]
        for found, wanted in zip(result.segments, expected, strict=True):
            assert torch.equal(found, wanted), name
        codes = [decode_vectors[f"{name}.orig.segment{j}.codes"] for j in range(segments)]
        if codes:
            assert torch.equal(frames, torch.cat(codes, dim=1)), name


def test_every_greedy_run_of_transformers_is_token_exact(
    lm: Path, prompts: dict[str, Any], model: DualFFN, decode_vectors: dict[str, Tensor]
) -> None:
    for name in runs(decode_vectors, "hf"):
        # This machine counts one step for each column, the all-bos column included.
        limit = decode_vectors[f"{name}.hf.delayed"].shape[1]
        sampling = Sampling(
            temperature=0.0, ras_window=0, seed=0, rules="transformers", max_new_tokens=limit
        )
        frames, result = answer(model, written_prompt(lm, prompts, name), sampling)
        assert torch.equal(result.segments[0], decode_vectors[f"{name}.hf.delayed"]), name
        assert torch.equal(frames, decode_vectors[f"{name}.hf.codes"]), name


def test_delay_pattern(sampling_vectors: dict[str, Tensor], model: DualFFN) -> None:
    codes, delayed = sampling_vectors["delay.codes"], sampling_vectors["delay.delayed"]
    bos, eos = model.config.audio_stream_bos_id, model.config.audio_stream_eos_id
    assert torch.equal(wrap(codes, bos, eos), delayed)
    assert torch.equal(unwrap(delayed), codes)
    assert torch.equal(undelay(delay(codes, bos, eos)), codes)


def test_warped_probabilities(sampling_vectors: dict[str, Tensor]) -> None:
    names = [key for key in sampling_vectors if key.startswith("warp.t")]
    assert names
    for name in names:
        found = re.fullmatch(r"warp\.t(\d)(\d)(?:_k(\d+))?(?:_p(\d+))?", name)
        assert found, name
        whole, tenth, k, p = found.groups()
        top_p = int(p) / 10 ** len(p) if p else 1.0
        sampling = Sampling(
            temperature=int(whole) + int(tenth) / 10, top_k=int(k or 0), top_p=top_p
        )
        probabilities = warp(sampling_vectors["warp.logits"], sampling)
        torch.testing.assert_close(probabilities, sampling_vectors[name], atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize(("machine", "ignored"), [("orig", False), ("hf", True)])
def test_repetition_counts(
    sampling_vectors: dict[str, Tensor], model: DualFFN, machine: str, ignored: bool
) -> None:
    ignore = (model.config.audio_stream_bos_id, model.config.audio_stream_eos_id) if ignored else ()
    for case in {key.split(".")[1] for key in sampling_vectors if key.startswith("ras.")}:
        history, candidate = (
            sampling_vectors[f"ras.{case}.history"],
            sampling_vectors[f"ras.{case}.candidate"],
        )
        uncounted = torch.isin(candidate, torch.tensor(ignore))
        counts = repeats(history, candidate, Sampling().ras_window, uncounted)
        assert torch.equal(counts, sampling_vectors[f"ras.{case}.count_{machine}"])
        assert torch.equal(
            counts >= Sampling().ras_repeats, sampling_vectors[f"ras.{case}.flag_{machine}"]
        )


@pytest.mark.parametrize(("machine", "rules"), [("orig", "original"), ("hf", "transformers")])
def test_ramp_scenarios(
    sampling_vectors: dict[str, Tensor], model: DualFFN, machine: str, rules: Rules
) -> None:
    config = model.config
    names = {key.split(".")[1] for key in sampling_vectors if key.startswith("ramp.")}
    assert len(names) >= 8
    for name in names:
        prefix = f"ramp.{name}.{machine}"
        delayed = sampling_vectors[f"{prefix}.delayed"]
        clock = DelayClock(
            config.num_codebooks, config.audio_stream_bos_id, config.audio_stream_eos_id, rules
        )
        columns = [torch.full((config.num_codebooks,), config.audio_stream_bos_id)]
        for drawn in sampling_vectors[f"ramp.{name}.raw"]:
            columns.append(clock.settle(drawn))
            if clock.done:
                break
        assert clock.done == bool(sampling_vectors[f"{prefix}.ended"]), prefix
        assert torch.equal(torch.stack(columns, dim=1), delayed), prefix
        assert clock.frames == sampling_vectors[f"{prefix}.codes"].shape[1], prefix


class StubTokenizer:
    """The word table of the examples."""

    def __init__(self, table: dict[str, Any]) -> None:
        self.words = {**table["words"], **table["roles"], "\n\n": 14, "\n": 15}
        self.specials = table["special"]

    def text(self, text: str) -> list[int]:
        return [self.words[piece] for piece in re.findall(r"\n\n|\n|\S+", text)]

    def special(self, name: str) -> int:
        return int(self.specials[name])


def test_conversations_are_written_token_for_token(lm: Path) -> None:
    table = json.loads((lm / "chatml_examples.json").read_text())
    tokenizer = StubTokenizer(table)
    assert table["examples"]
    for example in table["examples"]:
        lengths = iter(example["code_lengths"])
        messages = [
            Message(
                role,
                tuple(
                    Clip(torch.zeros(8, next(lengths), dtype=torch.long)) if p == "<<audio>>" else p
                    for p in parts
                ),
                recipient,
            )
            for role, parts, recipient in example["messages"]
        ]
        header = write([], tokenizer, force_audio=False).ids[1:]  # without begin-of-text
        ids = write(messages, tokenizer, force_audio=False).ids
        assert list(ids[: -len(header)]) == example["expected_input_ids"]
