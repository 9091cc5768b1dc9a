"""The original project's names, and the conversation dicts of transformers, over the same engine.

A script written for `boson_multimodal` changes its import line only.
Knows nothing of command lines or HTTP.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from faster_higgs.chatml import AudioContent, ChatMLSample, Message, TextContent, conversation
from faster_higgs.checkpoint.files import resolve
from faster_higgs.checkpoint.load import holds_text_head
from faster_higgs.engine.request import FrameEvent, Result
from faster_higgs.errors import SettingError
from faster_higgs.prompt import template
from faster_higgs.prompt.tokens import END_OF_TEXT, EOT
from faster_higgs.sampling import Sampling
from faster_higgs.speech import Higgs
from faster_higgs.spoken import no_audio

__all__ = [
    "AudioContent",
    "ChatMLSample",
    "HiggsAudioResponse",
    "HiggsAudioServeEngine",
    "HiggsAudioStreamerDelta",
    "Message",
    "TextContent",
]


@dataclass
class HiggsAudioResponse:
    """What the original's `generate` returns.

    `generated_audio_tokens` are delayed columns [K, T] of the first segment.
    """

    audio: NDArray[np.float32] | None = None
    generated_audio_tokens: NDArray[np.int64] | None = None
    sampling_rate: int | None = None
    generated_text: str = ""
    generated_text_tokens: NDArray[np.int64] = field(default_factory=lambda: np.empty(0, np.int64))
    usage: dict[str, int] | None = None


@dataclass
class HiggsAudioStreamerDelta:
    """News of a stream: an id of text [1], or a delayed column [K], at the end the reason."""

    text: str | None = None
    text_tokens: Tensor | None = None
    audio_tokens: Tensor | None = None
    finish_reason: str | None = None


class HiggsAudioServeEngine:
    """The original's engine class; a tokenizer's path and caches of fixed length are not needed."""

    def __init__(
        self,
        model_name_or_path: str,
        audio_tokenizer_name_or_path: str | None = None,
        tokenizer_name_or_path: str | None = None,
        device: str = "cuda",
        torch_dtype: torch.dtype | str = "auto",
        kv_cache_lengths: Sequence[int] = (),
    ) -> None:
        if tokenizer_name_or_path not in (None, model_name_or_path):
            raise SettingError(
                "The text tokenizer lies in the model's folder; a separate one is not supported."
            )
        if torch_dtype != "auto":
            raise SettingError("torch_dtype is chosen by the device; leave it at 'auto'.")
        # Caches grow as needed; the lengths are kept for scripts that read them back.
        self.kv_cache_lengths = tuple(kv_cache_lengths)
        folder = resolve(model_name_or_path)
        self.higgs = Higgs.load(
            folder,
            codec=audio_tokenizer_name_or_path,
            device=device,
            text_head=holds_text_head(folder),
        )

    def generate(  # noqa: PLR0913  the signature is the original's
        self,
        chat_ml_sample: ChatMLSample | Sequence[Mapping[str, Any]],
        max_new_tokens: int,
        temperature: float = 0.7,
        top_k: int | None = None,
        top_p: float = 0.95,
        stop_strings: Sequence[str] | None = None,
        force_audio_gen: bool = False,
        ras_win_len: int | None = 7,
        ras_win_max_num_repeat: int = 2,
        seed: int | None = None,
    ) -> HiggsAudioResponse:
        """The whole answer. Raises NoAudio when sound was forced and none came."""
        prompt = self.prompt(chat_ml_sample, force_audio=force_audio_gen)
        sampling = _sampling(
            max_new_tokens, temperature, top_k, top_p, ras_win_len, ras_win_max_num_repeat, seed
        )
        events = list(self.higgs.frames(prompt, sampling, self._stops(stop_strings)))
        result = events[-1].result
        assert result is not None
        codes = torch.cat([event.frames for event in events], dim=1)
        if self._is_forced(prompt) and not codes.shape[1]:
            raise no_audio(result, len(codes))
        return self._response(prompt, result, codes)

    async def generate_delta_stream(  # noqa: PLR0913  the signature is the original's
        self,
        chat_ml_sample: ChatMLSample | Sequence[Mapping[str, Any]],
        max_new_tokens: int,
        temperature: float = 0.7,
        top_k: int | None = None,
        top_p: float = 0.95,
        stop_strings: Sequence[str] | None = None,
        force_audio_gen: bool = False,
        ras_win_len: int | None = 7,
        ras_win_max_num_repeat: int = 2,
        seed: int | None = None,
    ) -> AsyncIterator[HiggsAudioStreamerDelta]:
        """The answer while it is made; errors are raised here and never swallowed."""
        prompt = self.prompt(chat_ml_sample, force_audio=force_audio_gen)
        sampling = _sampling(
            max_new_tokens, temperature, top_k, top_p, ras_win_len, ras_win_max_num_repeat, seed
        )
        events = self.higgs.frames(prompt, sampling, self._stops(stop_strings))
        while (event := await asyncio.to_thread(next, events, None)) is not None:
            for delta in self._deltas(event):
                yield delta

    def prompt(
        self, sample: ChatMLSample | Sequence[Mapping[str, Any]], *, force_audio: bool
    ) -> template.Prompt:
        """The conversation as the model reads it; one of dicts is always answered with sound."""
        messages = conversation(sample, self.higgs)
        forced = force_audio or not isinstance(sample, ChatMLSample)
        return self.higgs.prompt(messages, force_audio=forced)

    def _is_forced(self, prompt: template.Prompt) -> bool:
        return prompt.ids[-1] == self.higgs.config.audio_out_bos_token_id

    def _stops(self, stop_strings: Sequence[str] | None) -> tuple[int, ...]:
        """Ids to stop at; the end of text is always one."""
        names = {END_OF_TEXT, *([EOT] if stop_strings is None else stop_strings)}
        if unknown := [
            name for name in sorted(names) if not (name.startswith("<|") and name.endswith("|>"))
        ]:
            raise SettingError(
                f"'{unknown[0]}' is not a special token; "
                "generation can stop at special tokens only."
            )
        return tuple(self.higgs.tokenizer.special(name) for name in names)

    def _deltas(self, event: FrameEvent) -> Iterator[HiggsAudioStreamerDelta]:
        closing = self.higgs.config.audio_eos_token_id  # the original streams all but this one
        for one in event.written:
            if isinstance(one, Tensor):
                yield HiggsAudioStreamerDelta(audio_tokens=one)
            elif one != closing:
                text = self.higgs.tokenizer.decode([one])
                yield HiggsAudioStreamerDelta(text, torch.tensor([one]))
        if event.result is not None:
            yield HiggsAudioStreamerDelta(finish_reason=event.result.finish.value)

    def _response(
        self, prompt: template.Prompt, result: Result, codes: Tensor
    ) -> HiggsAudioResponse:
        spoken = codes.shape[1] > 0
        columns = sum(segment.shape[1] for segment in result.segments)
        made = len(result.text_ids) + columns
        return HiggsAudioResponse(
            audio=self.higgs.decode(codes) if spoken else None,
            generated_audio_tokens=result.segments[0].numpy() if spoken else None,
            sampling_rate=self.higgs.rate if spoken else None,
            generated_text=self.higgs.tokenizer.decode(result.text_ids),
            generated_text_tokens=np.array(result.text_ids, np.int64),
            usage={
                "prompt_tokens": len(prompt),
                "completion_tokens": made,
                "total_tokens": len(prompt) + made,
                "cached_tokens": 0,
            },
        )


def _sampling(
    max_new_tokens: int,
    temperature: float,
    top_k: int | None,
    top_p: float,
    window: int | None,
    repeats: int,
    seed: int | None,
) -> Sampling:
    return Sampling(
        temperature=temperature,
        top_k=top_k or 0,
        top_p=top_p,
        ras_window=max(0, window or 0),
        ras_repeats=max(0, repeats),
        seed=seed,
        max_new_tokens=max_new_tokens,
    )
