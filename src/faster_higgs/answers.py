"""Utterances and what the engine makes of them, each begun before its turn where it can be.

Knows nothing of sound, nor how a prompt is fitted to the model.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

from torch import Tensor

from faster_higgs.delivery import Delivery, Utterance
from faster_higgs.engine.request import FrameEvent
from faster_higgs.engine.scheduler import BATCH, INTERACTIVE
from faster_higgs.engine.worker import OnStop
from faster_higgs.prompt.conversation import Conversation
from faster_higgs.prompt.template import Prompt
from faster_higgs.sampling import Sampling

AHEAD = 4  # utterances that are begun before their turn, where they need nothing of another
PRIORITIES = {"interactive": INTERACTIVE, "batch": BATCH}


class Answer(NamedTuple):
    """An utterance, the conversation it belongs to, and what the engine makes of its prompt."""

    utterance: Utterance
    talk: Conversation
    prompt: Prompt
    sampling: Sampling
    events: Generator[FrameEvent]
    is_first: bool


def answered(
    plan: Sequence[Utterance],
    sampling: Sampling,
    talk_of: Callable[[Utterance], Conversation],
    fitted: Callable[[Conversation, Utterance], Prompt],
    frames: Callable[[Prompt, Sampling], Generator[FrameEvent]],
    said: Sequence[Tensor | None] = (),
) -> Generator[Answer]:
    """Each utterance with what the engine makes of it; `sampling` has a seed.

    Those that need nothing of the one before are begun while it is still spoken. The first were
    `said` before: of each only what is remembered is used.
    """
    talk: Conversation | None = None
    ahead: deque[Answer] = deque()
    try:
        for i, utterance in enumerate(plan):
            alone = talk is None or utterance.fresh or talk.setting != utterance.setting
            while len(ahead) > (AHEAD if alone else 0):  # else its past must have been heard
                yield ahead.popleft()
            if alone:
                talk = talk_of(utterance)
            assert talk is not None
            if i < len(said):
                if not alone:
                    fitted(talk, utterance)  # forgets what it forgot then
                if (codes := said[i]) is not None:
                    talk.heard(utterance.text, codes)
                continue
            prompt, limited = fitted(talk, utterance), _limited(sampling, utterance, i)
            events = frames(prompt, limited)
            ahead.append(Answer(utterance, talk, prompt, limited, events, i == 0))
        while ahead:
            yield ahead.popleft()
    finally:
        for answer in ahead:
            answer.events.close()


def urgency_of(delivery: Delivery, on_stop: OnStop | None) -> Mapping[str, Any]:
    """What the engine is told: who goes first, and when it is too late or no longer wanted."""
    patience = delivery.deadline
    deadline = None if patience is None else time.monotonic() + patience
    urgency = {"priority": PRIORITIES[delivery.priority], "deadline": deadline}
    return urgency if on_stop is None else {**urgency, "on_stop": on_stop}


def _limited(sampling: Sampling, utterance: Utterance, number: int) -> Sampling:
    """The settings of one utterance: its own random numbers; guarded, only steps it can need."""
    assert sampling.seed is not None
    steps = sampling.max_new_tokens
    if sampling.rules == "guarded":
        steps = min(steps, utterance.steps)
    return replace(sampling.of_utterance(number), max_new_tokens=steps)
