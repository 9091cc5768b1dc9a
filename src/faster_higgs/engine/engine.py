"""Requests in, frames out. Knows nothing of text, sound, files or HTTP.

Here one request runs after another; callers see only `add`, `abort` and `step`, which stay as they
are when requests run together.
"""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Iterable

from faster_higgs.engine.request import Finish, FrameEvent, Request, RequestFailed
from faster_higgs.engine.runner import Runner
from faster_higgs.errors import SettingError
from faster_higgs.model.dual_ffn import DualFFN
from faster_higgs.prompt.template import Prompt, expand
from faster_higgs.sampling import Sampling


class Engine:
    """First come, first served."""

    def __init__(self, model: DualFFN) -> None:
        self._runner = Runner(model)
        self._model = model
        self._waiting: deque[Request] = deque()
        self._numbers = itertools.count(1)

    @property
    def idle(self) -> bool:
        """Whether nothing is in flight."""
        return not self._waiting

    def add(self, prompt: Prompt, sampling: Sampling, stop_ids: Iterable[int] = ()) -> int:
        """Queue a prompt; its number comes back in every event.

        Raises SettingError for one that the model can never answer: too long, clips of another
        codec, or an answer in text by a model without a text head.
        """
        config = self._model.config
        if len(prompt) + config.num_codebooks + 2 > config.positions:  # the shortest clip
            raise SettingError(
                f"The prompt takes {len(prompt)} of the model's {config.positions} positions, "
                "which leaves no room for an answer; "
                "shorten the reference clip, the history or the text."
            )
        if prompt.ids[-1] != config.audio_out_bos_token_id and not self._runner.writes_text:
            raise SettingError(
                "This prompt lets the model write text first, but the model was loaded without its "
                "text head; force audio, or load with text_head=True."
            )
        reading = expand(prompt, config)
        number = next(self._numbers)
        request = Request(number, prompt, reading, sampling, config, frozenset(stop_ids))
        self._waiting.append(request)
        return request.id

    def abort(self, number: int) -> None:
        """Stop a request; its last event comes with the next step. Other numbers are ignored."""
        for request in self._waiting:
            if request.id == number:
                request.finish = Finish.ABORTED

    def clear(self) -> None:
        """Forget every request, after an error that none of them can survive."""
        self._waiting.clear()

    def step(self) -> list[FrameEvent]:
        """One model step; the events it gave rise to. Raises RequestFailed."""
        ended = [request for request in self._waiting if request.finish is not None]
        served = ended or [self._advance(request) for request in list(self._waiting)[:1]]
        for request in served:
            if request.finish is not None:
                self._waiting.remove(request)
        return [request.news() for request in served]

    def _advance(self, request: Request) -> Request:
        """The same request, one step further."""
        try:
            if request.hidden is None:
                self._runner.prefill(request)
            self._runner.advance(request)
        except Exception as error:
            self._waiting.remove(request)  # the others may well be possible
            raise RequestFailed(request.id) from error
        return request
