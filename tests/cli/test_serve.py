"""`higgs serve`: what stands before it listens, and once the real thing, from start to stop."""

from __future__ import annotations

import http.client
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from faster_higgs import device
from faster_higgs.audio.files import read
from faster_higgs.checkpoint.files import DefaultModel
from faster_higgs.cli import serve
from faster_higgs.cli.ports import bound
from faster_higgs.cli.serve import ServeFlags, model_id, settings_of
from faster_higgs.errors import SettingError
from faster_higgs.speech import Higgs
from tests.project.source import ROOT


def settings(environment: dict[str, str] | None = None, **flags: object):
    return settings_of(ServeFlags(**flags), environment or {})


class TestSettings:
    def test_flags_go_before_the_environment(self):
        told = {"HIGGS_PORT": "1234", "HIGGS_MAX_QUEUE": "7"}
        assert (settings(told).port, settings(told).max_queue) == (1234, 7)
        assert settings(told, port=99).port == 99

    def test_only_this_machine_is_answered_by_default(self):
        assert settings().host == "127.0.0.1" and not settings().api_keys

    def test_for_others_a_key_is_made(self):
        (key,) = settings(lan=True).api_keys
        assert len(key) >= 24 and settings(lan=True).api_keys != (key,)
        assert settings(host="192.0.2.1").api_keys
        assert not settings(lan=True, insecure_no_auth=True).api_keys

    def test_keys_come_from_a_file_or_the_environment(self, tmp_path):
        path = tmp_path / "keys"
        path.write_text("# for us\nfirst-key-1\n\nsecond-key\n")
        assert settings(api_key_file=path).api_keys == ("first-key-1", "second-key")
        assert settings({"HIGGS_API_KEYS": "third-key"}, lan=True).api_keys == ("third-key",)

    @pytest.mark.parametrize(
        ("flags", "word"),
        [
            ({"lan": True, "host": "127.0.0.1"}, "--lan"),
            ({"api_key_file": Path("nowhere")}, "cannot be read"),
            ({"port": 70_000}, "65535"),
        ],
    )
    def test_what_cannot_be_is_refused(self, flags, word):
        with pytest.raises(SettingError, match=word):
            settings(**flags)

    @pytest.mark.parametrize("keys", ["", " , "])
    def test_a_key_that_was_made_is_told(self, run, monkeypatch, keys):
        monkeypatch.setenv("HIGGS_API_KEYS", keys)
        monkeypatch.setenv("HIGGS_HOST", "0.0.0.0")
        with socket.create_server(("0.0.0.0", 0)) as other:
            result = run("serve", "--port", other.getsockname()[1], "--ui-port", 0)
        assert "API key of this run: " in result.out

    @pytest.mark.parametrize(("name", "value"), [("TEMPERATURE", "99"), ("MAX_NEW_TOKENS", "9999")])
    def test_a_default_that_no_speech_can_have_is_told(self, run, monkeypatch, name, value):
        monkeypatch.setenv(f"HIGGS_DEFAULT_{name}", value)
        with socket.create_server(("127.0.0.1", 0)) as other:
            ended = run("serve", "--port", other.getsockname()[1])
        assert ended.code == 2 and f"{name.lower()} is {value}" in ended.error

    def test_keys_and_no_keys_contradict(self):
        with pytest.raises(SettingError, match="leave one of them out"):
            settings({"HIGGS_API_KEYS": "third-key"}, insecure_no_auth=True)


