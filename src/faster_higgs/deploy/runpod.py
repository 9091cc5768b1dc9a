"""The worker for RunPod's queue: `python -m faster_higgs.deploy.runpod`.

Jobs share the one engine as requests over HTTP do. Knows nothing of what a job's fields mean. The
model is loaded before the first job is asked for.
"""

from __future__ import annotations

import asyncio
import base64
import logging
import os
import sys
from collections.abc import AsyncGenerator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from faster_higgs.audio.encode import FORMATS
from faster_higgs.deploy.payload import Asked, Defaults, asked_of
from faster_higgs.errors import HiggsError, MissingExtra, SettingError
from faster_higgs.server.errors import Refusal, refusal
from faster_higgs.server.making import Making
from faster_higgs.server.service import WARM_UP, Service
from faster_higgs.server.settings import ServerSettings
from faster_higgs.speech import Higgs

LOG = logging.getLogger(__name__)
PREFIX = "HIGGS_AUDIO_"
Job = Mapping[str, Any]
Output = dict[str, Any]


@dataclass(frozen=True)
class WorkerSettings:
    """What an operator says in the environment."""

    defaults: Defaults
    model: str | None = None
    codec: str | None = None
    device: str = "auto"
    voices: tuple[Path, ...] = ()
    streaming: bool = False
    log_level: str = "INFO"

    @classmethod
    def given(cls, environment: Mapping[str, str]) -> WorkerSettings:
        """Raises SettingError."""

        def told(name: str) -> str | None:
            return environment.get(PREFIX + name) or None

        _check_others(environment)
        server = {
            "default_response_format": "wav",
            **ServerSettings.given(environment),
        }
        voices = environment.get("HIGGS_VOICES", "").split(os.pathsep)
        return cls(
            Defaults(ServerSettings(**server)),
            told("MODEL_ID"),
            told("AUDIO_TOKENIZER_ID"),
            told("DEVICE") or "auto",
            tuple(Path(folder) for folder in voices if folder),
            _yes(environment, f"{PREFIX}STREAMING"),
            (told("LOG_LEVEL") or "INFO").upper(),
        )


async def handle(job: Job, service: Service, defaults: Defaults) -> Output:
    """A job's output, or its error in a sentence. Raises nothing."""
    try:
        asked = await asyncio.to_thread(asked_of, job.get("input"), defaults)
        if asked.body.stream:
            return {
                "error": "stream: this worker answers whole; "
                f"one that streams is started with {PREFIX}STREAMING=1."
            }
        making = service.making(asked.order)
        data = await service.whole(making)
    except Exception as error:  # noqa: BLE001  whoever sent the job must hear of it
        return _failed(error, job)
    return {"audio_base64": base64.b64encode(data).decode(), **_facts(making, asked, service)}


async def stream(job: Job, service: Service, defaults: Defaults) -> AsyncGenerator[Output]:
    """The output in parts: one after another their sounds are one file, the last has the facts.

    A job that does not ask for a stream has one part.
    """
    asked_for = job.get("input")
    if not (isinstance(asked_for, Mapping) and asked_for.get("stream")):
        yield await handle(job, service, defaults)
        return
    try:
        asked = await asyncio.to_thread(asked_of, asked_for, defaults)
        making = service.making(asked.order)
        async with service.desk.take(making.streamed) as take:
            async for data in take:
                if data:
                    yield {"audio_base64": base64.b64encode(data).decode(), "done": False}
    except Exception as error:  # noqa: BLE001  as above
        yield _failed(error, job)
        return
    yield {"audio_base64": "", "done": True, **_facts(making, asked, service)}


def _facts(making: Making, asked: Asked, service: Service) -> Output:
    """What is told of a speech beside its sound."""
    order, body = asked.order, asked.body
    assert isinstance(service.higgs, Higgs), "a worker has a model of its own"
    results = [piece.result for piece in making.ends if piece.result is not None]
    text_ids = [one for result in results for one in result.text_ids]
    told: Output = {
        "audio_format": order.format,
        "mime_type": FORMATS[order.format].mime,
        "sampling_rate": making.rate,
        "generated_text": service.higgs.tokenizer.decode(text_ids).strip(),
        "usage": {
            "prompt_tokens": making.input_tokens,
            "completion_tokens": making.output_tokens,
            "total_tokens": making.input_tokens + making.output_tokens,
        },
        "model": service.models[0],
        "seed": order.sampling.seed,
        "duration": round(making.duration, 3),
        "finish_reason": making.finish,
    }
    if body.return_audio_tokens:
        segments = [one.tolist() for result in results for one in result.segments]
        told["generated_audio_tokens"] = _joined(segments)
    if body.return_text_tokens:
        told["generated_text_tokens"] = text_ids
    if body.script:
        told["prompt"] = body.script
    if asked.transcripts:
        told["reference_transcripts"] = list(asked.transcripts)
    if asked.ignored:
        told["ignored_parameters"] = list(asked.ignored)
    return told


