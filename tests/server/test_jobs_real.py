"""A job on the real server with pico: killed in the middle, it goes on by itself afterwards."""

from __future__ import annotations

import http.client
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest

from faster_higgs.audio.files import read
from tests.project.source import ROOT
from tests.server.conftest import until

# A described voice: each utterance hears those before it.
BODY = {
    "input": "One. [pause:50ms] Two, too. [pause:50ms] Three. [pause:50ms] And four.",
    "voice": "profile:male_en",
    "seed": 3,
    "response_format": "wav",
}


class Running(NamedTuple):
    """A server in a process of its own."""

    port: int
    process: subprocess.Popen[str]

    def ask(self, method: str, path: str, body: Any = None) -> bytes:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        told = {"Content-Type": "application/json"}
        connection.request(method, path, None if body is None else json.dumps(body), told)
        answer = connection.getresponse()
        data = answer.read()
        connection.close()
        assert answer.status < 300, data
        return data

    def job(self, id: str) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.ask("GET", f"/v1/jobs/{id}"))
        assert found["status"] != "failed", found
        return found

    def begun(self) -> str:
        return str(json.loads(self.ask("POST", "/v1/jobs", BODY))["id"])

    def sound(self, id: str) -> Any:
        until(lambda: self.job(id)["status"] == "done", 120)
        return read(self.ask("GET", f"/v1/jobs/{id}/audio"))


@contextmanager
def running(folder: Path) -> Iterator[Running]:
    """`higgs serve`, until the block ends."""
    process = subprocess.Popen(
        [sys.executable, "-m", "faster_higgs", "serve", "--port", "0", "--ui-port", "0"],
        cwd=ROOT,
        env=os.environ | {"XDG_DATA_HOME": str(folder), "PYTHONUNBUFFERED": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    try:
        assert process.stdout is not None
        found = re.search(r"http://127\.0\.0\.1:(\d+);", process.stdout.readline())
        assert found
        yield Running(int(found[1]), process)
    finally:
        process.kill()
        process.communicate()


@pytest.mark.skipif(os.name != "posix", reason="signals")
def test_a_job_outlives_its_server(tmp_path):
    with running(tmp_path) as server:
        id = server.begun()
        until(lambda: server.job(id)["progress"]["utterances_done"] >= 1, 120)
        server.process.kill()
    (rows,) = tmp_path.glob("faster-higgs/jobs/job_*/rows.jsonl")
    made = rows.read_bytes().count(b"\n")
    assert 1 <= made < 4
    with running(tmp_path) as server:
        assert server.job(id)["progress"]["utterances_done"] >= made
        resumed = server.sound(id)
        whole = server.sound(server.begun())
        assert resumed.shape == whole.shape and len(whole) > 24_000
        np.testing.assert_allclose(resumed, whole, atol=1e-3)
        _stop_while_somebody_listens(server)


def _stop_while_somebody_listens(server: Running) -> None:
    """News of a job that rests would never end; a stop does not wait for them."""
    id = server.begun()
    server.ask("POST", f"/v1/jobs/{id}/pause")
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=60)
    connection.request("GET", f"/v1/jobs/{id}/events")
    listening = connection.getresponse()
    assert listening.readline() == b"event: job.progress\n"
    begin = time.monotonic()
    server.process.send_signal(signal.SIGTERM)
    assert b"job.end" not in listening.read()
    assert server.process.wait(30) == 0
    assert time.monotonic() - begin < 20
    connection.close()
