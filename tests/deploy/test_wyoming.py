"""The Wyoming bridge, spoken to by the protocol's own client, before the real server."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Sequence

import pytest
from wyoming.audio import AudioChunk, AudioStart, AudioStop
from wyoming.client import AsyncTcpClient
from wyoming.error import Error
from wyoming.event import Event, Eventable
from wyoming.info import Describe, Info
from wyoming.tts import (
    Synthesize,
    SynthesizeChunk,
    SynthesizeStart,
    SynthesizeStop,
    SynthesizeStopped,
    SynthesizeVoice,
)

from faster_higgs.cli.ports import bound
from faster_higgs.deploy import wyoming
from faster_higgs.deploy.wyoming import BridgeSettings, bridge
from faster_higgs.errors import EngineError, SettingError
from faster_higgs.testing import FakeHiggs
from tests.server.conftest import SECONDS_PER_CHARACTER, Slow, Witness, serving, until

ALICE = SynthesizeVoice(name="alice")


def free_port() -> int:
    with bound("127.0.0.1", 0) as one:
        return int(one.getsockname()[1])


def told(url: str, *events: Eventable, until: type[Eventable] = AudioStop, **more) -> list[Event]:
    """What the bridge answers, up to an event of a kind, or until it hangs up."""

    async def talk() -> list[Event]:
        port, ready = free_port(), asyncio.Event()
        settings = BridgeSettings(uri=f"tcp://127.0.0.1:{port}", server=url, **more)
        task = asyncio.create_task(wyoming._bridge(settings, ready.set))
        await asyncio.wait({task, asyncio.create_task(ready.wait())}, return_when="FIRST_COMPLETED")
        if task.done():
            await task
        try:
            return await asyncio.wait_for(_talk(port, events, until), 20)
        finally:
            task.cancel()

    return asyncio.run(talk())


async def _talk(port: int, events: Sequence[Eventable], until: type[Eventable]) -> list[Event]:
    found: list[Event] = []
    for _ in range(200):  # it may not listen yet
        try:
            await (client := AsyncTcpClient("127.0.0.1", port)).connect()
            break
        except OSError:
            await asyncio.sleep(0.01)
    for event in events:
        await client.write_event(event.event())
    while (event := await client.read_event()) is not None:
        found.append(event)
        if until.is_type(event.type):
            break
    await client.disconnect()
    return found


def seconds(events: Sequence[Event]) -> float:
    chunks = [AudioChunk.from_event(e) for e in events if AudioChunk.is_type(e.type)]
    assert all((one.rate, one.width, one.channels) == (24_000, 2, 1) for one in chunks)
    assert all(len(one.audio) % 2 == 0 for one in chunks)
    return sum(one.seconds for one in chunks)


@pytest.fixture(scope="module")
def live():
    with Witness() as higgs, serving(higgs) as server:
        yield server


@pytest.fixture
def asked(live):
    """What the server is asked in a test: texts and voices."""
    before = len(live.service.higgs.asked)
    return lambda: [(text, voice) for text, voice, *_ in live.service.higgs.asked[before:]]


def test_it_tells_of_its_voices(live):
    (event,) = told(live.url, Describe(), until=Info, languages=("en", "de"))
    (program,) = Info.from_event(event).tts
    assert program.installed and program.supports_synthesize_streaming
    assert {"alice", "bob"} <= {voice.name for voice in program.voices}
    assert all(voice.languages == ["en", "de"] for voice in program.voices)


def test_a_text_is_spoken_at_once(live, asked):
    text = "Hello there. How are you?"
    events = told(live.url, Synthesize(text, voice=ALICE))
    assert AudioStart.is_type(events[0].type) and AudioStop.is_type(events[-1].type)
    assert seconds(events) == pytest.approx(len(text) * SECONDS_PER_CHARACTER, abs=0.2)
    assert asked() == [(text, "alice")]


def test_who_names_no_voice_gets_the_operator_s(live, asked):
    told(live.url, Synthesize("Hello."), voice="bob")
    told(live.url, Synthesize("Hello.", voice=ALICE), voice="bob")
    assert [voice for _, voice in asked()] == ["bob", "alice"]


def test_a_text_that_arrives_in_pieces_is_spoken_sentence_by_sentence(live, asked):
    pieces = ["The door", " is open. Shall", " I close it?\n", "It is ", "cold", "!"]
    events = told(
        live.url,
        SynthesizeStart(voice=ALICE),
        *map(SynthesizeChunk, pieces),
        Synthesize("".join(pieces), voice=ALICE),  # for those who cannot stream
        SynthesizeStop(),
        until=SynthesizeStopped,
    )
    texts = ["The door is open.", "Shall I close it?", "It is cold!"]
    assert asked() == [(text, "alice") for text in texts]
    kinds = [event.type for event in events if not AudioChunk.is_type(event.type)]
    assert kinds == ["audio-start", "audio-stop", "synthesize-stopped"]
    assert seconds(events) == pytest.approx(sum(map(len, texts)) * SECONDS_PER_CHARACTER, abs=0.3)


def test_the_first_sentence_sounds_before_the_last_is_written():
    async def talk(port: int, settings: BridgeSettings) -> None:
        ready = asyncio.Event()
        task = asyncio.create_task(wyoming._bridge(settings, ready.set))
        await ready.wait()
        await asyncio.sleep(0.05)
        async with AsyncTcpClient("127.0.0.1", port) as client:
            await client.write_event(SynthesizeStart().event())
            await client.write_event(SynthesizeChunk("One is said. Two").event())
            event = await asyncio.wait_for(client.read_event(), 10)
            assert event is not None and AudioStart.is_type(event.type)
        task.cancel()

    with FakeHiggs() as higgs, serving(higgs) as server:
        port = free_port()
        settings = BridgeSettings(uri=f"tcp://127.0.0.1:{port}", server=server.url)
        asyncio.run(talk(port, settings))


def test_a_text_too_long_for_one_request_is_spoken_in_several(live, asked, monkeypatch):
    monkeypatch.setattr(wyoming, "AT_ONCE", 20)
    events = told(live.url, Synthesize("One is short. Two is short."))
    assert [text for text, _ in asked()] == ["One is short.", "Two is short."]
    assert AudioStop.is_type(events[-1].type)


@pytest.mark.parametrize("text", ["", "...", "👍"])
def test_nothing_to_say_is_silence(live, asked, text):
    events = told(live.url, Synthesize(text))
    assert [event.type for event in events] == ["audio-start", "audio-stop"] and not asked()


@pytest.mark.parametrize(
    ("event", "word"),
    [
        (Synthesize("Hello.", voice=SynthesizeVoice(name="nobody")), "no voice 'nobody'"),
        (Synthesize("<speak/>", text_format="ssml"), "plain text"),
        (SynthesizeChunk("Hello."), "before its beginning"),
    ],
)
def test_what_cannot_be_spoken_is_told_and_ends_the_connection(live, event, word):
    *_, last = told(live.url, event)
    assert Error.is_type(last.type) and word in Error.from_event(last).text


def test_too_much_text_without_an_end(live):
    *_, last = told(live.url, SynthesizeStart(), *[SynthesizeChunk("word " * 5_000)] * 3)
    assert "50,000 characters" in Error.from_event(last).text


def test_who_hangs_up_ends_the_speech():
    async def hang_up(port: int, settings: BridgeSettings) -> None:
        ready = asyncio.Event()
        task = asyncio.create_task(wyoming._bridge(settings, ready.set))
        await ready.wait()
        await asyncio.sleep(0.05)
        async with AsyncTcpClient("127.0.0.1", port) as client:
            await client.write_event(Synthesize("Hello to everyone here. " * 20).event())
            higgs.go.release(3)
            await client.read_event()
        higgs.go.release(20)
        await asyncio.to_thread(until, lambda: higgs.ended == higgs.begun)
        task.cancel()

    with Slow() as higgs, serving(higgs, warmup=False) as server:
        port = free_port()
        settings = BridgeSettings(uri=f"tcp://127.0.0.1:{port}", server=server.url)
        asyncio.run(hang_up(port, settings))


class TestStart:
    def test_a_server_that_is_not_there(self):
        with pytest.raises(EngineError, match=r"Nothing answers at http://127.0.0.1:9 .*--server"):
            told("http://127.0.0.1:9")

    def test_a_server_with_keys(self):
        with FakeHiggs() as higgs, serving(higgs, api_keys=("right-key",)) as server:
            with pytest.raises(EngineError, match="API key"):
                told(server.url)
            assert told(f"{server.url}/v1/", Describe(), until=Info, key="right-key")

    def test_a_port_that_is_taken(self, live):
        with bound("127.0.0.1", 0) as other:
            uri = f"tcp://127.0.0.1:{other.getsockname()[1]}"
            with pytest.raises(SettingError, match=f"Nothing can listen at {uri}"):
                bridge(BridgeSettings(uri, live.url), lambda: None)

    @pytest.mark.parametrize(
        "wrong",
        [
            {"uri": "http://localhost:1"},
            {"uri": "tcp://localhost"},
            {"uri": "tcp://localhost:door"},
            {"uri": "unix://"},
            {"server": "localhost:8000"},
            {"timeout": 0.0},
        ],
    )
    def test_what_cannot_be_is_refused(self, wrong):
        with pytest.raises(SettingError, match=next(iter(wrong))):
            BridgeSettings(**wrong)


@pytest.mark.skipif(os.name != "posix", reason="signals")
def test_the_command_runs_until_it_is_told_to_stop(live):
    command = [sys.executable, "-m", "faster_higgs", "wyoming", "--server", live.url]
    uri = f"tcp://127.0.0.1:{free_port()}"
    process = subprocess.Popen(
        [*command, "--uri", uri],
        env=os.environ | {"PYTHONUNBUFFERED": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == f"{uri} speaks through {live.url}.\n"
    found = asyncio.run(_talk(int(uri.rpartition(":")[2]), [Synthesize("Hello.")], AudioStop))
    assert seconds(found) > 0.3
    process.send_signal(signal.SIGTERM)
    out, err = process.communicate(timeout=20)
    assert process.returncode == 0 and out == "Stopped.\n" and err == ""
