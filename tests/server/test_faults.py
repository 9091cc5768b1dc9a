"""What goes wrong around a speech, and what whoever is there sees: the others never notice."""

from __future__ import annotations

import asyncio
import errno
import json
import socket
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from faster_higgs.audio.save import save
from faster_higgs.checkpoint.files import default_model
from faster_higgs.errors import Aborted
from faster_higgs.server.desk import Take
from faster_higgs.speech import Higgs
from faster_higgs.testing import FakeHiggs, spoken, tones
from tests.server.conftest import Live, seconds, serving, until

SAID = "Somebody says a whole sentence for the test."
FORM = {"name": "carla", "ref_text": SAID}
BREAKS = 666  # a seed
LONG = "A sentence that is long enough to be heard for a while. " * 70  # 300 s, 14 MB of wav


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "mine"


@pytest.fixture
def clip(tmp_path):
    path = tmp_path / "clip.wav"
    save(path, tones(spoken(SAID)))
    return path


@pytest.fixture
def live(folder):
    with FakeHiggs(voices=[folder]) as higgs, serving(higgs, warmup=False) as server:
        yield server


def begun(live: Live, more: bytes, **body: object) -> socket.socket:
    """A connection that has asked for a speech; `more` is added to the head of the request."""
    data = json.dumps({"input": LONG[:4000], "response_format": "wav", **body}).encode()
    one = socket.socket()
    one.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)  # what is not read waits there
    one.connect(("127.0.0.1", live.port))
    head = (
        b"POST /v1/audio/speech HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
    )
    one.sendall(head + more + f"Content-Length: {len(data)}\r\n\r\n".encode() + data)
    return one


def everything(one: socket.socket) -> bytes:
    """All that comes until the other side hangs up."""
    one.settimeout(20)
    found = bytearray()
    with one:
        while piece := one.recv(1 << 20):
            found += piece
    return bytes(found)


class TestClients:
    def test_one_that_vanishes_frees_its_slot_within_two_steps(self, monkeypatch):
        """With the real engine: steps are counted from the moment the server knows."""
        with Higgs.load(default_model().folder) as higgs, serving(higgs) as live:
            engine = higgs._worker._served._engine
            steps, known = [0], []
            step, stop = engine.step, Take.stop
            monkeypatch.setattr(
                engine, "step", lambda: (steps.__setitem__(0, steps[0] + 1), step())[1]
            )
            monkeypatch.setattr(Take, "stop", lambda take: (known.append(steps[0]), stop(take))[1])
            one = begun(live, b"", input=LONG[:500], response_format="pcm")
            assert one.recv(100)
            assert not engine.idle
            one.close()
            until(lambda: known and engine.idle)
            assert steps[0] - known[0] <= 2
            until(lambda: live.ask("/health").json["queue"]["running"] == 0)

    @pytest.mark.parametrize(
        "sent",
        [
            b"POST /v1/audio/speech HTT",
            b"POST /v1/audio/speech HTTP/1.1\r\nHost: localhost\r\nContent-Le",
            b"POST /v1/audio/speech HTTP/1.1\r\nHost: localhost\r\n"
            b'Content-Type: application/json\r\nContent-Length: 99\r\n\r\n{"input": "Hel',
            b"POST /v1/audio/voices HTTP/1.1\r\nHost: localhost\r\nContent-Length: 999\r\n"
            b"Content-Type: multipart/form-data; boundary=limit\r\n\r\n--limit\r\nContent-Disp",
            b"POST /generate HTTP/1.1\r\nHost: localhost\r\n"
            b"Transfer-Encoding: chunked\r\n\r\nff\r\n{",
        ],
    )
    def test_one_that_goes_in_the_middle_of_its_request_leaves_nothing(self, live, sent, folder):
        with socket.create_connection(("127.0.0.1", live.port)) as one:
            one.sendall(sent)
        assert live.speak("Others are answered.").status == 200
        queue = live.ask("/health").json["queue"]
        assert (queue["running"], queue["waiting"]) == (0, 0)
        assert not folder.exists()

    @pytest.mark.parametrize("body", [{}, {"stream": True}, {"stream": False}])
    def test_slow_readers_have_so_much_room_and_keep_nobody_waiting(self, body):
        """Three leave 8 to 20 MB each unread; there is room for two."""
        with (
            FakeHiggs() as higgs,
            serving(higgs, warmup=False, max_unread_bytes=45_000_000) as live,
        ):
            shelf = live.service.desk.shelf
            unread = [begun(live, b"Connection: close\r\n", **body) for _ in range(4)]
            ledger, desk = live.service.ledger, live.service.desk
            until(lambda: (ledger.total, desk.running) == (4, 0), 60)
            assert shelf.total <= 45_000_000
            assert seconds(live.speak("Me first.", response_format="wav").body) > 0.5
            # Whoever was broken off sees it; the others have all of it, however late.
            got = [everything(one) for one in unread]
            whole = max(map(len, got))
            assert whole > 10_000_000
            assert {len(one) < whole - 1000 for one in got} == {True, False}
            until(lambda: shelf.total == 0)


