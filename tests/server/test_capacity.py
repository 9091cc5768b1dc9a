"""Many at once: places, the queue, clients that go away, health meanwhile, an orderly end."""

from __future__ import annotations

import gc
import http.client
import json
import socket
import threading
import time
import weakref
from concurrent.futures import ThreadPoolExecutor

import pytest

from faster_higgs.errors import DeadlinePassed, EngineError
from faster_higgs.testing import FakeHiggs
from tests.server.conftest import Slow, Witness, seconds, serving, until

LONG = "This is a sentence that is long enough to be cut in many pieces of sound."


@pytest.fixture
def slow():
    with Slow() as higgs:
        yield higgs
        higgs.go.release(100_000)


def post(port: int, body: dict) -> socket.socket:
    """A request whose answer is not awaited."""
    data = json.dumps({"input": LONG} | body).encode()
    one = socket.create_connection(("127.0.0.1", port), timeout=20)
    head = "POST /v1/audio/speech HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
    one.sendall(f"{head}Content-Length: {len(data)}\r\n\r\n".encode() + data)
    return one


def test_health_answers_at_once_while_32_speak(slow):
    settings = {"warmup": False, "max_running": 32}
    with serving(slow, **settings) as live, ThreadPoolExecutor(32) as threads:
        answers = [threads.submit(live.speak, LONG) for _ in range(32)]
        until(lambda: slow.begun == 32)
        letting = threading.Thread(target=_let_go, args=(slow,))
        letting.start()
        waits = []
        for _ in range(40):
            begin = time.perf_counter()
            assert live.ask("/health").json["stats"]["peak_concurrent"] == 32
            waits.append(time.perf_counter() - begin)
        letting.join()
        slow.go.release(10_000)
        assert {one.result().status for one in answers} == {200}
        waits.sort()
        assert waits[len(waits) // 2] < 0.05, waits
        assert live.ask("/stats").json["successful_requests"] == 32


def _let_go(slow: Slow) -> None:
    """Steps of all 32, one after the other, for a while."""
    for _ in range(100):
        slow.go.release(4)
        time.sleep(0.002)


def test_what_neither_runs_nor_waits_is_sent_away(slow):
    with serving(slow, warmup=False, max_running=2, max_queue=1) as live:
        taken = [post(live.port, {}) for _ in range(3)]
        desk = live.service.desk
        until(lambda: (desk.running, desk.waiting) == (2, 1))
        refused = live.speak()
        assert (refused.status, refused.error["code"]) == (429, "queue_full")
        assert refused.error["type"] == "rate_limit_error"
        assert int(refused.headers["retry-after"]) >= 1
        assert live.ask("/health/ready").status == 503
        slow.go.release(10_000)
        until(lambda: desk.running == 0)
        assert live.ask("/health/ready").status == 200
        for one in taken:
            one.close()


def test_who_waits_too_long_is_sent_away(slow):
    with serving(slow, warmup=False, max_running=1, queue_timeout_s=0.05) as live:
        one = post(live.port, {})
        until(lambda: live.service.desk.running == 1)
        assert live.speak().status == 429
        slow.go.release(10_000)
        until(lambda: live.service.desk.running == 0)
        one.close()


@pytest.mark.parametrize("body", [{}, {"stream": False}, {"stream": True}])
def test_a_client_that_goes_away_gives_its_place_back(slow, body):
    with serving(slow, warmup=False, max_running=1) as live:
        one = post(live.port, body)
        until(lambda: slow.begun == 1)
        slow.go.release(1)
        time.sleep(0.05)
        one.close()
        until(lambda: slow.ended == slow.begun and live.service.desk.running == 0, 2)
        slow.go.release(10_000)
        assert live.speak().status == 200
        assert b'higgs_aborted_total{reason="client_gone"} 1.0' in live.ask("/metrics").body


@pytest.mark.parametrize("way", ["whole", "stream", "sse", "left"])
def test_a_speech_that_is_over_is_forgotten_at_once(slow, way):
    """Not when garbage is looked for, which would halt everybody for as long as there is much."""
    body = {"stream": way != "whole"} | ({"stream_format": "sse"} if way == "sse" else {})
    with serving(slow, warmup=False) as live:
        gc.disable()
        try:
            client = post(live.port, body)
            until(lambda: slow.begun == 1)
            (take,) = map(weakref.ref, live.service.desk._live)
            slow.go.release(1 if way == "left" else 10_000)
            if way != "left":
                until(lambda: live.service.desk.idle)
            client.close()
            until(lambda: take() is None)
        finally:
            gc.enable()


def test_a_client_that_goes_away_while_it_waits_is_never_spoken_to(slow):
    with serving(slow, warmup=False, max_running=1) as live:
        first, second = post(live.port, {}), None
        until(lambda: slow.begun == 1)
        second = post(live.port, {})
        until(lambda: live.service.desk.waiting == 1)
        second.close()
        until(lambda: live.service.desk.waiting == 0, 2)
        slow.go.release(10_000)
        until(lambda: live.service.desk.running == 0)
        assert slow.begun == 1
        first.close()


def test_a_speech_that_is_not_ready_in_time_is_a_504(slow):
    with serving(slow, warmup=False) as live:
        raised = iter([DeadlinePassed("Nothing was ready in time.")])
        live.service.higgs.pieces = lambda *_, **__: (_ for _ in ()).throw(next(raised))
        reply = live.speak()
        assert (reply.status, reply.error["code"]) == (504, "deadline_passed")


def test_a_slow_reader_keeps_nobody_from_speaking():
    with Witness() as higgs, serving(higgs, max_running=1) as live:
        unread = post(live.port, {"response_format": "wav"})
        until(lambda: live.service.desk.running == 0 and len(higgs.asked) > 1)
        assert live.speak().status == 200
        unread.close()


def test_a_body_that_never_ends_is_not_waited_for():
    with FakeHiggs() as higgs, serving(higgs, body_timeout_s=0.2) as live:
        one = socket.create_connection(("127.0.0.1", live.port), timeout=20)
        head = "POST /v1/audio/speech HTTP/1.1\r\nHost: localhost\r\n"
        one.sendall(
            f"{head}Content-Type: application/json\r\nContent-Length: 99\r\n\r\n{{".encode()
        )
        assert b" 408 " in one.recv(200)
        one.close()


class Broken(FakeHiggs):
    """Fails in the middle of texts that say so."""

    def frames(self, prompt, sampling, *rest, **more):
        for i, event in enumerate(super().frames(prompt, sampling, *rest, **more)):
            if "fail" in self._asked(prompt) and (i or "at once" in self._asked(prompt)):
                raise EngineError("The engine broke in /some/secret/place.py.")
            yield event


@pytest.fixture(scope="module")
def broken():
    with Broken() as higgs, serving(higgs) as server:
        yield server


class TestFailures:
    def test_before_the_first_sound_it_has_a_status(self, broken):
        reply = broken.speak("Please fail at once.")
        assert (reply.status, reply.error["code"]) == (503, "engine_unavailable")
        assert "/some" not in reply.error["message"] and "place.py" in reply.error["message"]

    def test_a_file_at_once_has_a_status_too(self, broken):
        assert broken.speak("Please fail.", stream=False).status == 503

    def test_a_stream_is_broken_off_and_looks_so(self, broken):
        with pytest.raises((http.client.IncompleteRead, ConnectionError)):
            broken.speak("Please fail.", response_format="wav")

    def test_events_tell_it(self, broken):
        body = broken.speak("Please fail.", stream=True, response_format="wav").body.decode()
        assert "speech.audio.error" in body and "speech.audio.done" not in body
        assert "engine_unavailable" in body

    def test_the_others_go_on(self, broken):
        with ThreadPoolExecutor(8) as threads:
            texts = ["Please fail at once.", "All is well."] * 8
            found = list(threads.map(lambda text: broken.speak(text).status, texts))
        assert found == [503, 200] * 8

    def test_what_nobody_expected_tells_nothing(self, broken, monkeypatch, caplog):
        def explode(*_, **__):
            raise ZeroDivisionError("secret words")

        monkeypatch.setattr(broken.service.higgs, "pieces", explode)
        reply = broken.speak("Hello.")
        assert (reply.status, reply.error["code"]) == (500, "internal_error")
        assert "secret" not in reply.body.decode()


def test_what_was_begun_is_finished_when_the_server_stops(slow):
    with serving(slow, warmup=False) as live, ThreadPoolExecutor(1) as threads:
        answer = threads.submit(live.speak, LONG, response_format="wav")
        until(lambda: slow.begun == 1)
        live.server.should_exit = True
        until(lambda: not _connects(live.port))
        slow.go.release(10_000)
        assert seconds(answer.result().body) > 5


def _connects(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
    except OSError:
        return False
    return True
