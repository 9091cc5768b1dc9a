"""/v1/jobs: long texts that are paused, resumed, broken off by anything, and sound the same."""

from __future__ import annotations

import base64
import errno
import http.client
import json
import os
import random
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from faster_higgs.audio.encode import encode
from faster_higgs.engine.scheduler import BATCH
from faster_higgs.errors import NoAudio
from faster_higgs.server import shelf
from faster_higgs.server.narrator import Ask
from faster_higgs.testing import FakeHiggs, spoken, tones
from tests.server.conftest import RATE, Live, Reply, Slow, Witness, seconds, serving, until

# Each pause ends an utterance.
TEXT = "One is here. [pause:40ms] Two is, too. [pause:40ms] Three. [pause:40ms] Four."
SAID = "A clip of somebody for the test."


class Careful(Witness):
    """A witness that remembers how important it was."""

    def frames(self, *asked: Any, **more: Any) -> Any:
        self.priorities = [*getattr(self, "priorities", []), more.get("priority")]
        return super().frames(*asked, **more)


@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    folder = str(tmp_path_factory.mktemp("jobs"))
    with Careful() as higgs, serving(higgs, jobs_dir=folder) as server:
        yield server


@pytest.fixture
def slow() -> Iterator[Slow]:
    with Slow() as higgs:
        yield higgs
        higgs.go.release(100_000)


def ask(live: Live, text: str = TEXT, **fields: Any) -> str:
    """The id of a new job."""
    fields = {"voice": "alice", "seed": 5, "response_format": "pcm", **fields}
    reply = live.ask("/v1/jobs", {"input": text, **fields})
    assert reply.status == 202, reply.body
    assert reply.headers["location"] == f"/v1/jobs/{reply.json['id']}"
    return str(reply.json["id"])


def told(live: Live, id: str) -> dict[str, Any]:
    found: dict[str, Any] = live.ask(f"/v1/jobs/{id}").json
    return found


def move(live: Live, id: str, verb: str) -> Reply:
    return live.ask(f"/v1/jobs/{id}/{verb}", method="POST")


def status(live: Live, id: str) -> str:
    return str(told(live, id)["status"])


def finished(live: Live, id: str) -> bytes:
    """The sound of a job that comes to its end."""
    until(lambda: status(live, id) == "done")
    reply = live.ask(f"/v1/jobs/{id}/audio")
    assert reply.status == 200, reply.body
    return reply.body


def events(live: Live, id: str) -> list[tuple[str, dict[str, Any]]]:
    body = live.ask(f"/v1/jobs/{id}/events").body.decode()
    pairs = [block.split("\n") for block in body.strip().split("\n\n") if block[0] != ":"]
    return [(name[7:], json.loads(data[6:])) for name, data in pairs]