class TestStart:
    def test_a_port_that_is_taken_is_told_before_anything_is_loaded(self, run):
        with socket.create_server(("127.0.0.1", 0)) as other:
            port = other.getsockname()[1]
            ended = run("serve", "--port", port)
            page = run("serve", "--port", 0, "--ui-port", port)
        assert ended.code == page.code == 2
        assert ended.error == (
            f"Port {port} is taken; choose another with --port, or a free one with --port 0."
        )
        assert page.error == (
            f"Port {port} is taken; choose another with --ui-port, or none with --ui-port 0."
        )

    def test_a_port_that_is_taken_leaves_the_others_free(self, run):
        with socket.create_server(("127.0.0.1", 0)) as one:
            free = one.getsockname()[1]
        with socket.create_server(("127.0.0.1", 0)) as other:
            run("serve", "--port", free, "--ui-port", other.getsockname()[1])
        socket.create_server(("127.0.0.1", free)).close()

    def test_the_page_has_a_port_of_its_own_unless_it_is_0(self):
        assert settings().ui_port == 8501
        assert settings({"HIGGS_UI_PORT": "8600"}).ui_port == 8600
        assert settings({"HIGGS_UI_PORT": "8600"}, ui_port=0).ui_port == 0

    @pytest.mark.parametrize("name", ["nobody", "profile:nobody", "alice,"])
    def test_a_default_voice_that_is_not_there_is_told_before_anything_is_loaded(
        self, run, monkeypatch, tmp_path, name
    ):
        monkeypatch.setenv("HIGGS_DEFAULT_VOICE", name)
        monkeypatch.setattr(Higgs, "load", lambda *_, **__: pytest.fail("it was loaded"))
        ended = run("serve", "--port", 0, "--ui-port", 0, "--voices-dir", tmp_path)
        assert ended.code == 2 and ended.error.endswith(
            f"HIGGS_DEFAULT_VOICE is '{name}', and there is no such voice; "
            "`higgs voices list` shows those there are."
        )

    def test_a_place_for_voices_that_is_no_folder_is_told(self, run, tmp_path):
        (tmp_path / "file").touch()
        for wrong in ("file", "nowhere/voices"):
            ended = run("serve", "--port", 0, "--ui-port", 0, "--voices-dir", tmp_path / wrong)
            assert ended.code == 2
            assert ended.error.startswith(f"--voices-dir {tmp_path / wrong} cannot be used: ")

    def test_a_voice_that_openais_name_hides_is_told(self, tmp_path):
        (tmp_path / "alloy.description").write_text("an old man")
        (tmp_path / "nova.description").write_text("a girl")
        (tmp_path / "nova.json").write_text('{"openai_name": true}')
        (note,) = serve._check_voices(tmp_path / "model", [tmp_path], settings())
        assert note.startswith("The voice 'alloy' is not spoken with")

    def test_the_memory_of_a_card_is_told_as_its_own_tools_tell_it(self, monkeypatch):
        monkeypatch.setattr(torch.cuda, "mem_get_info", lambda index: (30 * 10**9, 80 * 10**9))
        monkeypatch.setattr(device, "named", lambda name: iter([device.Device(name, "H", 1, 2)]))
        plan = SimpleNamespace(device="cuda:1", reason="")
        told = serve._machine(plan)()
        assert (told["gpu_memory_total_gb"], told["gpu_memory_used_gb"]) == (80.0, 50.0)

        def refuses(index):
            raise RuntimeError("out of memory")

        monkeypatch.setattr(torch.cuda, "mem_get_info", refuses)
        assert "gpu_memory_used_gb" not in serve._machine(plan)()

    def test_small_pieces_are_sent_at_once(self):
        """asyncio turns the waiting off for sockets that say they are TCP, and for no others."""
        with bound("127.0.0.1", 0) as one:
            assert one.proto == socket.IPPROTO_TCP

    def test_an_address_of_another_machine_is_told(self):
        with pytest.raises(SettingError, match="not an address of this machine"):
            bound("192.0.2.1", 0)

    def test_a_missing_extra_is_named(self, run, monkeypatch):
        monkeypatch.setattr(serve, "find_spec", lambda name: None if name == "uvicorn" else 1)
        ended = run("serve")
        assert ended.code == 2 and ended.error == (
            "Serving needs uvicorn; install it with: pip install 'faster-higgs[serve]'."
        )

    @pytest.mark.parametrize(
        ("folder", "packaged", "id"),
        [
            ("anything", True, "pico"),
            ("hub/models--bosonai--higgs-audio-v2/snapshots/ab12", False, "bosonai/higgs-audio-v2"),
            ("models/mine", False, "mine"),
        ],
    )
    def test_a_model_goes_by_its_id(self, folder, packaged, id):
        assert model_id(DefaultModel(Path(folder), packaged)) == id


