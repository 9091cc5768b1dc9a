"""A fleet behind one address: replicas on simulated machines, and what happens when one dies."""

from __future__ import annotations

import http.client
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from faster_higgs.audio.encode import encode
from faster_higgs.deploy import ray as fleet_of
from faster_higgs.deploy.passing import Asked
from faster_higgs.deploy.ray import FleetSettings
from faster_higgs.deploy.replica import of_a_replica
from faster_higgs.errors import MissingExtra, SettingError
from faster_higgs.server.accounts import Accounts
from faster_higgs.server.settings import ServerSettings
from faster_higgs.testing import spoken, tones
from tests.deploy.test_remote import begun, says
from tests.project.source import ROOT
from tests.server.conftest import Live, Reply, until

needs_ray = pytest.mark.skipif(find_spec("ray") is None, reason="ray is not installed")


class TestSettings:
    def test_they_are_read(self):
        told = FleetSettings.given({"model": "m", "max_replicas": "3", "gpus": "0.5"})
        assert (told.model, told.max_replicas, told.gpus) == ("m", 3, 0.5)

    @pytest.mark.parametrize(
        ("words", "told"),
        [
            ({"replicas": "3"}, "no setting 'replicas'"),
            ({"max_replicas": "many"}, "'many'; use a number"),
            ({"max_replicas": "0"}, "use 1 or more"),
            ({"min_replicas": "9"}, "use 9 or more"),
            ({"fronts": "0"}, "use 1 or more"),
        ],
    )
    def test_what_cannot_be_is_refused(self, words, told):
        with pytest.raises(SettingError, match=told):
            FleetSettings.given(words)

    def test_ray_is_named_where_it_is_missing(self, monkeypatch):
        monkeypatch.setitem(sys.modules, "ray", None)
        with pytest.raises(MissingExtra, match=r"faster-higgs\[ray\]"):
            fleet_of.main([])

    def test_others_need_a_key(self, monkeypatch):
        monkeypatch.setenv("HIGGS_HOST", "0.0.0.0")
        with pytest.raises(SettingError, match="HIGGS_API_KEYS"):
            fleet_of.main([])


class TestReplicas:
    def test_the_front_alone_counts_requests(self):
        told = ServerSettings(api_keys=("a-key-for-us",), key_requests_per_minute=1, jobs_dir="x")
        own = of_a_replica(told)
        account = Accounts(own.api_keys, own.admin_keys, own.each_key).of(None)
        assert account is not None and own.jobs_dir is None
        for _ in range(3):
            account.ask()

    @pytest.mark.parametrize(
        "told",
        [
            {"key_concurrent": 2},
            {"api_keys": ("a-key-for-us audio_seconds_per_day=60",)},
            {"admin_keys": ("a-key-for-us",)},
        ],
    )
    def test_what_a_fleet_cannot_follow_is_refused(self, told):
        with pytest.raises(SettingError, match="fleet"):
            of_a_replica(ServerSettings(**told))


def asked(body: bytes, path: str = "/v1/audio/speech", method: str = "POST") -> Asked:
    return Asked(method, path, b"", [], body)


class TestRequests:
    def test_the_same_voice_is_the_same_beginning(self):
        one = asked(b'{"input": "a", "voice": "x", "seed": 1}').beginning
        assert one and one == asked(b'{"voice": "x", "input": "b"}').beginning
        assert one != asked(b'{"input": "a", "voice": "y"}').beginning
        for plain in (b'{"input": "a"}', b"", b"{no", b"[1]"):
            assert asked(plain).beginning == ""

    def test_a_change_is_not_made_twice(self):
        assert not asked(b"", "/v1/audio/voices").repeatable
        assert not asked(b"", "/v1/audio/voices/x", "DELETE").repeatable
        assert asked(b"", "/v1/audio/voices", "GET").repeatable and asked(b"").repeatable


class Fleet(NamedTuple):
    live: Live
    program: subprocess.Popen[str]
    voices: Path

    def kill(self, replica: str) -> None:
        assert self.program.stdin is not None and self.program.stdout is not None
        print(replica, file=self.program.stdin, flush=True)
        assert self.program.stdout.readline() == "killed\n"

    def speak(self, text: str = "Hello to all.", **fields: Any) -> Reply:
        return self.live.speak(text, **fields)

    def replicas(self, count: int) -> dict[str, dict[str, Any]]:
        """What each tells of its health, once so many of them have been heard."""
        found: dict[str, dict[str, Any]] = {}

        def heard() -> bool:
            reply = self.live.ask("/health")
            if reply.status == 200:
                found[reply.json["replica"]] = reply.json
            return len(found) >= count

        until(heard)
        return found


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    """Two machines with a replica each."""
    yield from start(tmp_path_factory.mktemp("voices"), 2, 2)


