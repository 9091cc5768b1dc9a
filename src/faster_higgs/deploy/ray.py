"""Ray Serve: a front that takes requests, and replicas with an engine each, on several machines.

    serve run faster_higgs.deploy.ray:app voices_dir=/shared/voices max_replicas=4
    python -m faster_higgs.deploy.ray voices_dir=/shared/voices max_replicas=4

Requests are passed on as they are. Knows nothing of speech.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import Any, get_type_hints

from faster_higgs.deploy.front import Front
from faster_higgs.deploy.passing import SPEAKER
from faster_higgs.deploy.replica import Load, Speaker, of_a_replica
from faster_higgs.errors import HiggsError, MissingExtra, SettingError
from faster_higgs.server.gate import Gate
from faster_higgs.server.ledger import Ledger
from faster_higgs.server.settings import ServerSettings
from faster_higgs.speech import Higgs

NAME = "faster-higgs"


@dataclass(frozen=True)
class FleetSettings:
    """What an operator says about the fleet, as NAME=VALUE; of the server: HIGGS_..., as ever."""

    model: str | None = None  # a folder or hub id, on every machine; None: the default one
    voices_dir: str | None = None  # a folder that all machines share
    min_replicas: int = 1
    max_replicas: int = 8
    busy: int | None = None  # speeches a replica has when another is wanted; None: half its places
    fronts: int = 1  # replicas of the front
    cpus: float = 1.0  # of a replica
    gpus: float | None = None  # of a replica; None: one, where the cluster has any

    def __post_init__(self) -> None:
        least = {"min_replicas": 0, "fronts": 1, "cpus": 0, "gpus": 0, "busy": 1}
        for name, low in least.items():
            value = getattr(self, name)
            if value is not None and value < low:
                raise SettingError(f"{name} is {value}; use {low} or more.")
        if self.max_replicas < max(1, self.min_replicas):
            raise SettingError(
                f"max_replicas is {self.max_replicas}; use {max(1, self.min_replicas)} or more."
            )

    @classmethod
    def given(cls, words: Mapping[str, str]) -> FleetSettings:
        """From names and values as they are written. Raises SettingError."""
        types = get_type_hints(cls)
        for name in words:
            if name not in types:
                raise SettingError(f"There is no setting '{name}'; use {', '.join(types)}.")
        return cls(**{name: _read(name, word, str(types[name])) for name, word in words.items()})


def _read(name: str, word: str, kind: str) -> Any:
    if "str" in kind:
        return word
    try:
        return (int if "int" in kind else float)(word)
    except ValueError:
        raise SettingError(f"{name} is '{word}'; use a number.") from None


def app(words: Mapping[str, str]) -> Any:
    """The application as `serve run` takes it; `words` are fleet settings. Raises SettingError."""
    settings = ServerSettings(**ServerSettings.given(os.environ))
    fleet = FleetSettings.given(words)
    voices = fleet.voices_dir or os.environ.get("HIGGS_VOICES")
    load = partial(Higgs.load, fleet.model, voices=[voices] if voices else [])
    return application(fleet, settings, load)


def application(fleet: FleetSettings, settings: ServerSettings, load: Load) -> Any:
    """A front and its speakers. `load` is called once in each replica."""
    serve = _serve()
    of_a_replica(settings)  # what cannot be followed is told here, not by each replica
    gpus = fleet.gpus
    if gpus is None:
        gpus = float(_cluster_has_gpus())
    speaker = serve.deployment(
        name=SPEAKER,
        max_ongoing_requests=settings.max_running,
        max_queued_requests=settings.max_queue,
        graceful_shutdown_timeout_s=settings.drain_timeout_s,
        ray_actor_options={"num_cpus": fleet.cpus, "num_gpus": gpus},
        autoscaling_config={
            "min_replicas": fleet.min_replicas,
            "max_replicas": fleet.max_replicas,
            "target_ongoing_requests": fleet.busy or max(1, settings.max_running // 2),
        },
    )(Speaker)

    def fronts() -> Gate:
        return Gate(Front(), settings, Ledger())

    front = serve.deployment(
        name="Front",
        num_replicas=fleet.fronts,
        max_ongoing_requests=1000,
        ray_actor_options={"num_cpus": 0},
    )(serve.ingress(fronts)())
    return front.bind(speaker.bind(load, settings, fleet.model or "higgs-audio-v2"))


def main(words: Sequence[str]) -> None:
    """Serve until it is told to stop."""
    settings = ServerSettings(**ServerSettings.given(os.environ))
    if not settings.local and not settings.api_keys:
        raise SettingError(f"host is {settings.host}, which others reach; set HIGGS_API_KEYS.")
    if wrong := [word for word in words if "=" not in word]:
        raise SettingError(f"'{wrong[0]}' is no setting; write NAME=VALUE.")
    fleet = dict(word.split("=", 1) for word in words)
    FleetSettings.given(fleet)
    serve = _serve()
    import ray

    if not ray.is_initialized():
        ray.init()
    serve.start(http_options={"host": settings.host, "port": settings.port})
    with suppress(KeyboardInterrupt):
        serve.run(app(fleet), name=NAME, blocking=True)


def _serve() -> Any:
    try:
        from ray import serve
    except ImportError:
        raise MissingExtra(
            "A fleet needs ray; install it with: pip install 'faster-higgs[ray]'."
        ) from None
    return serve


def _cluster_has_gpus() -> bool:
    import ray

    cluster: Any = ray
    return bool(cluster.is_initialized() and cluster.cluster_resources().get("GPU"))


if __name__ == "__main__":
    from faster_higgs.deploy import ray as this  # by its name, by which replicas find it

    try:
        this.main(sys.argv[1:])
    except HiggsError as error:
        sys.exit(str(error))
