"""What a request may say about drawing codes. Knows nothing of how they are drawn."""

from __future__ import annotations

from dataclasses import dataclass, replace
from numbers import Integral
from typing import Literal

from faster_higgs.errors import SettingError

Rules = Literal["guarded", "original", "transformers"]
COLDEST = 1e-4  # temperature; below it scores would outgrow their numbers


@dataclass(frozen=True)
class Sampling:
    """Per-request settings. The only place that says what the defaults are.

    `rules` chooses the state machine: "guarded" masks stream tokens where they make no sense; the
    other two are the references', exactly. `ras_window` or `ras_repeats` of 0 turn
    repetition-aware sampling off.
    """

    temperature: float = 0.3  # 0 means: always the likeliest
    top_k: int = 50  # 0 means: all
    top_p: float = 0.95
    min_p: float = 0.0
    ras_window: int = 7
    ras_repeats: int = 2
    seed: int | None = None  # None means: a fresh one, reported with the result
    max_new_tokens: int = 2048  # steps: text tokens, and columns, of which 25 make a second
    rules: Rules = "guarded"

    def __post_init__(self) -> None:
        for name in ("top_k", "max_new_tokens", "ras_window", "ras_repeats", "seed"):
            _whole(name, getattr(self, name))
        _within("temperature", self.temperature, 0.0, 10.0)
        if 0 < self.temperature < COLDEST:
            raise SettingError(
                f"temperature is {self.temperature}; use 0 for the likeliest code, or a value from "
                f"{COLDEST:g} to 10."
            )
        _within("top_p", self.top_p, 0.0, 1.0)
        _within("min_p", self.min_p, 0.0, 1.0)
        _within("top_k", self.top_k, 0, 1_000_000)
        _within("max_new_tokens", self.max_new_tokens, 1, 1_000_000)
        _within("ras_window", self.ras_window, 0, 1000)
        _within("ras_repeats", self.ras_repeats, 0, 1000)
        if self.top_p == 0.0:
            raise SettingError(
                "top_p is 0, which leaves nothing to choose from; "
                "use temperature 0 for the likeliest code."
            )
        if self.rules not in ("guarded", "original", "transformers"):
            raise SettingError(
                f"rules is '{self.rules}'; use 'guarded', 'original' or 'transformers'."
            )
        if self.seed is not None and not -(2**63) <= self.seed < 2**63:
            raise SettingError(f"seed is {self.seed}; use a whole number of at most 64 bits.")

    def of_utterance(self, number: int) -> Sampling:
        """With the random numbers of the utterance of that number in a speech."""
        if self.seed is None:
            return self
        return replace(self, seed=(self.seed + number * 0x9E3779B1) % 2**62)


def _whole(name: str, value: object) -> None:
    if not isinstance(value, Integral) and not (name == "seed" and value is None):
        raise SettingError(f"{name} is {value!r}; use a whole number.")


def _within(name: str, value: float, low: float, high: float) -> None:
    if not low <= value <= high:  # also refuses NaN
        raise SettingError(f"{name} is {value}; use a value from {low:g} to {high:,.10g}.")
