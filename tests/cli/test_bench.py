"""`higgs bench` against the real server with the fake model, and against one that is no help."""

from __future__ import annotations

import base64
import json
import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from faster_higgs.cli import bench
from faster_higgs.cli.bench import BenchFlags, settings_of
from faster_higgs.errors import SettingError
from faster_higgs.testing import FakeHiggs
from tests.server.conftest import Slow, Witness, serving, until


@pytest.fixture(scope="module")
def live():
    with Witness() as higgs, serving(higgs, max_running=4) as server:
        yield server


def told(run, *arguments):
    """What it tells to machines."""
    ended = run("bench", "--json", *arguments)
    assert ended.code == 0, ended.err
    return json.loads(ended.out)


LINES = """\
Total Requests: 9
Backend Status: ok
vLLM Healthy: True
Total Requests: 9
Successful: 9
Failed: 0
Success Rate: 100.0%
Generation Time (server-side):
Round-Trip Time (including network):
Audio Output:
Server Stats:
Time to First Audio:
Benchmark Complete
""".splitlines()


def test_the_lines_are_those_that_scripts_read(run, live):
    ended = run("bench", "--url", live.url, "-n", 9, "-c", 3)
    assert ended.code == 0 and ended.err == ""
    assert [line for line in ended.out.splitlines() if line in LINES] == LINES
    assert "Starting 9 requests with concurrency 3..." in ended.out
    for name in ("Total Time", "  Min", "  Max", "  Mean", "  Median", "  Std Dev", "  p99"):
        assert re.search(rf"^{name}: \d+\.\d+s$", ended.out, re.M), name
    assert re.search(r"^Throughput: \d+\.\d\d requests/sec$", ended.out, re.M)
    assert re.search(r"^  Total: \d+\.\d\d MB\n  Avg per request: \d+\.\d KB$", ended.out, re.M)
    assert re.search(r"^  Peak Concurrent: [1-4]\n  Avg Generation Time: [\d.]+s$", ended.out, re.M)


def test_texts_and_prompts_take_turns(run, live):
    before = len(live.service.higgs.asked)
    told(run, "--url", live.url, "--requests", 8, "--concurrent", 1, "--warm-up", 0)
    asked = live.service.higgs.asked[before:]
    assert len({text for text, *_ in asked}) == 8
    assert len({delivery.system for *_, delivery in asked}) == 4
    assert {sampling.temperature for _, _, sampling, _ in asked} == {0.5}


@pytest.mark.parametrize("format", ["wav", "pcm", "mp3"])
def test_a_stream_is_listened_to(run, live, format):
    asked = ["--endpoint", "speech", "--stream", "--format", format, "--voice", "alice"]
    found = told(run, "--url", live.url, "-n", 2, *asked)["results"]
    assert found["successful"] == 2 and found["audio_seconds"] > 3
    assert found["watched"] == (0 if format == "mp3" else 2)
    assert 0 < found["time_to_first_audio"]["p50"] <= found["round_trip_time"]["median"]


def test_events_are_listened_to(run, live):
    asked = ["--endpoint", "speech", "--stream", "--field", "stream_format=sse"]
    found = told(run, "--url", live.url, "-n", 2, *asked)["results"]
    assert found["successful"] == found["continuous"] == 2


@pytest.mark.parametrize("asked", [["--format", "wav"], ["--format", "pcm16", "--stream"]])
def test_chats_are_listened_to(run, live, asked):
    found = told(run, "--url", live.url, "-n", 4, "--endpoint", "chat", *asked)["results"]
    assert found["successful"] == 4 and found["audio_seconds"] > 4


def test_the_open_loop_does_not_wait_for_answers(run):
    """A server whose model does nothing at all has every request of the test at once."""
    with Slow() as higgs, serving(higgs, warmup=False) as server:
        everyone = threading.Thread(
            target=lambda: (until(lambda: higgs.begun == 6), higgs.go.release(10_000))
        )
        everyone.start()
        found = told(run, "--url", server.url, "-n", 6, "-c", 1, "--rate", 100, "--warm-up", 0)
        everyone.join()
    assert found["results"]["successful"] == 6


def test_machines_are_told_where_and_what(run, live):
    found = told(run, "--url", live.url, "-n", 2, "--seed", 7, "--api-key", "secret-key")
    assert found["machine"]["cores"] and found["versions"]["torch"] and found["date"]
    assert found["server"]["health"]["model_id"] == "fake-higgs"
    assert found["settings"]["seed"] == 7 and "secret-key" not in json.dumps(found)
    assert [one["number"] for one in found["samples"]] == [0, 1]


def test_an_answer_that_is_an_error_is_told(run, live):
    ended = run("bench", "--url", live.url, "-n", 3, "--field", "nosuch=1", "--warm-up", 0)
    assert ended.code == 1
    assert "Success Rate: 0.0%" in ended.out and "Failed Requests:\n  Request 0: 422" in ended.out
    assert ended.error.startswith("No request succeeded: 422")