class TestWhole:
    @pytest.mark.parametrize("more", [{}, {"speed": 1.5, "sample_rate": 16_000}])
    def test_it_is_the_speech(self, live, more):
        fields = {"voice": "alice", "seed": 5, "response_format": "pcm"}
        assert finished(live, ask(live, **more)) == live.speak(TEXT, **fields, **more).body

    def test_what_is_told_of_it(self, live):
        before = live.ask("/v1/jobs").json["data"]
        id = ask(live, response_format="wav")
        sound = finished(live, id)
        found = told(live, id)
        assert found.pop("progress") == {
            "utterances_done": 4,
            "utterances_total": 4,
            "seconds": pytest.approx(seconds(sound), abs=1e-3),
            "fraction": 1.0,
        }
        assert found.pop("updated_at") >= found.pop("created_at") > 1_700_000_000
        assert found == {
            "id": id,
            "object": "audio.job",
            "status": "done",
            "seed": 5,
            "response_format": "wav",
            "sample_rate": RATE,
            "title": "One is here.",
            "error": None,
        }
        listed = live.ask("/v1/jobs").json
        assert listed["object"] == "list"
        assert [job["id"] for job in listed["data"]] == [id, *(job["id"] for job in before)]

    @pytest.mark.parametrize("format", ["mp3", "opus", "aac", "flac", "wav"])
    def test_every_format(self, live, format):
        id = ask(live, response_format="wav")
        whole = finished(live, id)
        reply = live.ask(f"/v1/jobs/{id}/audio?format={format}")
        assert seconds(reply.body) == pytest.approx(seconds(whole), abs=0.1)
        assert reply.headers["x-seed"] == "5"
        assert finished(live, ask(live, response_format=format))

    def test_a_part_of_the_file_can_be_had(self, live):
        id = ask(live)
        whole = finished(live, id)
        part = live.ask(f"/v1/jobs/{id}/audio", headers={"Range": "bytes=1000-1999"})
        assert (part.status, part.body) == (206, whole[1000:2000])

    def test_speed_and_rate(self, live):
        id = ask(live, speed=2.0, sample_rate=16_000, response_format="wav")
        plain = finished(live, ask(live, response_format="wav"))
        pauses = 0.12
        half = (seconds(plain) - pauses) / 2 + pauses
        assert seconds(finished(live, id)) == pytest.approx(half, abs=0.01)
        rows = live.ask(f"/v1/jobs/{id}/captions?format=json").json["segments"]
        assert rows[-1]["end"] == pytest.approx(half, abs=0.01)
        assert rows[1]["start"] == pytest.approx(rows[0]["end"] + 0.04, abs=1e-3)

    def test_captions(self, live):
        id = ask(live)
        sound = finished(live, id)
        rows = live.ask(f"/v1/jobs/{id}/captions?format=json").json["segments"]
        assert [row["text"] for row in rows] == ["One is here.", "Two is, too.", "Three.", "Four."]
        assert rows[1]["start"] == pytest.approx(rows[0]["end"] + 0.04)
        assert rows[-1]["end"] == pytest.approx(len(sound) / 2 / RATE)
        srt = live.ask(f"/v1/jobs/{id}/captions")
        assert srt.headers["content-type"].startswith("application/x-subrip")
        assert srt.body.startswith(b"1\n00:00:00,000 --> ")
        assert live.ask(f"/v1/jobs/{id}/captions?format=vtt").body.startswith(b"WEBVTT\n")
        assert live.ask(f"/v1/jobs/{id}/captions?format=ass").status == 400

    def test_a_pause_at_the_end_is_heard(self, live):
        ends = [finished(live, ask(live, text)) for text in ("One.", "One. [pause:1s]")]
        assert len(ends[1]) - len(ends[0]) == 2 * RATE

    def test_it_waits_for_those_who_listen(self, live):
        finished(live, ask(live))
        assert live.service.higgs.priorities[-1] == BATCH

    def test_a_text_longer_than_a_speech_may_be(self, live):
        text = "Here is one sentence of a book. " * 250  # 8,000 characters
        assert live.speak(text).status == 400
        id = ask(live, text)
        assert len(finished(live, id)) / 2 / RATE == pytest.approx(8000 * 0.08, rel=0.02)

    def test_a_clip_and_a_voice_that_are_gone_later(self, slow, tmp_path):
        clip = base64.b64encode(encode(tones(spoken(SAID)), "wav")).decode()
        slow.voices._folders.insert(0, tmp_path / "voices")
        with serving(slow, warmup=False, jobs_dir=str(tmp_path / "jobs")) as live:
            slow.voices.describe("carla", "warm and deep")
            ids = [
                ask(live, voice=None, ref_audio=clip, ref_text=SAID),
                ask(live, voice="carla"),
            ]
            until(lambda: slow.begun > 0)
            assert live.ask("/v1/audio/voices/carla", method="DELETE").status == 200
            slow.go.release(10_000)
            assert all(finished(live, id) for id in ids)


