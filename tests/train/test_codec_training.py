"""Codec training: each mode moves its own parts, gets better, and goes on where it stopped."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

import tiny_training as tiny
from faster_higgs.codec.codec import Codec
from faster_higgs.errors import SettingError
from faster_higgs.train.codec_config import CodecSettings
from faster_higgs.train.codec_loop import TRAINED, CodecTask
from faster_higgs.train.codec_losses import SpectralDistance, SpectralSettings, mel_filters
from faster_higgs.train.config import OptimizerSettings, RunSettings
from faster_higgs.train.crops import CodecClip, Crops
from faster_higgs.train.discriminator import Discriminator, discriminator_loss, maker_loss
from faster_higgs.train.run import Run

SMALL = SpectralSettings(sizes=(512, 128), bands=(20, 10))
HOP = 960


def clips(count: int = 3, frames: int = 8) -> list[CodecClip]:
    generator = torch.Generator().manual_seed(0)
    time = torch.arange(frames * HOP) / 24_000
    made = []
    for number in range(count):
        sound = 0.3 * torch.sin(2 * torch.pi * (150 + 90 * number) * time)
        codes = torch.randint(tiny.CODES, (tiny.BOOKS, frames), generator=generator)
        latents = torch.randn(24, frames, generator=generator)
        made.append(CodecClip((sound * 32767).to(torch.int16), codes, latents))
    return made


def with_features(codec: Codec, some: Sequence[CodecClip]) -> list[CodecClip]:
    sound = torch.stack([clip.samples.float() / 32768 for clip in some])
    with torch.no_grad():
        heard = codec.semantic_features(sound)
    return [replace(clip, features=part) for clip, part in zip(some, heard, strict=True)]


def refuse(*_: object) -> None:
    raise AssertionError("HuBERT was called")


def task(
    mode: Any,
    *,
    context: int = 0,
    parts: bool = False,
    data: Sequence[CodecClip] | None = None,
    **more: Any,
) -> CodecTask:
    settings = CodecSettings(
        mode,
        batch=2,
        frames=4,
        context=context,
        spectral=SMALL,
        optimizer=OptimizerSettings(2e-3, weight_decay=0.0, clip=10.0),
        **more,
    )
    crops = Crops(data or clips(), 4 + 2 * context, HOP)
    torch.manual_seed(1)
    judge = Discriminator((256, 128), 4) if settings.discriminate_from is not None else None
    return CodecTask(tiny.codec(parts), crops, settings, held_out=crops, discriminator=judge)


def weights(job: CodecTask) -> dict[str, Tensor]:
    modules = job.modules.items()
    return {f"{n}.{k}": v.clone() for n, m in modules for k, v in m.state_dict().items()}


@pytest.mark.parametrize("mode", ["decoder", "encoder", "joint"])
def test_each_mode_trains_its_own_parts_and_gets_better(mode: str) -> None:
    job = task(mode, context=1, parts=mode == "joint")
    before, first = weights(job), job.evaluate()
    for step in range(12):
        job.step(step)
    after, last = weights(job), job.evaluate()
    moved = {name for name in before if not torch.equal(before[name], after[name])}
    allowed = tuple(f"codec.{start}" for start in TRAINED[mode])
    assert moved
    assert all(name.startswith(allowed) for name in moved)
    assert last["loss"] < first["loss"]
    if mode == "encoder":
        assert 0 <= last["agreement_codebook_0"] <= 1
    else:
        assert last["mel_db"] < first["mel_db"]


@pytest.mark.parametrize(
    ("mode", "only"),
    [
        ("decoder", ("acoustic_decoder.", "acoustic_encoder.")),
        ("encoder", ("acoustic_encoder.", "acoustic_decoder.")),
        ("joint", ("fc_prior.", "fc_post_acoustic.")),
    ],
)
def test_of_a_mode_only_what_is_named_is_trained(mode: str, only: tuple[str, ...]) -> None:
    job = task(mode, parts=mode == "joint", only=only)
    before = weights(job)
    for step in range(2):
        job.step(step)
    after = weights(job)
    moved = {name for name in before if not torch.equal(before[name], after[name])}
    named = tuple(start for start in only if start in TRAINED[mode])
    parameters = dict(job.codec.named_parameters())
    assert moved == {f"codec.{name}" for name in parameters if name.startswith(named)}


def test_only_that_names_nothing_of_the_mode_is_refused() -> None:
    with pytest.raises(SettingError, match="'q', and mode 'decoder' trains no weight"):
        task("decoder", only=("fc_prior.", "q"))
    task("joint", only=("fc_prior.", "q"))


def test_features_given_with_a_sound_stand_for_hubert() -> None:
    codec = tiny.codec().eval()
    sound = torch.stack([clip.samples.float() / 32768 for clip in clips()])
    with torch.no_grad():
        features, wanted = codec.semantic_features(sound), codec.latents(sound)
        codec.semantic_model.register_forward_pre_hook(refuse)
        assert torch.equal(codec.latents(sound, features), wanted)
        assert not torch.equal(codec.latents(sound, 2 * features), wanted)


@pytest.mark.parametrize(("mode", "given"), [("encoder", 0.0), ("joint", 0.0), ("joint", 0.5)])
def test_a_run_with_features_is_the_run_without_and_leaves_hubert_alone(
    mode: str, given: float
) -> None:
    whole = clips(frames=4)
    alone = task(mode, parts=mode == "joint", data=whole, given=given)
    told = with_features(alone.codec, whole)
    quick = task(mode, parts=mode == "joint", data=told, given=given)
    quick.codec.semantic_model.register_forward_pre_hook(refuse)
    for step in range(2):
        assert quick.step(step) == pytest.approx(alone.step(step), rel=1e-3)
    assert quick.evaluate() == pytest.approx(alone.evaluate(), rel=1e-3)


def test_hubert_cannot_learn_where_its_features_are_given() -> None:
    told = with_features(tiny.codec(), clips())
    with pytest.raises(SettingError, match="HuBERT cannot learn where its features are given"):
        task("encoder", data=told, semantic=True)
    task("encoder", semantic=True)


def test_codebooks_follow_only_when_told() -> None:
    job = task("joint", follow=True)
    before = job.codec.quantizer.first()[0].embed.clone()
    job.step(0)
    job.evaluate()
    moved = job.codec.quantizer.first()[0].embed.clone()
    assert not torch.equal(before, moved)
    job.evaluate()
    assert torch.equal(moved, job.codec.quantizer.first()[0].embed)


def test_a_given_share_is_decoded_from_its_own_codes_and_judged_apart() -> None:
    half, whole = task("joint", given=0.5), task("joint")
    batch = half.crops.draw(0, 2)
    made = half._make(batch)
    encoded = whole._make(batch)
    assert made.samples is not None and encoded.samples is not None and batch.codes is not None
    own = half.codec.synthesize(half.codec.quantizer.decode(batch.codes[1:]))
    assert torch.allclose(made.samples[1:], own, atol=1e-5)
    assert torch.allclose(made.samples[:1], encoded.samples[:1], atol=1e-5)
    assert not torch.allclose(made.samples[1:], encoded.samples[1:], atol=1e-3)
    metrics = half.evaluate()
    assert metrics["mel_db_given"] != metrics["mel_db"]
    assert metrics["loss_latents"] > 0
    with pytest.raises(SettingError, match="share"):
        CodecSettings("decoder", given=0.5)


def test_straight_through_equals_plain_coding_and_carries_gradients() -> None:
    codec = tiny.codec()
    latents = torch.randn(2, 24, 5, requires_grad=True)
    before = {name: part.clone() for name, part in codec.quantizer.state_dict().items()}
    coded = codec.quantizer.train_step(latents, follow=False)
    codes = codec.quantizer.encode(latents)
    assert torch.equal(coded.codes, codes)
    assert torch.allclose(coded.quantized, codec.quantizer.decode(codes), atol=1e-6)
    coded.quantized.sum().backward()
    assert latents.grad is not None
    assert bool(latents.grad.any())
    assert all(torch.equal(before[k], v) for k, v in codec.quantizer.state_dict().items())


def test_codes_and_gradients_are_the_same_whether_the_codebooks_follow_or_stay() -> None:
    given = torch.randn(2, 24, 5)
    seen = []
    for follow in (True, False):
        quantizer = tiny.codec().quantizer
        for layer in quantizer.first():
            layer.inited.fill_(1)
        latents = given.clone().requires_grad_()
        coded = quantizer.train_step(latents, follow=follow)
        (coded.commitment + coded.quantized.square().sum()).backward()
        slopes = [weight.grad for weight in quantizer.parameters()]
        seen.append([coded.codes, coded.quantized, coded.commitment, latents.grad, *slopes])
    for one, two in zip(*seen, strict=True):
        assert one is not None and two is not None
        assert torch.equal(one, two)


def test_the_discriminator_joins_at_its_step_and_both_are_taught() -> None:
    job = task("decoder", discriminate_from=1)
    start = weights(job)
    assert "loss_adversarial" not in job.step(0)
    judge = {name for name in start if name.startswith("discriminator.")}
    assert all(torch.equal(start[name], weights(job)[name]) for name in judge)
    metrics = job.step(1)
    assert metrics["loss_adversarial"] > 0
    assert metrics["loss_discriminator"] > 0
    assert any(not torch.equal(start[name], weights(job)[name]) for name in judge)


def test_a_discriminator_tells_noise_from_tones_and_its_losses_have_their_optimum() -> None:
    torch.manual_seed(0)
    judge = Discriminator((256, 128), 4)
    optimizer = torch.optim.AdamW(judge.parameters(), 3e-3)
    tones = torch.stack([torch.sin(torch.arange(2000) * f) for f in (0.05, 0.1, 0.2)])
    for _ in range(40):
        optimizer.zero_grad()
        loss = discriminator_loss(judge(tones), judge(torch.randn(3, 2000)))
        loss.backward()
        optimizer.step()
    assert float(loss.detach()) < 0.3
    same = judge(tones)
    assert float(maker_loss(same, same).features.detach()) == 0.0


def test_a_resumed_codec_run_equals_an_uninterrupted_one(tmp_path: Path) -> None:
    def run(folder: str, job: CodecTask, steps: int) -> Run:
        settings = RunSettings(steps=steps, schedule="constant", warmup=0, eval_every=99)
        return Run(job, settings, tmp_path / folder, say=lambda line: None)

    whole, first, second = (task("decoder", discriminate_from=1) for _ in range(3))
    run("whole", whole, 4).go()
    run("parts", first, 2).go()
    for module in second.modules.values():
        with torch.no_grad():
            for weight in module.parameters():
                weight.mul_(0.5)
    rest = run("parts", second, 4)
    rest.resume()
    rest.go()
    one, two = weights(whole), weights(second)
    assert any(name.startswith("discriminator.") for name in one)
    assert all(torch.equal(one[name], two[name]) for name in one)


def test_a_discriminator_joins_a_run_that_was_made_without_one(tmp_path: Path) -> None:
    def run(job: CodecTask, steps: int, lines: list[str]) -> Run:
        settings = RunSettings(steps=steps, schedule="constant", warmup=0, eval_every=99)
        return Run(job, settings, tmp_path, say=lines.append)

    alone, both, again = (task("decoder", discriminate_from=n) for n in (None, 2, 2))
    run(alone, 2, []).go()
    lines: list[str] = []
    second = run(both, 3, lines)
    second.resume()
    assert any("no discriminator yet" in line for line in lines)
    second.go()
    run(again, 3, []).resume()
    assert all(torch.equal(value, weights(again)[name]) for name, value in weights(both).items())


def test_numbers_that_are_not_finite_change_nothing() -> None:
    job = task("decoder")
    with torch.no_grad():
        job.codec.fc_post_acoustic.bias[0] = torch.nan
    before = weights(job)
    metrics = job.step(0)
    assert metrics["skipped"] == 1.0
    after = weights(job)
    assert all(torch.equal(before[n].nan_to_num(3), after[n].nan_to_num(3)) for n in before)


def test_equal_sounds_are_no_distance_apart_and_louder_ones_are() -> None:
    distance = SpectralDistance(SMALL)
    sound = torch.randn(2, 3000, generator=torch.Generator().manual_seed(0))
    assert all(float(d) < 1e-6 for d in distance(sound, sound))
    near, far = distance(1.1 * sound, sound), distance(2 * sound, sound)
    assert all(float(n) < float(f) for n, f in zip(near, far, strict=True))
    assert distance.mel_decibels(2 * sound, sound) == pytest.approx(6.02, abs=0.1)


def test_mel_filters_cover_every_band_and_sum_to_one() -> None:
    filters = mel_filters(80, 512, 24_000, 8000.0)
    assert filters.shape == (80, 1 + 8000 * 512 // 24_000)
    assert torch.allclose(filters.sum(1), torch.ones(80))
    assert bool((filters >= 0).all())


def test_crops_follow_from_the_step_and_keep_what_is_known_beside_their_samples() -> None:
    sounds = clips(3, 6)
    marked = [
        CodecClip(
            (torch.arange(6).repeat_interleave(HOP) + 10 * n).float(),
            (torch.arange(6) + 10 * n).repeat(2, 1),
            (torch.arange(6) + 10 * n).repeat(5, 1),
            (torch.arange(6) + 10 * n).half().repeat(3, 1),
        )
        for n in range(len(sounds))
    ]
    crops = Crops(marked, 2, HOP, seed=1)
    batch = crops.draw(3, 50)
    assert torch.equal(batch.samples, crops.draw(3, 50).samples)
    assert not torch.equal(batch.samples, crops.draw(4, 50).samples)
    assert batch.codes is not None
    assert torch.equal(batch.samples[:, ::HOP].long(), batch.codes[:, 0])
    for known, rows in ((batch.latents, 5), (batch.features, 3)):
        assert known is not None
        assert torch.equal(known, batch.samples[:, None, ::HOP].repeat(1, rows, 1))
    unheard = Crops([*marked, replace(marked[0], features=None)], 2, HOP)
    assert unheard.spread(9).features is None
    starts = {int(codes[0, 0]) for codes in crops.draw(0, 500).codes}
    assert starts == {10 * n + f for n in range(3) for f in range(5)}
    assert crops.spread(5).samples.shape == (5, 2 * HOP)


@pytest.mark.parametrize(
    ("mode", "clip", "says"),
    [
        ("decoder", CodecClip(torch.zeros(8 * HOP)), "codes"),
        ("encoder", CodecClip(torch.zeros(8 * HOP)), "latents"),
        ("joint", CodecClip(torch.zeros(2 * HOP)), "as long as a crop"),
    ],
)
def test_data_that_does_not_suit_the_mode_is_refused(mode: Any, clip: CodecClip, says: str) -> None:
    with pytest.raises(SettingError, match=says):
        CodecTask(tiny.codec(), Crops([clip], 4, HOP), CodecSettings(mode, frames=4))
    with pytest.raises(SettingError, match="mode"):
        CodecSettings("everything")  # type: ignore[arg-type]