def speak(port: int, text: str) -> bytes:
    body = {"input": text, "voice": "alloy", "response_format": "wav", "seed": 1}
    status, data = ask(port, "/v1/audio/speech", body)
    assert status == 200, data
    return data


def ask(port: int, path: str, body: object = None) -> tuple[int, bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    method, data = ("GET", None) if body is None else ("POST", json.dumps(body))
    connection.request(method, path, data, {"Content-Type": "application/json"})
    answer = connection.getresponse()
    try:
        return answer.status, answer.read()
    finally:
        connection.close()


@pytest.mark.skipif(os.name != "posix", reason="signals")
def test_the_real_server_speaks_and_finishes_what_it_began(tmp_path):
    """pico over HTTP: two at once, and a termination in the middle of a third. The page's port
    answers the same."""
    with bound("127.0.0.1", 0) as free:
        page = free.getsockname()[1]
    process = started(tmp_path, page)
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        found = re.search(r"http://127\.0\.0\.1:(\d+);", line)
        assert found, line
        port = int(found[1])
        assert process.stdout.readline() == f"The page: http://localhost:{page}\n"
        assert b"<title>Faster Higgs</title>" in ask(page, "/")[1] and b"pico" in health(page)
        with ThreadPoolExecutor(2) as threads:
            texts = ["Good morning to everyone here.", "The rain has stopped at last."]
            clips = list(threads.map(lambda text: speak(port, text), texts))
            assert all(0.5 < len(read(clip)) / 24_000 < 10 for clip in clips)
            last = threads.submit(speak, port, "This is the last speech, and it is finished. " * 4)
            while b'"running":1' not in health(port):
                assert not last.done()
            process.send_signal(signal.SIGTERM)
            while ask(port, "/health/ready")[0] == 200:
                assert not last.done()
            status, told = ask(port, "/v1/audio/speech", {"input": "Hi."})
            assert status == 503 and b'"draining"' in told and not last.done()
            assert 3 < len(read(last.result())) / 24_000 < 40
        out, _ = process.communicate(timeout=30)
        assert process.returncode == 0 and out.endswith("Stopped.\n")
    finally:
        process.kill()
        process.communicate()


@pytest.mark.skipif(os.name != "posix", reason="signals")
def test_a_second_ctrl_c_ends_it_at_once_and_without_a_traceback(tmp_path):
    process = started(tmp_path)
    try:
        assert process.stdout is not None
        port = int(re.search(r":(\d+);", process.stdout.readline())[1])
        with socket.create_connection(("127.0.0.1", port), timeout=60) as one:
            body = json.dumps({"input": "It goes on and on. " * 100, "stream": False}).encode()
            head = "POST /v1/audio/speech HTTP/1.1\r\nHost: localhost\r\n"
            head += "Content-Type: application/json\r\n"
            one.sendall(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)
            while b'"running":1' not in health(port):
                pass
            process.send_signal(signal.SIGINT)
            while ask(port, "/health/ready")[0] == 200:
                pass
            begin = time.monotonic()
            process.send_signal(signal.SIGINT)
            out, errors = process.communicate(timeout=30)
        assert time.monotonic() - begin < 8, "it waited for the speech"
        assert process.returncode == 0 and out.splitlines()[-2].startswith("Finishing")
        assert out.splitlines()[-1] == "Stopped." and "graceful" not in errors
        assert "Traceback" not in errors and "Cancelled" not in errors
    finally:
        process.kill()
        process.communicate()


def started(voices: Path, page: int = 0) -> subprocess.Popen[str]:
    """The real server with pico, at any free port, and the page at one of its own unless 0."""
    return subprocess.Popen(
        [sys.executable, *f"-m faster_higgs serve --port 0 --ui-port {page}".split()],
        cwd=ROOT,
        env=os.environ | {"HIGGS_VOICES": str(voices), "PYTHONUNBUFFERED": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def health(port: int) -> bytes:
    return ask(port, "/health")[1]