def test_before_anything_is_measured_one_request_must_succeed(run, live):
    ended = run("bench", "--url", live.url, "--voice", "nobody")
    assert ended.code == 1 and "The first request failed: 400: There is no voice" in ended.error


def test_a_server_that_is_not_there(run):
    ended = run("bench", "--url", "http://127.0.0.1:9")
    assert ended.code == 1
    assert ended.error.startswith("Nothing answers at http://127.0.0.1:9 (")
    assert ended.error.endswith("start a server with `higgs serve`, or name one with --url.")


def test_a_server_with_keys(run, monkeypatch):
    with FakeHiggs() as higgs, serving(higgs, api_keys=("right-key",)) as server:
        asked = ["bench", "--url", server.url, "-n", 1]
        refused = run(*asked)
        assert refused.code == 1 and "API key" in refused.error
        asked[2] += "/v1"  # as OpenAI clients have it
        assert run(*asked, "--api-key", "right-key").code == 0
        monkeypatch.setenv("OPENAI_API_KEY", "right-key")
        assert run(*asked).code == 0


@contextmanager
def answering(sound: bytes) -> Iterator[str]:
    """A server that only knows chat, and nothing of its health."""

    class Answer(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self):
            self.told(404, "text/html", b"<p>Nothing here.</p>")

        def do_POST(self):
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            assert self.path == "/v1/chat/completions"
            assert body["modalities"] == ["text", "audio"] and body["messages"][-1]["content"]
            data = base64.b64encode(sound).decode()
            if not body["stream"]:
                message = {"message": {"content": "", "audio": {"data": data}}}
                self.told(200, "application/json", json.dumps({"choices": [message]}).encode())
                return
            delta = json.dumps({"choices": [{"delta": {"audio": {"data": data}}}]})
            self.told(200, "text/event-stream", f"data: {delta}\n\ndata: [DONE]\n\n".encode())

        def told(self, status, kind, body):
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_):
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Answer) as server:
        threading.Thread(target=server.serve_forever).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


@pytest.mark.parametrize("stream", [[], ["--stream"]])
def test_another_server_that_only_knows_chat(run, stream):
    with answering(bytes(48_000)) as url:
        asked = ["--endpoint", "chat", "--format", "pcm16", "-n", 2, *stream]
        found = told(run, "--url", url, *asked)
    assert found["results"]["audio_seconds"] == 2 and found["server"]["stats"] == {}


@pytest.mark.skipif(os.name != "posix", reason="signals")
def test_ctrl_c_tells_what_was_measured():
    class Stops(Slow):
        """Speaks three times, then never again."""

        def pieces(self, *asked, **more):
            if self.begun < 3:
                self.go.release(1_000)
            else:
                while self.go.acquire(blocking=False):
                    pass
            return super().pieces(*asked, **more)

    with Stops() as higgs, serving(higgs, warmup=False) as server:
        command = [sys.executable, "-m", "faster_higgs", "bench", "--url", server.url]
        process = subprocess.Popen(
            [*command, "-n", "9", "-c", "1", "--warm-up", "0"],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        until(lambda: higgs.begun == 4)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=20)
    assert process.returncode == 130 and err == "Interrupted.\n"
    assert "Successful: 3" in out and "Time to First Audio:" in out


class TestSettings:
    @pytest.mark.parametrize(
        ("flags", "word"),
        [
            ({"url": "localhost:8000"}, "url is"),
            ({"requests": 0}, "requests is 0"),
            ({"rate": 0.0}, "rate is 0"),
            ({"endpoint": "sing"}, "generate, speech, chat"),
            ({"stream": True}, "--endpoint speech"),
            ({"field": ["nothing"]}, "NAME=VALUE"),
        ],
    )
    def test_what_cannot_be_is_refused(self, flags, word):
        with pytest.raises(SettingError, match=word):
            settings_of(BenchFlags(**flags), {})

    def test_texts_come_from_a_file(self, tmp_path):
        path = tmp_path / "t"
        path.write_text("One.\n\nTwo.\n")
        assert settings_of(BenchFlags(text_file=path), {}).texts == ("One.", "Two.")
        path.write_text("\n")
        with pytest.raises(SettingError, match="no text"):
            settings_of(BenchFlags(text_file=path), {})

    def test_fields_are_json_or_text(self):
        found = settings_of(BenchFlags(field=["top_k=5", "voice_id=ann"]), {}).body(0)
        assert found["top_k"] == 5 and found["voice_id"] == "ann"

    def test_a_missing_extra_is_named(self, run, monkeypatch):
        monkeypatch.setattr(bench, "find_spec", lambda name: None)
        assert run("bench").error.endswith("pip install 'faster-higgs[serve]'.")
