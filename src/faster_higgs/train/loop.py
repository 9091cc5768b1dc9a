"""Training of the language model: packed batches in, optimiser steps out.

Knows nothing of files.
"""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from contextlib import AbstractContextManager
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from faster_higgs.model.dual_ffn import DualFFN
from faster_higgs.train.compiling import compiled
from faster_higgs.train.config import LanguageSettings
from faster_higgs.train.flops import of_layers
from faster_higgs.train.guide import Guide
from faster_higgs.train.loss import Counts, Loss, count, language_loss
from faster_higgs.train.modes import Learnt
from faster_higgs.train.optimizers import optimizer
from faster_higgs.train.packing import Batch, Examples, Packer, Place, fill, join, silenced
from faster_higgs.train.sample import corrupt
from faster_higgs.train.spread import norm_of, spread
from faster_higgs.train.spread import whole as whole_model
from faster_higgs.train.team import ALONE, Team

FRAME_SECONDS = 0.04
LEAK = 0.5  # nats; no real held-out speech is that predictable in every codebook


class LanguageTask:
    """The language model, its data and its optimiser, one step at a time.

    Of the one order of batches each member of a team takes its share; a step uses `accumulate` for
    each member, and equals that of one process that uses as many.
    """

    def __init__(
        self,
        model: DualFFN,
        examples: Examples,
        settings: LanguageSettings,
        *,
        held_out: Examples | None = None,
        guide: Guide | None = None,
        team: Team = ALONE,
    ) -> None:
        self.model, self.settings, self.guide, self.team = model, settings, guide, team
        shared = settings.optimizer.kind != "adamw8bit"
        parallel = settings.parallel if shared or settings.parallel != "auto" else "ddp"
        self.spread = spread(model, team, parallel, settings.autocast)
        if settings.compile:
            compiled(model.layers)
        self.packer = Packer(examples, settings.budget, seed=settings.seed, window=settings.window)
        self.optimizer = optimizer(model, settings.optimizer)
        some_frozen = not all(weight.requires_grad for weight in model.parameters())
        self.kept: nn.Module = Learnt(model) if some_frozen else model
        self.seen: tuple[str, ...] = ()  # names of what the last step read
        self.device = model.norm.weight.device
        self._operations = of_layers(model)
        self.held_out = [] if held_out is None else whole(held_out, settings.budget)

    @property
    def modules(self) -> Mapping[str, nn.Module]:
        """What a checkpoint keeps: of a model with frozen weights the others."""
        return {"model": self.kept}

    @property
    def optimizers(self) -> Mapping[str, Optimizer]:
        return {"model": self.optimizer}

    def place(self) -> dict[str, Any]:
        """Where the packer stands."""
        return dict(self.packer.place.to_json())

    def seek(self, place: dict[str, Any]) -> None:
        """Put the packer back."""
        self.packer.place = Place.from_json(place)

    def close(self) -> None:
        """Stop what goes on beside the steps."""
        self.packer.close()

    def whole(self) -> AbstractContextManager[None]:
        """All weights for every member, for as long as it lasts."""
        return whole_model(self.model, self.team)

    def step(self, step: int) -> dict[str, float]:
        """One optimiser step; each of its batches is divided by what all of them supervise."""
        with self.team.answering():
            return self._step(step)

    def _step(self, step: int) -> dict[str, float]:
        began = time.perf_counter()
        batches = self._batches()
        waited = time.perf_counter() - began
        counts = _sum([count(batch) for batch in batches.values()], self.team)
        counts = counts.to(self.device)
        self.seen = tuple(name for batch in batches.values() for name in batch.names)
        self.model.train()
        self.optimizer.zero_grad(set_to_none=True)
        parts, guides = [], []
        for number, batch in batches.items():
            if number == max(batches):
                self.spread.last()
            loss, guide = self._backward(batch.to(self.device), counts, step, number)
            parts.append(loss)
            guides.append(guide)
        self.spread.finish()
        norm = self._gradient_norm()
        metrics = _merge(parts, counts, self.team)
        if self.guide is not None:
            metrics["loss_guide"] = float(self.team.sum(torch.tensor(sum(guides))))
        metrics["gradient_norm"] = norm
        metrics |= self._amounts(list(batches.values()))
        metrics["num_audio_s"] = float(counts.audio.max()) * FRAME_SECONDS
        metrics["seconds_waiting"] = waited
        if math.isfinite(norm) and math.isfinite(metrics["loss"]):
            self.optimizer.step()
        else:
            metrics["skipped"] = 1.0
        return metrics

    def _batches(self) -> dict[int, Batch]:
        """This member's batches of the next step, by their numbers in it."""
        own = {}
        for number in range(self.settings.accumulate * self.team.size):
            if self.team.takes(number):
                own[number] = self.packer.next()
            else:
                self.packer.skip()
        return own

    def _amounts(self, batches: list[Batch]) -> dict[str, float]:
        """What the team's batches hold; `fill` is the share of the budget that is no waste."""
        clips = sum(int(batch.segment[-1]) + 1 for batch in batches)
        own = torch.tensor([sum(batch.num_positions for batch in batches), clips])
        positions, clips = self.team.sum(own).tolist()
        return {
            "num_positions": positions,
            "num_clips": clips,
            "num_operations": positions * self._operations,
            "fill": positions / (self.settings.budget * len(batches) * self.team.size),
        }

    def _backward(self, batch: Batch, counts: Counts, step: int, number: int) -> tuple[Loss, float]:
        settings = self.settings
        strength = 0.0 if self.guide is None or batch.centres is None else self.guide.strength(step)
        watch = self.guide.watch() if self.guide is not None and strength else None
        columns = batch.columns
        if settings.code_noise:
            seed = (settings.seed * 1_000_003 + step) * 1_009 + number
            generator = torch.Generator().manual_seed(seed)
            columns = corrupt(columns, settings.code_noise, self.model.config.num_codes, generator)
        with torch.autocast(self.device.type, torch.bfloat16, enabled=settings.autocast):
            hidden = self.model.train_forward(
                batch.ids,
                columns,
                batch.is_audio,
                batch.segment,
                batch.positions,
                checkpointing=settings.checkpointing,
                watch=watch,
                lengths=batch.lengths,
            )
            close = step % settings.look_every == 0
            loss = self._loss(hidden, batch, counts, closely=close)
        total = loss.total
        guide = 0.0
        if self.guide is not None and watch is not None:
            share = settings.accumulate * self.team.size
            extra = strength * self.guide.loss(watch.maps, batch) / share
            total, guide = total + extra, float(extra.detach())
        (total * self.spread.factor).backward()  # type: ignore[no-untyped-call]
        return loss, guide

    def _gradient_norm(self) -> float:
        weights = [
            w
            for group in self.optimizer.param_groups
            for w in group["params"]
            if w.grad is not None
        ]
        clip = self.settings.optimizer.clip or math.inf
        return norm_of(nn.utils.clip_grad_norm_(weights, clip))

    @torch.no_grad()
    def evaluate(self) -> dict[str, float]:
        """Loss and accuracy on the held-out examples; `looks_leaked` where they are too good."""
        if not self.held_out:
            return {}
        self.model.eval()
        counts = _sum([count(batch) for batch in self.held_out]).to(self.device)
        losses = [self._held_out_loss(batch, counts) for batch in self._own_held_out()]
        metrics = _merge(losses, counts, self.team)
        self.spread.rest()
        books = [value for name, value in metrics.items() if name.startswith("loss_codebook_")]
        metrics["looks_leaked"] = float(max(books) < LEAK)
        return metrics

    def _own_held_out(self) -> list[Batch]:
        """This member's share; all have equally many, for they may need each other to read them."""
        own = [batch for number, batch in enumerate(self.held_out) if self.team.takes(number)]
        rounds = -(-len(self.held_out) // self.team.size)
        return [*own, *[silenced(self.held_out[0])] * (rounds - len(own))]

    def _held_out_loss(self, batch: Batch, counts: Counts) -> Loss:
        batch = batch.to(self.device)
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.settings.autocast):
            hidden = self.model.train_forward(
                batch.ids,
                batch.columns,
                batch.is_audio,
                batch.segment,
                batch.positions,
                lengths=batch.lengths,
            )
            return self._loss(hidden, batch, counts, closely=True)

    def _loss(self, hidden: Tensor, batch: Batch, counts: Counts, *, closely: bool) -> Loss:
        eos = self.model.config.audio_stream_eos_id if closely else None
        return language_loss(self.model, hidden, batch, self.settings.loss, counts, eos)


def whole(examples: Examples, budget: int) -> list[Batch]:
    """A data set as batches, every example once."""
    items = [examples.example(index, 0) for index in range(len(examples))]
    return [
        join([items[i] for i in group]) for group in fill([len(item) for item in items], budget)
    ]


def _sum(counts: list[Counts], team: Team = ALONE) -> Counts:
    return Counts(
        team.sum(torch.stack([c.audio for c in counts]).sum(0)),
        team.sum(torch.stack([c.text for c in counts]).sum()),
    )


def _merge(parts: list[Loss], counts: Counts, team: Team = ALONE) -> dict[str, float]:
    def total(values: list[Tensor]) -> Tensor:
        return team.sum(torch.stack(values).sum(0))

    closer = [part.closer for part in parts if part.closer is not None]
    return Loss(
        total([part.total.detach() for part in parts]),
        total([part.audio for part in parts]),
        total([part.hits for part in parts]),
        total([part.text.detach() for part in parts]),
        counts,
        total(closer) if len(closer) == len(parts) else None,
    ).metrics()
