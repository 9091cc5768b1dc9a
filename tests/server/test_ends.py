"""The real server, stopped while many speak: what was begun is finished, what was said is kept."""

from __future__ import annotations

import http.client
import json
import os
import signal
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.server.conftest import Live, Reply, seconds, until
from tests.soak.process import Server, higgs_serve

pytestmark = pytest.mark.skipif(os.name != "posix", reason="signals")
TEXT = "The rain has stopped at last, and the streets are quiet again."


def at(server: Server) -> Live:
    """A client of it."""
    return Live(server.port, None, None)  # type: ignore[arg-type]  the server is not in here


def test_streams_that_had_begun_are_finished_and_new_ones_refused(tmp_path):
    with higgs_serve(tmp_path) as server, ThreadPoolExecutor(8) as threads:
        live, begun = at(server), threading.Semaphore(0)

        def stream() -> bytes:
            connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=60)
            body = json.dumps({"input": TEXT, "response_format": "wav"})
            connection.request(
                "POST", "/v1/audio/speech", body, {"Content-Type": "application/json"}
            )
            answer = connection.getresponse()
            assert answer.status == 200
            data = answer.read(1000)
            begun.release()
            data += answer.read()  # raises IncompleteRead where it is broken off
            connection.close()
            return data

        streams = [threads.submit(stream) for _ in range(8)]
        for _ in streams:
            assert begun.acquire(timeout=60)
        server.terminate()
        until(lambda: refused(live), 5)
        assert all(seconds(one.result()) > 1.5 for one in streams)
        assert server.process.wait(30) in (0, -signal.SIGTERM)
        log = (tmp_path / "log").read_text()
        assert "Traceback" not in log, log


def refused(live: Live) -> bool:
    """Whether a new request is not taken."""
    try:
        return live.speak("Too late.").status == 503
    except OSError:
        return True


def test_every_voice_that_was_acknowledged_outlives_a_kill(tmp_path):
    sound = tmp_path / "clip.wav"
    acknowledged: list[str] = []
    with higgs_serve(tmp_path) as server, ThreadPoolExecutor(4) as threads:
        live = at(server)
        save_clip(live, sound)

        def add_until_the_end(who: int) -> None:
            for i in range(1000):
                form = {"name": f"voice-{who}-{i}", "ref_text": TEXT}
                try:
                    added = live.form("/v1/audio/voices", form, sound)
                except (OSError, http.client.HTTPException):
                    return  # killed
                assert added.status == 200, added.body
                acknowledged.append(added.json["id"])

        adding = [threads.submit(add_until_the_end, who) for who in range(3)]
        until(lambda: len(acknowledged) >= 6, 60)
        server.kill()
        for one in adding:
            one.result()
    with higgs_serve(tmp_path) as server:
        live = at(server)
        listed = {voice["id"] for voice in live.ask("/v1/audio/voices").json["data"]}
        assert set(acknowledged) <= listed
        for id in (acknowledged[0], acknowledged[-1]):
            assert spoken(live, id) > 0.3


def save_clip(live: Live, path: Path) -> None:
    """A clip to speak like, in the server's own words."""
    path.write_bytes(live.speak(TEXT, response_format="wav", stream=False, seed=1).body)


def spoken(live: Live, voice: str) -> float:
    """Seconds of a sentence by a voice."""
    reply: Reply = live.speak("Good morning.", voice=voice, response_format="wav", stream=False)
    assert reply.status == 200, reply.body
    return seconds(reply.body)