class TestRefusals:
    @pytest.mark.parametrize(
        ("fields", "param", "code"),
        [
            ({"input": "a " * 100_000 + "b"}, "input", "string_above_max_length"),
            ({"input": " "}, "input", "invalid_input"),
            ({"input": "Hi.", "voice": "nobody"}, "voice", "invalid_voice"),
            ({"input": "Hi.", "stream": True}, "stream", "unsupported_parameter"),
            ({"input": "Hi.", "stream_format": "sse"}, "stream_format", "unsupported_parameter"),
            ({"input": "Hi.", "utterance_events": True}, "utterance_events", None),
            ({"input": "Hi.", "timeout": 5}, "timeout", "unsupported_parameter"),
            ({"input": "Hi.", "instructions": "x" * 5000}, "instructions", None),
            ({"input": "Hi.", "colour": "red"}, "colour", "unknown_parameter"),
        ],
        ids=lambda value: None if isinstance(value, dict) else value,
    )
    def test_what_cannot_be_is_refused_and_not_kept(self, live, fields, param, code):
        before = live.ask("/v1/jobs").json
        reply = live.ask("/v1/jobs", fields)
        assert (reply.status, reply.error["param"]) == (400, param)
        assert code in (None, reply.error["code"])
        assert live.ask("/v1/jobs").json == before

    def test_the_longest_text_is_taken(self, live):
        text = ("It was a very long book, and everyone read it. " * 4300)[:200_000]
        id = ask(live, text)
        assert live.ask(f"/v1/jobs/{id}", method="DELETE").status == 200

    def test_what_changes_nothing_is_named(self, live):
        reply = live.ask("/v1/jobs", {"input": "Hi.", "audio_chunk_size": 3})
        assert (reply.status, reply.headers["x-ignored-params"]) == (202, "audio_chunk_size")

    @pytest.mark.parametrize(
        "id",
        ["nothing", "..%2F..%2Fetc", "%2e%2e", "job_" + "0" * 24, "lock", "job_%00", "a" * 5000],
    )
    def test_an_id_is_never_a_path(self, live, id):
        for path in (f"/v1/jobs/{id}", f"/v1/jobs/{id}/audio", f"/v1/jobs/{id}/events"):
            assert live.ask(path).status == 404
        for verb in ("pause", "resume", "cancel", "retry"):
            assert move(live, id, verb).status == 404
        assert live.ask(f"/v1/jobs/{id}", method="DELETE").status == 404

    def test_so_many_are_kept(self, tmp_path):
        with FakeHiggs() as higgs, serving(higgs, jobs_dir=str(tmp_path), max_jobs=1) as live:
            id = ask(live)
            reply = live.ask("/v1/jobs", {"input": "Hi."})
            assert (reply.status, reply.error["code"]) == (409, "too_many_jobs")
            live.ask(f"/v1/jobs/{id}", method="DELETE")
            ask(live)

    def test_without_a_folder_there_are_none(self):
        with FakeHiggs() as higgs, serving(higgs) as live:
            for reply in (live.ask("/v1/jobs"), live.ask("/v1/jobs", {"input": "Hi."})):
                assert (reply.status, reply.error["code"]) == (503, "jobs_off")
                assert "HIGGS_JOBS_DIR" in reply.error["message"]

    def test_a_folder_another_server_has(self, live, caplog):
        folder = live.service.settings.jobs_dir
        with FakeHiggs() as higgs, serving(higgs, jobs_dir=folder) as second:
            assert second.ask("/v1/jobs").status == 503
            assert second.speak().status == 200
        assert "Another server" in caplog.text

    def test_a_key_is_needed(self, tmp_path):
        keys = ("a-key-for-tests",)
        with FakeHiggs() as higgs, serving(higgs, jobs_dir=str(tmp_path), api_keys=keys) as live:
            assert live.ask("/v1/jobs").status == 401
            assert live.ask("/v1/jobs", {"input": "Hi."}).status == 401


@pytest.fixture
def waiting(slow: Slow, tmp_path: Path) -> Iterator[Live]:
    with serving(slow, warmup=False, jobs_dir=str(tmp_path)) as live:
        yield live


