"""Codes and voices as plain data, to be kept and read again. Knows nothing of files."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from faster_higgs.prompt.voices import Voice


def bytes_of(codes: Tensor) -> bytes:
    """Codes [K, F], row by row, in 16 bits, the lower byte first."""
    return codes.cpu().numpy().astype("<i2").tobytes()


def codes_of(data: bytes, codebooks: int) -> Tensor:
    """The codes [K, F] that `bytes_of` was given. Raises ValueError for what has no such shape."""
    if not codebooks or len(data) % (2 * codebooks):
        raise ValueError(f"{len(data)} bytes are not codes of {codebooks} codebooks")
    row = np.frombuffer(data, "<i2").astype(np.int64)
    return torch.from_numpy(row.reshape(codebooks, len(row) // codebooks))


def voice_to_plain(voice: Voice) -> dict[str, Any]:
    """All of a voice, as JSON can hold it."""
    codes = voice.codes
    return {
        "name": voice.name,
        "transcript": voice.transcript,
        "description": voice.description,
        "codebooks": 0 if codes is None else codes.shape[0],
        "codes": None if codes is None else base64.b64encode(bytes_of(codes)).decode(),
    }


def voice_of_plain(kept: Mapping[str, Any]) -> Voice:
    """The voice again. Raises ValueError, KeyError for what is none."""
    codes = kept["codes"]
    if codes is not None:
        codes = codes_of(base64.b64decode(codes, validate=True), kept["codebooks"])
    return Voice(kept["name"], codes, kept["transcript"], kept["description"])
