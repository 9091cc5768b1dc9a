"""The real server, killed at work and then stopped: what was said is kept, what was begun is
finished.
"""

from __future__ import annotations

import http.client
import json
import os
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from faster_higgs.audio.files import read
from tests.server.conftest import Live, Reply, seconds, until
from tests.soak.process import Server, higgs_serve

pytestmark = pytest.mark.skipif(os.name != "posix", reason="signals")
TEXT = "The rain has stopped at last, and the streets are quiet again."
# A described voice: each utterance hears those before it.
JOB = {
    "input": "One. [pause:50ms] Two, too. [pause:50ms] Three. [pause:50ms] And four.",
    "voice": "profile:male_en",
    "seed": 3,
    "response_format": "wav",
}


def test_what_was_said_outlives_a_kill_and_what_was_begun_a_stop(tmp_path):
    with higgs_serve(tmp_path) as server:
        live = at(server)
        clip = live.speak(TEXT, response_format="wav", stream=False, seed=1)
        (tmp_path / "clip.wav").write_bytes(clip.body)
        with voices_added(live, tmp_path / "clip.wav") as acknowledged:
            until(lambda: len(acknowledged) >= 6, 60)
            id = begun(live)
            until(lambda: job(live, id)["progress"]["utterances_done"] >= 1, 120)
            server.kill()
    (rows,) = tmp_path.glob("jobs/job_*/rows.jsonl")
    made = rows.read_bytes().count(b"\n")
    assert 1 <= made < 4
    with higgs_serve(tmp_path) as server:
        live = at(server)
        assert job(live, id)["progress"]["utterances_done"] >= made
        listed = {voice["id"] for voice in live.ask("/v1/audio/voices").json["data"]}
        assert set(acknowledged) <= listed
        for voice in (acknowledged[0], acknowledged[-1]):
            assert spoken(live, voice) > 0.3
        resumed, whole = sound(live, id), sound(live, begun(live))
        assert resumed.shape == whole.shape and len(whole) > 24_000
        np.testing.assert_allclose(resumed, whole, atol=1e-3)
        stop_while_many_listen(server)
    assert "Traceback" not in (tmp_path / "log").read_text()


def stop_while_many_listen(server: Server) -> None:
    """Streams are finished and new ones refused; news of a job that rests would never end."""
    live, streams = at(server), threading.Semaphore(0)
    id = begun(live)
    assert live.ask(f"/v1/jobs/{id}/pause", method="POST").status == 200
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=60)
    connection.request("GET", f"/v1/jobs/{id}/events")
    news = connection.getresponse()
    assert news.readline() == b"event: job.progress\n"
    with ThreadPoolExecutor(8) as threads:
        told = [threads.submit(stream, server.port, streams) for _ in range(8)]
        for _ in told:
            assert streams.acquire(timeout=60)
        server.terminate()
        until(lambda: refused(live), 5)
        assert all(seconds(one.result()) > 1.5 for one in told)
    begin = time.monotonic()
    assert b"job.end" not in news.read()
    assert server.process.wait(30) == 0
    assert time.monotonic() - begin < 20
    connection.close()


def at(server: Server) -> Live:
    """A client of it."""
    return Live(server.port, None, None)  # type: ignore[arg-type]  the server is not in here


@contextmanager
def voices_added(live: Live, clip: Path) -> Iterator[list[str]]:
    """One after the other by three at once, until the server is gone; the ids it has told."""
    acknowledged: list[str] = []

    def add(who: int) -> None:
        for i in range(1000):
            try:
                form = {"name": f"voice-{who}-{i}", "ref_text": TEXT}
                added = live.form("/v1/audio/voices", form, clip)
            except (OSError, http.client.HTTPException):
                return  # killed
            assert added.status == 200, added.body
            acknowledged.append(added.json["id"])

    with ThreadPoolExecutor(3) as threads:
        adding = [threads.submit(add, who) for who in range(3)]
        yield acknowledged
        for one in adding:
            one.result()


def begun(live: Live) -> str:
    """A job, by its id."""
    return str(live.ask("/v1/jobs", JOB).json["id"])


def job(live: Live, id: str) -> dict[str, Any]:
    """How far it is."""
    found: dict[str, Any] = live.ask(f"/v1/jobs/{id}").json
    assert found["status"] != "failed", found
    return found


def sound(live: Live, id: str) -> Any:
    """What it makes."""
    until(lambda: job(live, id)["status"] == "done", 120)
    return read(live.ask(f"/v1/jobs/{id}/audio").body)


def stream(port: int, begun: threading.Semaphore) -> bytes:
    """A speech that is told when its first bytes are here."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    body = json.dumps({"input": TEXT, "response_format": "wav"})
    connection.request("POST", "/v1/audio/speech", body, {"Content-Type": "application/json"})
    answer = connection.getresponse()
    assert answer.status == 200
    data = answer.read(1000)
    begun.release()
    data += answer.read()  # raises IncompleteRead where it is broken off
    connection.close()
    return data


def refused(live: Live) -> bool:
    """Whether a new request is not taken."""
    try:
        return live.speak("Too late.").status == 503
    except OSError:
        return True


def spoken(live: Live, voice: str) -> float:
    """Seconds of a sentence by a voice."""
    reply: Reply = live.speak("Good morning.", voice=voice, response_format="wav", stream=False)
    assert reply.status == 200, reply.body
    return seconds(reply.body)
