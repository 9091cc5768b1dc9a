"""OpenAI's own client, with nothing changed but the base URL."""

from __future__ import annotations

import asyncio
import base64
import json

import openai
import pytest

from tests.server.conftest import SECONDS_PER_CHARACTER, Slow, seconds, serving, until

TEXT = "The quick brown fox jumps over the dog."
LENGTH = len(TEXT) * SECONDS_PER_CHARACTER
FORMATS = ["mp3", "opus", "aac", "flac", "wav"]
ASKED = {"model": "tts-1", "voice": "alloy", "input": TEXT}


@pytest.fixture(scope="module")
def client(live):
    with openai.OpenAI(base_url=f"{live.url}/v1", api_key="EMPTY", max_retries=0) as made:
        yield made


@pytest.mark.parametrize("format", FORMATS)
def test_create(client, format):
    answer = client.audio.speech.create(**ASKED, response_format=format)
    assert seconds(answer.content) == pytest.approx(LENGTH, abs=0.15)


def test_pcm_is_16_bit_at_24_khz(client):
    data = client.audio.speech.create(**ASKED, response_format="pcm").content
    assert len(data) / 48_000 == pytest.approx(LENGTH, abs=0.05)


def test_a_stream_to_a_file(client, tmp_path):
    with client.audio.speech.with_streaming_response.create(**ASKED, speed=2.0) as answer:
        assert answer.headers["x-request-id"]
        answer.stream_to_file(tmp_path / "a.mp3")
    assert seconds((tmp_path / "a.mp3").read_bytes()) == pytest.approx(LENGTH / 2, abs=0.15)


def test_events(client):
    with client.audio.speech.with_streaming_response.create(
        **ASKED, stream_format="sse", response_format="wav", instructions="Speak softly."
    ) as answer:
        lines = [line for line in answer.iter_lines() if line.startswith("data: ")]
    told = [json.loads(line.removeprefix("data: ")) for line in lines]
    data = b"".join(base64.b64decode(one["audio"]) for one in told[:-1])
    assert seconds(data) == pytest.approx(LENGTH, abs=0.05)
    assert told[-1]["type"] == "speech.audio.done" and told[-1]["usage"]["total_tokens"] > 0


def test_the_asynchronous_client(live):
    async def speak() -> tuple[bytes, bytes]:
        async with openai.AsyncOpenAI(base_url=f"{live.url}/v1", api_key="EMPTY") as client:
            whole = await client.audio.speech.create(**ASKED)
            async with client.audio.speech.with_streaming_response.create(**ASKED) as answer:
                return whole.content, b"".join([part async for part in answer.iter_bytes()])

    for data in asyncio.run(speak()):
        assert seconds(data) == pytest.approx(LENGTH, abs=0.15)


def test_models(client):
    ids = [model.id for model in client.models.list()]
    assert ids[0] == "fake-higgs" and "tts-1" in ids
    assert client.models.retrieve("tts-1").owned_by == "faster-higgs"
    with pytest.raises(openai.NotFoundError):
        client.models.retrieve("gpt-9")


@pytest.mark.parametrize(
    ("wrong", "family"),
    [
        ({"input": ""}, openai.BadRequestError),
        ({"voice": "nobody"}, openai.BadRequestError),
        ({"model": "gpt-9"}, openai.NotFoundError),
    ],
)
def test_errors_have_their_class(client, wrong, family):
    with pytest.raises(family) as caught:
        client.audio.speech.create(**ASKED | wrong)
    assert caught.value.request_id and caught.value.param in wrong


def test_a_wrong_key_and_a_right_one(live):
    with serving(live.service.higgs, api_keys=("first-key-1", "second-key")) as locked:
        url = f"{locked.url}/v1"
        with openai.OpenAI(base_url=url, api_key="second-key") as client:
            assert client.audio.speech.create(**ASKED).content
        with (
            openai.OpenAI(base_url=url, api_key="third-key", max_retries=0) as client,
            pytest.raises(openai.AuthenticationError),
        ):
            client.models.list()


def test_a_full_queue_is_tried_again():
    with Slow() as higgs, serving(higgs, warmup=False, max_running=1, max_queue=0) as live:
        asked = asyncio.new_event_loop()

        async def both() -> list[bytes]:
            url = f"{live.url}/v1"
            async with openai.AsyncOpenAI(base_url=url, api_key="EMPTY") as client:
                first = asyncio.ensure_future(client.audio.speech.create(**ASKED))
                await asyncio.to_thread(until, lambda: live.service.desk.running == 1)
                second = asyncio.ensure_future(client.audio.speech.create(**ASKED))
                await asyncio.to_thread(until, lambda: live.ask("/metrics").body.count(b'_full"'))
                higgs.go.release(1000)
                return [(await one).content for one in (first, second)]

        try:
            answers = asked.run_until_complete(both())
        finally:
            asked.close()
        assert len(answers) == 2 and all(answers)


def test_a_full_queue_without_retries_is_a_rate_limit():
    with Slow() as higgs, serving(higgs, warmup=False, max_running=1, max_queue=0) as live:

        async def both() -> None:
            url = f"{live.url}/v1"
            async with openai.AsyncOpenAI(base_url=url, api_key="x", max_retries=0) as client:
                first = asyncio.ensure_future(client.audio.speech.create(**ASKED))
                await asyncio.to_thread(until, lambda: live.service.desk.running == 1)
                with pytest.raises(openai.RateLimitError) as caught:
                    await client.audio.speech.create(**ASKED)
                assert caught.value.code == "queue_full"
                assert int(caught.value.response.headers["retry-after"]) >= 1
                higgs.go.release(1000)
                await first

        asyncio.run(both())


def test_voices_are_made_and_deleted(client, live, tmp_path):
    from faster_higgs.audio.save import save
    from faster_higgs.testing import spoken, tones

    clip = tmp_path / "clip.wav"
    save(clip, tones(spoken("Somebody says a sentence for the test.")))
    made = client.post(
        "/audio/voices",
        body={"name": "Carla", "consent": "cons_1", "ref_text": "A sentence."},
        files=[("audio_sample", ("clip.wav", clip.read_bytes(), "audio/wav"))],
        options={"headers": {"Content-Type": "multipart/form-data"}},
        cast_to=object,
    )
    assert made["id"] == "carla" and made["object"] == "audio.voice"
    spoken_by = client.audio.speech.with_raw_response.create(**ASKED | {"voice": {"id": "carla"}})
    assert spoken_by.headers["x-voice"] == "carla"
    gone = client.delete("/audio/voices/carla", cast_to=object)
    assert gone["deleted"] is True
