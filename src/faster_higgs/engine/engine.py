"""Requests in, frames out. Knows nothing of text, sound, files or HTTP.

Here one request runs after another; callers see only `add`, `abort` and `step`, which stay as they
are when requests run together.
"""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Iterable

from faster_higgs.engine.request import Finish, FrameEvent, Request
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
        longest = config.max_position_embeddings
        if len(prompt) >= longest:
            raise SettingError(
                f"The prompt takes {len(prompt)} positions and the model has {longest}; "
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
        """One model step; the events it gave rise to."""
        over = [request for request in self._waiting if request.finish is not None]
        if not over and self._waiting:
            request = self._waiting[0]
            if request.hidden is None:
                self._runner.prefill(request)
            self._runner.advance(request)
            frames = request.release()
            if request.finish is None:
                return [FrameEvent(request.id, frames)] if frames.shape[1] else []
            self._waiting.popleft()
            return [FrameEvent(request.id, frames, request.result())]
        for request in over:
            self._waiting.remove(request)
        return [FrameEvent(r.id, r.release(), r.result()) for r in over]
