"""The model and its caches: one step of one request. Knows nothing of queues, text or sound."""

from __future__ import annotations

import torch
from torch import Tensor

from faster_higgs.engine.guard import goes_in_circles
from faster_higgs.engine.request import Finish, Request
from faster_higgs.model.attention import GROWTH
from faster_higgs.model.dual_ffn import DualFFN
from faster_higgs.sampling import draw, sample, uniforms, warp

FIRST, REDRAW, TEXT = 0, 1, 2  # independent streams of random numbers


class Runner:
    """Runs requests on a model: `prefill` once, then `advance` until the request is finished."""

    def __init__(self, model: DualFFN) -> None:
        self.model = model
        self.config = model.config
        self.device = model.embed_text.weight.device

    @property
    def writes_text(self) -> bool:
        """Whether the model has the head that text comes from."""
        return hasattr(self.model, "text_head")

    @torch.inference_mode()
    def prefill(self, request: Request) -> None:
        """Read the prompt."""
        prompt = request.reading
        # Most answers end long before their limit, so room for all of it is not taken at once.
        request.cache = self.model.new_cache(len(prompt.ids) + min(request.limit, GROWTH))
        hidden = self.model.prefill(
            prompt.ids.to(self.device),
            prompt.columns.to(self.device),
            prompt.is_audio.to(self.device),
            request.cache,
        )
        request.hidden = hidden[-1]
        request.last_id = request.prompt.ids[-1]
        request.remember(prompt.columns[prompt.spoken].T)

    @torch.inference_mode()
    def advance(self, request: Request) -> None:
        """One step of the state machine (lm.md, section f)."""
        if request.last_id == self.config.audio_out_bos_token_id:
            request.last_id = self.config.audio_out_token_id
            request.write_text(request.last_id)
            self._read_column(request, request.open_segment())
        elif request.last_id == self.config.audio_out_token_id:
            self._audio_step(request)
        else:
            self._text_step(request)
        request.steps += 1
        if request.finish is None and request.steps >= request.limit:
            request.finish = Finish.LENGTH

    def _audio_step(self, request: Request) -> None:
        assert request.hidden is not None
        clock, sampling = request.clock, request.sampling
        guarded = sampling.rules == "guarded"
        near = request.limit - request.steps <= self.config.num_codebooks
        if guarded and near and clock.ending is None:
            request.cut = True
            clock.close()  # end in staircase order, so that the limit cuts no frame in two
        logits = clock.mask(self.model.audio_logits(request.hidden)).cpu()
        numbers, ignored = self._numbers(request), self._ignored(request)
        column = clock.settle(sample(logits, request.history, sampling, numbers, ignored))
        request.write_column(column)
        if clock.done:
            self._end_segment(request)
        elif guarded and clock.ending is None and goes_in_circles(request.segments[-1]):
            request.finish = Finish.LOOP
        else:
            self._read_column(request, column)

    def _numbers(self, request: Request) -> tuple[Tensor, Tensor]:
        seed, step = torch.tensor([request.seed]), torch.tensor([request.steps])
        books = self.config.num_codebooks
        return uniforms(seed, step, books, FIRST)[0], uniforms(seed, step, books, REDRAW)[0]

    def _ignored(self, request: Request) -> tuple[int, ...]:
        """Tokens whose repetition is no fault; the original counts them all."""
        if request.sampling.rules == "original":
            return ()
        return (self.config.audio_stream_bos_id, self.config.audio_stream_eos_id)

    def _end_segment(self, request: Request) -> None:
        """Go on with text, unless the rules want nothing but this clip or there is no text head."""
        forced = request.prompt.ids[-1] == self.config.audio_out_bos_token_id
        rules = request.sampling.rules
        alone = rules == "transformers" or (forced and rules == "guarded")
        if request.cut or alone or not self.writes_text:
            request.finish = Finish.LENGTH if request.cut else Finish.STOP
            return
        self._take_text(request, self.config.audio_eos_token_id)

    def _text_step(self, request: Request) -> None:
        assert request.hidden is not None
        logits = self.model.text_logits(request.hidden).cpu()
        # A slot for sound is opened by its opening token only; the original fails on any other.
        logits[[self.config.audio_in_token_id, self.config.audio_out_token_id]] = -torch.inf
        seed, step = torch.tensor([request.seed]), torch.tensor([request.steps])
        number = uniforms(seed, step, 1, TEXT)[0, 0]
        token = int(draw(warp(logits, request.sampling), number))
        self._take_text(request, token)

    def _take_text(self, request: Request, token: int) -> None:
        """Write a token; go on, unless it is one to stop at."""
        request.write_text(token)
        if token in request.stop_ids:
            request.finish = Finish.STOP if request.segments else Finish.NO_AUDIO
        else:
            self._read_text(request, token)

    def _read_text(self, request: Request, token: int) -> None:
        request.last_id = token
        ids = torch.tensor([token], device=self.device)
        nothing = ids.new_empty(0, self.config.num_codebooks)
        request.hidden = self.model.prefill(
            ids, nothing, torch.zeros_like(ids, dtype=torch.bool), request.cache
        )[-1]

    def _read_column(self, request: Request, column: Tensor) -> None:
        request.hidden = self.model.decode(column[None].to(self.device), [request.cache])[0]