class TestMoves:
    def test_paused_and_resumed(self, waiting, slow):
        id = ask(waiting)
        until(lambda: slow.begun > 0)
        slow.go.release(8)
        until(lambda: told(waiting, id)["progress"]["utterances_done"] > 0)
        assert move(waiting, id, "pause").json["status"] == "paused"
        until(lambda: slow.ended == slow.begun)
        assert waiting.ask(f"/v1/jobs/{id}/audio").error["code"] == "job_not_done"
        part = waiting.ask(f"/v1/jobs/{id}/audio?partial=true").body
        slow.go.release(10_000)
        assert move(waiting, id, "resume").json["status"] == "queued"
        whole = finished(waiting, id)
        assert whole.startswith(part) and 0 < len(part) < len(whole)
        assert whole == finished(waiting, ask(waiting))

    def test_cancelled_and_tried_again(self, waiting, slow):
        id = ask(waiting)
        until(lambda: slow.begun > 0)
        assert move(waiting, id, "cancel").json["status"] == "cancelled"
        assert waiting.ask(f"/v1/jobs/{id}/audio?partial=true").status == 409
        slow.go.release(10_000)
        assert move(waiting, id, "retry").json["status"] == "queued"
        finished(waiting, id)

    def test_what_makes_no_sense_is_refused(self, waiting, slow):
        id = ask(waiting)
        until(lambda: status(waiting, id) == "running")
        for verb in ("resume", "retry"):
            reply = move(waiting, id, verb)
            assert (reply.status, reply.error["code"]) == (409, "wrong_state")
            assert "running" in reply.error["message"]
        slow.go.release(10_000)
        finished(waiting, id)
        for verb in ("pause", "resume", "cancel", "retry"):
            assert move(waiting, id, verb).status == 409

    def test_one_at_a_time_in_the_order_of_asking(self, waiting, slow):
        ids = [ask(waiting, "Hi there.") for _ in range(3)]
        until(lambda: slow.begun == 1)
        assert [status(waiting, id) for id in ids] == ["running", "queued", "queued"]
        assert b"higgs_jobs_queued 2.0" in waiting.ask("/metrics").body
        move(waiting, ids[1], "pause")
        move(waiting, ids[0], "cancel")
        until(lambda: status(waiting, ids[2]) == "running")
        slow.go.release(10_000)
        finished(waiting, ids[2])
        assert status(waiting, ids[1]) == "paused"

    def test_one_that_runs_can_be_deleted(self, waiting, slow, tmp_path):
        id = ask(waiting)
        until(lambda: slow.begun > 0)
        connection = http.client.HTTPConnection("127.0.0.1", waiting.port, timeout=20)
        connection.request("GET", f"/v1/jobs/{id}/events")
        listening = connection.getresponse()
        assert listening.readline() == b"event: job.progress\n"
        assert waiting.ask(f"/v1/jobs/{id}", method="DELETE").json["deleted"] is True
        assert waiting.ask(f"/v1/jobs/{id}").status == 404
        assert [path.name for path in tmp_path.iterdir()] == ["lock"]
        end = listening.read()
        assert b"event: job.end" in end and b'"status": "cancelled"' in end
        assert slow.ended == slow.begun
        connection.close()

    def test_whatever_is_asked_at_once(self, tmp_path):
        """Each answer to many who pull at the same jobs makes sense, and each job ends."""
        with Slow() as higgs:
            higgs.go.release(1_000_000)
            settings = {"warmup": False, "jobs_dir": str(tmp_path), "max_jobs_running": 2}
            with serving(higgs, **settings) as live:
                ids = [ask(live, TEXT * 5) for _ in range(4)]

                def pull(seed: int) -> list[int]:
                    dice = random.Random(seed)
                    verbs = ["pause", "resume", "cancel", "retry"]
                    return [
                        move(live, dice.choice(ids), dice.choice(verbs)).status for _ in range(25)
                    ]

                with ThreadPoolExecutor(6) as threads:
                    found = {one for several in threads.map(pull, range(6)) for one in several}
                assert found <= {200, 409}
                for id, verb in [(id, verb) for id in ids for verb in ("resume", "retry")]:
                    move(live, id, verb)
                whole = finished(live, ids[0])
                assert all(finished(live, id) == whole for id in ids[1:])
                with ThreadPoolExecutor(4) as threads:
                    path = f"/v1/jobs/{ids[0]}"
                    gone = list(threads.map(lambda _: live.ask(path, method="DELETE"), range(4)))
                assert sorted(reply.status for reply in gone) == [200, 404, 404, 404]


