"""Who speaks in the benchmarks: this project's engine, and the model class of transformers.

Both get the same prompt, sample in the same way and are timed over the same frames. Each import of
a library happens inside, in the process of the one who needs it. Knows nothing of processes.
"""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from benchmarks.weights import codec_folder
from faster_higgs.checkpoint.choice import Plan
from faster_higgs.checkpoint.fit import fit, wish_for
from faster_higgs.checkpoint.load import load_model
from faster_higgs.config import EngineConfig, ModelConfig
from faster_higgs.device import named
from faster_higgs.engine.engine import Engine
from faster_higgs.errors import EngineError
from faster_higgs.prompt.template import Prompt
from faster_higgs.sampling import Sampling

PROMPT = 100  # positions, of text
TEXT = 40  # positions, as many before a voice's clip as after it
_TRIES = 5  # seeds; random weights may end a clip early


class Ours:
    """The engine, as `higgs say` runs it."""

    def __init__(
        self, folder: Path, device: str = "cpu", engine: EngineConfig = EngineConfig()
    ) -> None:
        begin = time.perf_counter()
        config, self.model = load_model(folder, device=device, text_head=False)
        self.prompt = Prompt(tuple(prompt_ids(config)), ())
        self.engine = Engine(self.model, engine)
        self.load_seconds = time.perf_counter() - begin

    def facts(self) -> dict[str, float]:
        """Seconds it took to load, and bytes of weights that a frame reads."""
        return {"load_seconds": self.load_seconds, "bytes_per_frame": bytes_per_frame(self.model)}

    def first(self, prompt: Prompt | None = None, columns: int = 2) -> float:
        """Seconds until an answer has so many columns of codes; the first one is given."""
        begin = time.perf_counter()
        number = self.engine.add(prompt or self.prompt, Sampling(seed=0))
        while columns > 0:
            for event in self.engine.step():
                columns -= sum(isinstance(one, Tensor) for one in event.written)
        seconds = time.perf_counter() - begin
        self.engine.abort(number)
        self._finish()
        return seconds

    def rate(self, batch: int, frames: int) -> float:
        """Frames a second of all requests together, once each of them has a first one."""
        for seed in range(_TRIES):
            numbers = self._ask(batch, seed * batch, limit=8 * frames + 100)
            seconds = self._seconds(set(numbers), frames)
            for number in numbers:
                self.engine.abort(number)
            self._finish()
            if seconds is not None:
                return batch * frames / seconds
        raise EngineError(f"Every clip was over within {frames} frames; ask for fewer.")

    def _ask(self, batch: int, seed: int, limit: int) -> list[int]:
        return [
            self.engine.add(self.prompt, Sampling(seed=seed + row, max_new_tokens=limit))
            for row in range(batch)
        ]

    def _seconds(self, waiting: set[int], frames: int) -> float | None:
        """From when each request has a frame until there are so many more; None if one ended."""
        wanted = frames * len(waiting)
        while waiting:
            for event in self.engine.step():
                if event.result is not None:
                    return None
                if event.frames.shape[1]:
                    waiting.discard(event.request)
        begin = time.perf_counter()
        while wanted > 0:
            for event in self.engine.step():
                if event.result is not None:
                    return None
                wanted -= event.frames.shape[1]
        return time.perf_counter() - begin

    def _finish(self) -> None:
        while not self.engine.idle:
            self.engine.step()


class Rival:
    """`HiggsAudioV2ForConditionalGeneration` and its own `generate`."""

    def __init__(self, folder: Path) -> None:
        from transformers import HiggsAudioV2ForConditionalGeneration

        quiet()
        begin = time.perf_counter()
        self.model = HiggsAudioV2ForConditionalGeneration.from_pretrained(folder, dtype="auto")
        self.model.eval()
        self.load_seconds = time.perf_counter() - begin
        config = ModelConfig.from_json(json.loads((folder / "config.json").read_text()))
        self.ids, self.books = prompt_ids(config), config.num_codebooks

    def facts(self) -> dict[str, float]:
        """Seconds it took to load."""
        return {"load_seconds": self.load_seconds}

    def first(self) -> float:
        """Seconds until an answer has two columns of codes; the first one is given."""
        begin = time.perf_counter()
        self._generate(1, 2, seed=0)
        return time.perf_counter() - begin

    def rate(self, batch: int, frames: int) -> float:
        """Frames a second of all requests together, once each of them has a first one."""
        skipped = self.books + 1
        for seed in range(_TRIES):
            stamps = self._generate(batch, skipped + frames, seed)
            if len(stamps) == skipped + frames:
                return batch * frames / (stamps[-1] - stamps[skipped - 1])
        raise EngineError(f"Every clip was over within {frames} frames; ask for fewer.")

    def _generate(self, batch: int, columns: int, seed: int) -> list[float]:
        """When each column was there."""
        from transformers import GenerationConfig

        torch.manual_seed(seed)
        stamps = _Stamps()
        ours = Sampling()
        settings = GenerationConfig(
            do_sample=True,
            temperature=ours.temperature,
            top_k=ours.top_k,
            top_p=ours.top_p,
            ras_win_len=ours.ras_window,
            ras_win_max_num_repeat=ours.ras_repeats,
            max_new_tokens=columns,
            pad_token_id=self.model.config.pad_token_id,
        )
        ids = torch.tensor([self.ids] * batch)
        self.model.generate(
            ids,
            attention_mask=torch.ones_like(ids),
            generation_config=settings,
            streamer=stamps,
        )
        return stamps.seconds[1:]  # the prompt comes first


class _Stamps:
    """What `generate` tells of each step."""

    def __init__(self) -> None:
        self.seconds: list[float] = []

    def put(self, value: Tensor) -> None:
        self.seconds.append(time.perf_counter())

    def end(self) -> None:
        """Nothing is left to do."""


def planned(settings: Any, engine: EngineConfig | None = None) -> Plan:
    """Where ours runs, as `Higgs.load` plans it. Raises SettingError where there is no room."""
    codec = codec_folder(settings.folder, tiny=settings.tiny)
    return fit(settings.model, codec, named(settings.device), wish_for(None, engine))


def prompt_ids(config: ModelConfig, positions: int = PROMPT, seed: int = 0) -> list[int]:
    """Any text, then the token that opens a clip of the answer."""
    words = min(config.vocab_size, config.audio_in_token_id, config.audio_out_bos_token_id) // 2
    generator = torch.Generator().manual_seed(seed)
    text: Sequence[int] = torch.randint(words, (positions - 1,), generator=generator).tolist()
    return [*text, config.audio_out_bos_token_id]


def voice_prompt(config: ModelConfig, frames: int, voice: int, text: int) -> Prompt:
    """A text of its own after a clip that only the number of the voice decides."""
    before, after = prompt_ids(config, TEXT), prompt_ids(config, TEXT + text)
    generator = torch.Generator().manual_seed(voice)
    shape = (config.num_codebooks, frames)
    clip = torch.randint(config.num_codes, shape, generator=generator)
    return Prompt((*before[:-1], config.audio_in_token_id, *after[text:]), (clip,))


def bytes_per_frame(model: torch.nn.Module) -> int:
    """Weights that one decoding step reads: all but the text side and most of the embeddings."""
    total = 0
    for name, value in model.state_dict().items():
        if name == "embed_audio.weight":
            total += model.config.num_codebooks * value[0].nbytes
        elif not any(part in name for part in ("embed_text", "text_")):
            total += value.nbytes
    return total


def quiet() -> None:
    """No progress bars and no advice in the middle of a table."""
    from transformers.utils import logging

    logging.set_verbosity_error()
    logging.disable_progress_bar()
