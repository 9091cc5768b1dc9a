"""A prompt as rows for the model: every clip in its place, delayed. Knows nothing of text."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from faster_higgs.config import ModelConfig
from faster_higgs.delay import wrap
from faster_higgs.errors import SettingError
from faster_higgs.prompt.template import Prompt


@dataclass(frozen=True)
class Expanded:
    """A prompt with every clip in its place: ids [T], is_audio [T], delayed columns [A, K].

    The columns are those of the audio rows. `spoken` [A] marks the columns of assistant clips;
    reference clips of the other roles are only listened to.
    """

    ids: Tensor
    is_audio: Tensor
    columns: Tensor
    spoken: Tensor


def expand(prompt: Prompt, config: ModelConfig) -> Expanded:
    """Widen each slot to the F+K+1 columns of its clip. Raises SettingError if they do not fit."""
    slots = (config.audio_in_token_id, config.audio_out_token_id)
    places = [i for i, token in enumerate(prompt.ids) if token in slots]
    if len(places) != len(prompt.clips):
        raise SettingError(
            f"The prompt has {len(places)} places for clips but {len(prompt.clips)} clips."
        )
    ids: list[int] = []
    columns, spoken = (
        [torch.empty(0, config.num_codebooks, dtype=torch.long)],
        [torch.empty(0, dtype=torch.bool)],
    )
    rest = iter(prompt.clips)
    for token in prompt.ids:
        if token not in slots:
            ids.append(token)
            continue
        clip = _checked(next(rest), config)
        wrapped = wrap(clip, config.audio_stream_bos_id, config.audio_stream_eos_id).T
        ids += [token] * len(wrapped)
        columns.append(wrapped)
        spoken.append(torch.full((len(wrapped),), token == config.audio_out_token_id))
    every = torch.tensor(ids, dtype=torch.long)
    is_audio = (every == slots[0]) | (every == slots[1])
    return Expanded(every, is_audio, torch.cat(columns), torch.cat(spoken))


def _checked(codes: Tensor, config: ModelConfig) -> Tensor:
    if codes.ndim != 2 or codes.shape[0] != config.num_codebooks:
        raise SettingError(
            f"A clip's codes have shape {tuple(codes.shape)}; "
            f"the model needs [{config.num_codebooks}, frames]."
        )
    if codes.numel() and not 0 <= int(codes.min()) <= int(codes.max()) < config.num_codes:
        raise SettingError(
            f"A clip's codes reach {int(codes.max())}; the model knows 0 to {config.num_codes - 1}."
        )
    return codes.cpu().long()