class TestEvents:
    def test_they_tell_how_far_it_is_and_end_with_it(self, waiting, slow):
        id = ask(waiting)
        with ThreadPoolExecutor(1) as threads:
            listening = threads.submit(events, waiting, id)
            until(lambda: slow.begun > 0)
            slow.go.release(10_000)
            found = listening.result(10)
        assert {name for name, _ in found[:-1]} == {"job.progress"} and len(found) > 3
        name, last = found[-1]
        assert name == last["type"] == "job.end" and last["status"] == "done"
        done = [data["progress"]["utterances_done"] for _, data in found]
        assert done == sorted(done) and done[-1] == 4
        # Who comes back is told at once.
        assert [name for name, _ in events(waiting, id)] == ["job.progress", "job.end"]

    def test_who_goes_away_and_comes_back_misses_nothing(self, waiting, slow):
        id = ask(waiting)
        connection = http.client.HTTPConnection("127.0.0.1", waiting.port, timeout=20)
        connection.request("GET", f"/v1/jobs/{id}/events")
        assert connection.getresponse().readline() == b"event: job.progress\n"
        connection.close()
        slow.go.release(10_000)
        assert events(waiting, id)[-1][1]["progress"]["utterances_done"] == 4

    def test_they_hold_up_no_stop(self, waiting):
        id = ask(waiting)
        connection = http.client.HTTPConnection("127.0.0.1", waiting.port, timeout=20)
        connection.request("GET", f"/v1/jobs/{id}/events")
        listening = connection.getresponse()
        assert listening.readline() == b"event: job.progress\n"
        until(lambda: status(waiting, id) == "running")
        waiting.service.jobs.leave()
        with listening:
            assert b"job.end" not in listening.read()
        connection.close()

    def test_one_that_is_just_beginning_holds_up_no_stop(self, slow, tmp_path, monkeypatch):
        keep, close = shelf.Shelf.keep, shelf.Shelf.close
        beginning, on, closed = (threading.Event() for _ in range(3))

        def late(own: shelf.Shelf, record: shelf.Record) -> None:
            beginning.set()
            on.wait(20)
            keep(own, record)

        monkeypatch.setattr(shelf.Shelf, "keep", late)
        monkeypatch.setattr(shelf.Shelf, "close", lambda own: (close(own), closed.set()))
        with serving(slow, warmup=False, jobs_dir=str(tmp_path)) as live:
            ask(live)
            assert beginning.wait(20)
            live.server.should_exit = True
            until(lambda: live.service.jobs.leaving)
            on.set()
            stopped = closed.wait(5)
            slow.go.release(10_000)
        assert stopped and slow.begun == slow.ended


