"""A fleet on simulated machines, for test_ray.py: tells when it is ready, then kills the replicas
whose names it reads. A program of its own, so that Ray and the tests do not share a process."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Generator
from functools import partial
from pathlib import Path
from typing import Any

from faster_higgs.deploy.passing import SPEAKER
from faster_higgs.deploy.ray import FleetSettings, application
from faster_higgs.engine.request import FrameEvent
from faster_higgs.prompt.template import Prompt
from faster_higgs.server.settings import ServerSettings
from faster_higgs.testing import FakeHiggs

STEP = 0.1  # seconds between two events of ten frames


class Unhurried(FakeHiggs):
    """Takes a while."""

    def frames(self, prompt: Prompt, *rest: Any, **more: Any) -> Generator[FrameEvent]:
        for event in super().frames(prompt, *rest, **more):
            time.sleep(STEP)
            yield event


def main(port: int, voices: str, least: int, most: int) -> None:
    """`voices` is the folder that all machines share."""
    import ray
    from ray import serve
    from ray.cluster_utils import Cluster

    head = {"num_cpus": 1, "include_dashboard": False}
    cluster = Cluster(initialize_head=True, head_node_args=head)
    cluster.add_node(num_cpus=1)
    ray.init(address=cluster.address, log_to_driver=False, configure_logging=False)
    try:
        serve.start(http_options={"port": port, "location": "HeadOnly"})
        fleet = FleetSettings(min_replicas=least, max_replicas=most, busy=2, gpus=0)
        settings = ServerSettings(max_running=8, default_response_format="pcm")
        load = partial(Unhurried, voices=[Path(voices)])
        serve.run(application(fleet, settings, load), name="fleet")
        os.write(1, b"ready\n")
        for line in sys.stdin:
            name = f"SERVE_REPLICA::fleet#{SPEAKER}#{line.strip()}"
            ray.kill(ray.get_actor(name, namespace="serve"))
            os.write(1, b"killed\n")
    finally:
        ray.shutdown()
        cluster.shutdown()


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2], int(sys.argv[3]), int(sys.argv[4]))