def start(voices: Path, least: int, most: int) -> Iterator[Fleet]:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    words = [str(port), str(voices), str(least), str(most)]
    environment = os.environ | {
        "PYTHONPATH": os.pathsep.join([str(ROOT / "src"), str(ROOT)]),
        "RAY_USAGE_STATS_ENABLED": "0",
    }
    program = subprocess.Popen(
        [sys.executable, "-m", "tests.deploy.fleet", *words],
        cwd=ROOT,
        env=environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert program.stdout is not None
        assert program.stdout.readline() == "ready\n", program.communicate()[1]
        yield Fleet(Live(port, None, None), program, voices)  # type: ignore[arg-type]
    finally:
        try:
            program.communicate(timeout=60)  # the end of its input is the end of it
        finally:
            program.kill()


@needs_ray
class TestFleet:
    def test_a_voice_stays_with_its_replica(self, fleet):
        where = {
            voice: {fleet.speak("Hello.", voice=voice).headers["x-replica"] for _ in range(6)}
            for voice in ("alice", "bob")
        }
        assert all(len(replicas) == 1 for replicas in where.values())
        assert where["alice"] != where["bob"]

    def test_sound_is_passed_on_while_it_is_made(self, fleet):
        text = "A longer sentence, which takes its time."
        connection, answer = begun(fleet.live, text)
        begin, data = time.monotonic(), answer.read1(1_000_000)
        assert answer.status == 200 and len(data) < spoken(text).shape[1] * 960
        data += answer.read()
        assert time.monotonic() - begin > 3 * 0.1 and says(data, text)
        connection.close()

    def test_who_goes_away_ends_it_there(self, fleet):
        connection, answer = begun(fleet.live, "Word. " * 60)
        assert answer.read1(10)
        connection.close()
        answer.close()

        def idle() -> bool:
            told = fleet.replicas(2).values()
            return not any(one["queue"]["running"] for one in told)

        until(idle, seconds=4)  # said to its end it would take 7 s

    def test_a_voice_is_known_to_all(self, fleet, tmp_path):
        path = tmp_path / "clip.wav"
        path.write_bytes(encode(tones(spoken("A clip of somebody.")), "wav"))
        fields = {"name": "carol", "ref_text": "A clip of somebody."}
        assert fleet.live.form("/v1/audio/voices", fields, path).status == 200
        heard = set()

        def known() -> bool:
            reply = fleet.live.ask("/v1/audio/voices?format=names")
            assert "carol" in reply.json["voices"]
            heard.add(reply.headers["x-replica"])
            return len(heard) == 2

        until(known)
        assert fleet.speak(voice="carol").status == 200

    def test_what_a_fleet_cannot_do_is_refused(self, fleet):
        assert fleet.live.ask("/v1/jobs", {"input": "Hello."}).error["code"] == "not_here"
        strange = {"Host": "elsewhere.example"}
        reply = fleet.live.ask("/v1/models", headers=strange)
        assert reply.error["code"] == "host_not_allowed"
        assert fleet.speak(voice="nobody").error["code"] == "invalid_voice"

    def test_a_dead_replica_loses_nothing_that_was_not_begun(self, fleet):
        """Twelve wait for whole files, and one hears a stream; then their replica dies."""
        replica = fleet.speak("Hello.", voice="alice").headers["x-replica"]
        texts = [f"Number {n}: a text that takes a second or so to say." for n in range(12)]
        connection, answer = begun(fleet.live, "Word. " * 60, voice="alice")
        assert answer.getheader("x-replica") == replica and answer.read1(10)
        with ThreadPoolExecutor(len(texts)) as threads:
            ask = [
                threads.submit(fleet.speak, t, voice="alice", stream=False, normalization="off")
                for t in texts
            ]
            until(lambda: spilled(fleet.live.ask("/health").json))
            fleet.kill(replica)
            replies = [one.result() for one in ask]
        assert [reply.status for reply in replies] == [200] * len(texts)
        assert all(says(reply.body, text) for reply, text in zip(replies, texts, strict=True))
        assert replica not in {reply.headers["x-replica"] for reply in replies}
        with pytest.raises((http.client.HTTPException, OSError)):
            answer.read()  # what had begun is broken off, and looks so
        connection.close()
        answer.close()


def spilled(told: dict[str, Any]) -> bool:
    """Whether another replica was asked, because the preferred one has no place left."""
    return bool(told["queue"]["running"] >= 3)


@needs_ray
@pytest.mark.slow
def test_more_speeches_make_more_replicas(tmp_path):
    for fleet in start(tmp_path, 1, 2):
        with ThreadPoolExecutor(8) as threads:
            end = time.monotonic() + 90
            while time.monotonic() < end:
                asked = [threads.submit(fleet.speak, "Hello to all of you.") for _ in range(8)]
                found = {one.result().headers["x-replica"] for one in asked}
                if len(found) == 2:
                    return
        pytest.fail("there was only one replica all the time")