def _joined(segments: Sequence[list[list[int]]]) -> list[list[int]]:
    """Delayed codes, a list for each codebook, one utterance after another."""
    return [[code for row in rows for code in row] for rows in zip(*segments, strict=True)]


def _failed(error: Exception, job: Job) -> Output:
    """An error as output; a card that is lost takes the worker with it."""
    if isinstance(error, Refusal | HiggsError):
        return {"error": refusal(error).message}
    LOG.exception("Job %s failed.", job.get("id"), exc_info=error)
    told: Output = {"error": f"Unhandled exception: {type(error).__name__}; the log has more."}
    return told | ({"refresh_worker": True} if "CUDA error" in str(error) else {})


def _check_others(environment: Mapping[str, str]) -> None:
    """Variables that cannot be followed. Raises SettingError."""
    model, tokenizer = (environment.get(PREFIX + name) for name in ("MODEL_ID", "TOKENIZER_ID"))
    if tokenizer and tokenizer != model:
        raise SettingError(
            f"{PREFIX}TOKENIZER_ID: the text tokenizer lies in the model's folder; leave it out."
        )
    kind = environment.get(f"{PREFIX}TORCH_DTYPE", "auto").strip().lower()
    if kind not in ("", "auto"):
        LOG.warning("%sTORCH_DTYPE=%s: weights are held as the files have them.", PREFIX, kind)


def _yes(environment: Mapping[str, str], name: str) -> bool:
    value = environment.get(name, "0").lower()
    if value not in ("", "0", "1"):
        raise SettingError(f"{name} is '{value}'; use 1 or 0.")
    return value == "1"


def loaded(settings: WorkerSettings) -> Service:
    """The model, and it has spoken once. Raises CheckpointError, SettingError."""
    higgs = Higgs.load(
        settings.model, codec=settings.codec, device=settings.device, voices=settings.voices
    )
    service = Service(higgs, settings.defaults.server, (settings.model or higgs.folder.name,))
    if settings.defaults.server.warmup:
        for _ in higgs.pieces(WARM_UP):
            continue
    service.ready = True
    return service


def configured(service: Service, settings: WorkerSettings) -> dict[str, Any]:
    """What RunPod's library is told. It asks the handler's kind whether jobs are streamed."""
    defaults = settings.defaults

    async def answer(job: Job) -> Output:
        return await handle(job, service, defaults)

    async def answer_in_parts(job: Job) -> AsyncGenerator[Output]:
        async for part in stream(job, service, defaults):
            yield part

    return {
        "handler": answer_in_parts if settings.streaming else answer,
        "return_aggregate_stream": settings.streaming,
        "concurrency_modifier": lambda current: defaults.server.max_running,
    }


def main() -> None:
    """Load, then take jobs until stopped; --test_input '{"input": {...}}' does one and ends."""
    try:
        serve(WorkerSettings.given(os.environ))
    except HiggsError as error:
        sys.stderr.write(f"Error: {error}\n")
        raise SystemExit(error.exit_code) from None


def serve(settings: WorkerSettings) -> None:
    """Take jobs. Raises MissingExtra, SettingError, CheckpointError."""
    try:
        import runpod
    except ImportError:
        raise MissingExtra(
            "The worker needs runpod; install it with: pip install 'faster-higgs[runpod]'."
        ) from None
    if not isinstance(logging.getLevelName(settings.log_level), int):
        raise SettingError(f"{PREFIX}LOG_LEVEL is '{settings.log_level}'; use INFO or DEBUG.")
    logging.basicConfig(level=settings.log_level)
    service = loaded(settings)
    runpod.serverless.start(configured(service, settings))


if __name__ == "__main__":
    main()