class TestFaults:
    def test_a_restart_makes_only_what_is_missing(self, slow, tmp_path):
        with serving(slow, warmup=False, jobs_dir=str(tmp_path)) as live:
            id = ask(live)
            until(lambda: slow.begun > 0)
            slow.go.release(8)
            until(lambda: told(live, id)["progress"]["utterances_done"] > 0)
            resting = ask(live, "Wait.")
            move(live, resting, "pause")
        with Witness() as higgs, serving(higgs, warmup=False, jobs_dir=str(tmp_path)) as live:
            made = told(live, id)["progress"]["utterances_done"]
            assert made > 0
            resumed = finished(live, id)
            assert len(higgs.prompts) <= 4 - 1
            assert status(live, resting) == "paused"
            assert resumed == finished(live, ask(live))

    def test_a_full_disk_fails_the_job_and_nothing_else(self, live, monkeypatch):
        real, full = shelf._settle, threading.Event()

        def settle(file: Any) -> None:
            if full.is_set() or file.name.endswith("codes.bin"):
                full.set()
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            real(file)

        monkeypatch.setattr(shelf, "_settle", settle)
        id = ask(live)
        until(lambda: status(live, id) == "failed")
        error = told(live, id)["error"]
        assert error["code"] == "not_saved" and "no space left" in error["message"]
        assert live.speak().status == 200
        reply = live.ask("/v1/jobs", {"input": "Hi."})
        assert (reply.status, reply.error["code"]) == (507, "not_saved")
        assert move(live, id, "retry").status == 507
        monkeypatch.undo()
        assert move(live, id, "retry").status == 200
        assert finished(live, id) == finished(live, ask(live))
        assert told(live, id)["error"] is None

    def test_an_utterance_without_sound_is_tried_anew(self, tmp_path):
        with Mute("Three.", 2) as higgs, serving(higgs, jobs_dir=str(tmp_path)) as live:
            id = ask(live)
            whole = finished(live, id)
            assert len(set(higgs.seeds)) == 3
            higgs.left = 2
            assert finished(live, ask(live)) == whole

    def test_one_that_never_sounds_fails_the_job(self, tmp_path):
        with Mute("Three.", 99) as higgs, serving(higgs, jobs_dir=str(tmp_path)) as live:
            id = ask(live)
            until(lambda: status(live, id) == "failed")
            found = told(live, id)
            assert found["error"]["code"] == "no_audio"
            assert found["progress"]["utterances_done"] == 2
            higgs.left = 0
            move(live, id, "retry")
            finished(live, id)

    def test_another_model_does_not_go_on(self, slow, tmp_path):
        with serving(slow, warmup=False, jobs_dir=str(tmp_path)) as live:
            id = ask(live)
        path = tmp_path / id / "job.json"
        path.write_text(path.read_text().replace('"fake-higgs fake"', '"other fake"'))
        with FakeHiggs() as higgs, serving(higgs, jobs_dir=str(tmp_path)) as live:
            until(lambda: status(live, id) == "failed")
            error = told(live, id)["error"]
            assert error["code"] == "model_changed" and "other" in error["message"]

    def test_what_nobody_expected_is_in_the_log_alone(self, live, monkeypatch, caplog):
        def explode(*_: Any, **__: Any) -> None:
            raise ZeroDivisionError("secret words")

        monkeypatch.setattr(type(live.service.higgs), "pieces", explode)
        id = ask(live)
        until(lambda: status(live, id) == "failed")
        assert told(live, id)["error"]["code"] == "internal_error"
        assert "secret" not in told(live, id)["error"]["message"] and id in caplog.text

    def test_a_damaged_job_keeps_no_other_from_going_on(self, slow, tmp_path, caplog):
        with serving(slow, warmup=False, jobs_dir=str(tmp_path)) as live:
            ids = [ask(live) for _ in range(2)]
        (tmp_path / ids[0] / "job.json").write_bytes(b"\0\0\0")
        with FakeHiggs() as higgs, serving(higgs, jobs_dir=str(tmp_path)) as live:
            finished(live, ids[1])
            assert live.ask(f"/v1/jobs/{ids[0]}").status == 404
        assert ids[0] in caplog.text


class Mute(FakeHiggs):
    """Says nothing for one text, so many times."""

    def __init__(self, text: str, times: int) -> None:
        super().__init__()
        self.text, self.left, self.seeds = text, times, list[Any]()

    def frames(self, prompt: Any, sampling: Any, *rest: Any, **more: Any) -> Any:
        if self._asked(prompt) == self.text:
            self.seeds.append(sampling.seed)
            if self.left:
                self.left -= 1
                return self._nothing()
        return super().frames(prompt, sampling, *rest, **more)

    def _nothing(self) -> Iterator[Any]:
        raise NoAudio("The model answered without any sound.")
        yield


def test_settings_of_a_job_come_back(live):
    """All that was asked is on disk, and nothing is lost on the way."""
    id = ask(live, temperature=0.7, top_k=9, scene_prompt="A hall.", normalization="off")
    finished(live, id)
    kept = live.service.jobs.shelf.ask(id)
    again = Ask.of_plain(kept)
    assert json.loads(json.dumps(again.plain())) == kept
    assert (again.sampling.temperature, again.sampling.top_k, again.sampling.seed) == (0.7, 9, 5)
    assert again.delivery.scene == "A hall." and again.delivery.normalization == "off"
    assert (again.delivery.priority, again.delivery.deadline) == ("batch", None)