def test_whoever_reads_learns_of_the_end_though_it_is_stopped_as_it_comes():
    """As a job that is paused at the moment at which it is done."""

    async def read() -> None:
        take: Take[bytes] = Take(lambda on_stop: iter(()))
        reading = asyncio.ensure_future(anext(aiter(take)))
        await asyncio.sleep(0)
        take.put(None)
        take.stop()
        with pytest.raises(Aborted):
            await asyncio.wait_for(reading, 5)

    asyncio.run(read())


class TestVoices:
    def test_a_full_disk_is_told_and_nothing_is_half_kept(self, live, clip, folder, monkeypatch):
        def full(*_: object, **__: object) -> None:
            raise OSError(errno.ENOSPC, "No space left on device")

        with monkeypatch.context() as patch:
            patch.setattr("shutil.copyfile", full)
            refused = live.form("/v1/audio/voices", FORM, clip)
        assert (refused.status, refused.error["code"]) == (507, "not_saved")
        assert "cannot be saved" in refused.error["message"]
        assert str(folder) not in refused.error["message"]
        assert not [*folder.iterdir()]
        assert live.ask("/v1/audio/voices/carla").status == 404
        assert live.form("/v1/audio/voices", FORM, clip).status == 200

    @pytest.mark.parametrize("suffix", [".wav", ".txt"])
    def test_a_damaged_voice_is_refused_and_the_others_speak(self, live, clip, folder, suffix):
        assert live.form("/v1/audio/voices", FORM, clip).status == 200
        (folder / f"carla{suffix}").write_bytes(b"\xff\xfe\x00 no sound, no words \xff")
        for path in folder.glob("*.safetensors"):
            path.write_bytes(path.read_bytes()[:20])
        refused = live.speak(voice="carla")
        assert refused.status == 400, refused.body
        assert "carla" in refused.error["message"] and "/" not in refused.error["message"]
        assert live.speak(voice="alice").status == 200
        listed = live.ask("/v1/audio/voices")
        assert listed.status == 200 and {"carla", "alice"} <= {v["id"] for v in listed.json["data"]}
        assert live.ask("/v1/audio/voices/carla", method="DELETE").status == 200
        assert live.form("/v1/audio/voices", FORM, clip).status == 200

    def test_damaged_codes_are_made_anew(self, live, clip, folder):
        assert live.form("/v1/audio/voices", FORM, clip).status == 200
        (codes,) = folder.glob("carla@*.safetensors")
        codes.write_bytes(b"\x08" + bytes(7) + b"rubbish!")
        assert live.speak(voice="carla").status == 200


def test_an_engine_that_fails_one_request_serves_the_others(monkeypatch):
    """With the real engine: one prompt breaks the model."""
    with Higgs.load(default_model().folder) as higgs, serving(higgs) as live:
        runner = higgs._worker._served._engine._runner
        prefill = runner.prefill

        def breaking(request, *more):
            if request.sampling.seed == BREAKS:
                raise RuntimeError("a kernel failed in secret/place.cu")
            return prefill(request, *more)

        monkeypatch.setattr(runner, "prefill", breaking)
        with ThreadPoolExecutor(4) as threads:
            first = threads.submit(live.speak, LONG[:300], response_format="wav")
            until(lambda: live.service.desk.running == 1)
            failed = live.speak("This one fails.", seed=BREAKS)
            assert failed.status in (500, 503) and "secret" not in failed.body.decode()
            assert seconds(first.result().body) > 3
        assert np.isfinite(seconds(live.speak("And on it goes.", response_format="wav").body))
