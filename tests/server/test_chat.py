"""POST /v1/chat/completions with audio, as OpenAI's own client sends and reads it."""

from __future__ import annotations

import asyncio
import base64

import numpy as np
import openai
import pytest

from faster_higgs.audio.encode import encode
from faster_higgs.errors import EngineError
from faster_higgs.speech import Higgs
from faster_higgs.testing import spoken, tones
from tests.server.conftest import Live, Reply, Witness, seconds, serving

TEXT = "Hello there, my friend. [pause:500ms] How are you?"
TURNS = "[SPEAKER0] Hello. [SPEAKER1] Hi."
SAID = "Hello there, my friend. How are you?"
SAMPLES = np.concatenate(
    [
        tones(spoken("Hello there, my friend.")),
        np.zeros(12_000, np.float32),
        tones(spoken("How are you?")),
    ]
)
CLIP = base64.b64encode(encode(tones(spoken("A clip of Carol for the test.")), "wav")).decode()
HEARD = {"type": "input_audio", "input_audio": {"data": CLIP, "format": "wav"}}
ASKED = {
    "model": "higgs-audio-v2",
    "modalities": ["text", "audio"],
    "audio": {"format": "wav", "voice": "alice"},
    "messages": [{"role": "user", "content": TEXT}],
}
CLONING = [
    {"role": "user", "content": "A clip of Carol for the test."},
    {"role": "assistant", "content": [HEARD]},
    {"role": "user", "content": [{"type": "text", "text": TEXT}]},
]


@pytest.fixture(scope="module")
def client(live):
    with openai.OpenAI(base_url=f"{live.url}/v1", api_key="EMPTY", max_retries=0) as made:
        yield made


def ask(live: Live, **fields) -> Reply:
    return live.ask("/v1/chat/completions", ASKED | fields)


class TestWhole:
    @pytest.mark.parametrize("format", ["wav", "aac", "mp3", "flac", "opus"])
    def test_an_answer_is_a_message_with_sound(self, client, format):
        found = client.chat.completions.create(
            **ASKED | {"audio": {"format": format, "voice": "alice"}}
        )
        choice = found.choices[0]
        assert choice.finish_reason == "stop" and choice.message.content is None
        data = base64.b64decode(choice.message.audio.data)
        assert seconds(data) == pytest.approx(len(SAMPLES) / 24_000, abs=0.15)
        assert choice.message.audio.transcript == SAID
        assert found.object == "chat.completion" and found.model == "higgs-audio-v2"

    def test_pcm16_is_16_bit(self, client):
        asked = ASKED | {"audio": {"format": "pcm16", "voice": "alice"}}
        data = client.chat.completions.create(**asked).choices[0].message.audio.data
        assert base64.b64decode(data) == encode(SAMPLES, "pcm")

    def test_usage_counts_sound_and_text(self, client):
        alone = client.chat.completions.create(
            **ASKED | {"audio": {"format": "wav", "voice": "alloy"}}
        )
        voiced = client.chat.completions.create(**ASKED)
        used = voiced.usage
        assert used.total_tokens == used.prompt_tokens + used.completion_tokens
        assert used.completion_tokens_details.audio_tokens == used.completion_tokens
        details = used.prompt_tokens_details
        frames = 2 * len("A clip of Alice for tests.")
        assert details.audio_tokens == 2 * (frames + 9)  # the clip stands before each utterance
        assert details.text_tokens == used.prompt_tokens - details.audio_tokens
        assert alone.usage.completion_tokens == used.completion_tokens

    def test_a_clip_and_what_is_said_in_it_are_the_voice(self, live, client):
        found = client.chat.completions.with_raw_response.create(**ASKED | {"messages": CLONING})
        assert found.headers["x-voice"] == "reference"
        assert found.headers["x-ignored-params"] == "audio.voice"
        assert found.parse().choices[0].message.audio.transcript == SAID
        voices = live.service.higgs.asked[-1][1]
        assert [voice.transcript for voice in voices] == ["A clip of Carol for the test."]
        assert voices[0].codes.equal(spoken("A clip of Carol for the test."))

    def test_clips_of_several_speak_their_turns(self, live, client):
        messages = [*CLONING[:2], *CLONING[:2], {"role": "user", "content": TURNS}]
        found = client.chat.completions.create(**ASKED | {"messages": messages})
        assert found.choices[0].message.audio.transcript == "Hello. Hi."
        assert len(live.service.higgs.asked[-1][1]) == 2

    def test_an_answer_speaks_on_by_its_id(self):
        """The message as it came is sent back, as chats are held."""
        with Witness() as higgs, serving(higgs) as live:
            url = f"{live.url}/v1"
            with openai.OpenAI(base_url=url, api_key="x", max_retries=0) as client:
                messages = [*ASKED["messages"]]
                for turn in range(2):
                    found = client.chat.completions.with_raw_response.create(
                        **ASKED | {"messages": messages}
                    )
                    message = found.parse().choices[0].message
                    assert found.headers["x-voice"] == ("take" if turn else "alice")
                    messages += [message, {"role": "user", "content": f"And {turn} more."}]
                assert message.audio.transcript == "And zero more."

    def test_the_system_message_is_the_systems(self, live, client):
        for role in ("system", "developer"):
            system = {"role": role, "content": "Speak as a pirate."}
            client.chat.completions.create(**ASKED | {"messages": [system, *ASKED["messages"]]})
            assert live.service.higgs.asked[-1][3].system == "Speak as a pirate."

    def test_how_it_is_drawn_is_heard(self, live, client):
        client.chat.completions.create(
            **ASKED,
            temperature=0.7,
            top_p=0.5,
            seed=9,
            max_completion_tokens=300,
            stop=["<|eot_id|>"],
            extra_body={"top_k": 3, "ras_win_len": 5},
        )
        drawn = live.service.higgs.asked[-1][2]
        assert (drawn.temperature, drawn.top_p, drawn.top_k, drawn.seed) == (0.7, 0.5, 3, 9)
        assert (drawn.max_new_tokens, drawn.ras_window) == (300, 5)

    def test_too_few_tokens_are_told_as_length(self, client):
        found = client.chat.completions.create(**ASKED, max_completion_tokens=40)
        assert found.choices[0].finish_reason == "length"

    def test_without_a_voice_or_a_format(self, live):
        reply = live.ask("/v1/chat/completions", {"messages": ASKED["messages"]})
        data = base64.b64decode(reply.json["choices"][0]["message"]["audio"]["data"])
        assert data[:4] == b"RIFF" and reply.headers["x-voice"] == "chosen by the model"

    def test_what_changes_nothing_is_told(self, client):
        found = client.chat.completions.with_raw_response.create(
            **ASKED, user="me", n=1, frequency_penalty=0, store=False, metadata={"a": "b"}
        )
        assert found.headers["x-ignored-params"] == "user, metadata"


class TestStream:
    STREAMED = ASKED | {"audio": {"format": "pcm16", "voice": "alice"}, "stream": True}

    def test_pieces_are_the_whole(self, client):
        stream = client.chat.completions.create(
            **self.STREAMED, stream_options={"include_usage": True}
        )
        chunks = list(stream)
        *chunks, last = chunks
        deltas = [one.choices[0].delta for one in chunks]
        sound = [delta.audio for delta in deltas if delta.audio]
        data = b"".join(base64.b64decode(one.data) for one in sound if one.data)
        assert data == encode(SAMPLES, "pcm")
        assert "".join(one.transcript or "" for one in sound) == SAID
        assert deltas[0].role == "assistant" and sound[0].id.startswith("take_")
        assert sum(one.data is not None for one in sound) > 2
        assert [one.choices[0].finish_reason for one in chunks[-2:]] == ["stop", None]
        assert sound[-1].expires_at is not None and sound[-1].data is None
        assert not last.choices and last.usage.completion_tokens > 0
        assert len({one.id for one in chunks}) == 1

    def test_the_asynchronous_client(self, live):
        async def speak() -> tuple[bytes, str]:
            async with openai.AsyncOpenAI(base_url=f"{live.url}/v1", api_key="x") as client:
                data = b""
                async for one in await client.chat.completions.create(**self.STREAMED):
                    audio = one.choices[0].delta.audio
                    data += base64.b64decode(audio.data or "") if audio else b""
                whole = await client.chat.completions.create(**ASKED)
                return data, whole.choices[0].message.audio.transcript

        assert asyncio.run(speak()) == (encode(SAMPLES, "pcm"), SAID)

    def test_what_is_wrong_is_told_before_the_first_piece(self, client):
        asked = self.STREAMED | {"audio": {"format": "pcm16", "voice": "nobody"}}
        with pytest.raises(openai.BadRequestError) as caught:
            client.chat.completions.create(**asked)
        assert caught.value.param == "audio.voice"

    def test_what_goes_wrong_later_is_raised_while_it_is_read(self, client, monkeypatch):
        def broken(higgs, answer):
            if answer.utterance.text == "How are you?":
                raise EngineError("The engine stopped.")
            yield from whole(higgs, answer)

        whole = Higgs._sound
        monkeypatch.setattr(Higgs, "_sound", broken)
        stream = client.chat.completions.create(**self.STREAMED)
        with pytest.raises(openai.APIError, match="The engine stopped"):
            list(stream)


def heard(*content) -> dict:
    return {"messages": [CLONING[0], *content, CLONING[2]]}


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"n": 2}, "n"),
        ({"tools": [{"type": "function", "function": {"name": "f"}}]}, "tools"),
        ({"tool_choice": "required"}, "tool_choice"),
        ({"response_format": {"type": "json_object"}}, "response_format"),
        ({"logprobs": True}, "logprobs"),
        ({"logit_bias": {"1": 2}}, "logit_bias"),
        ({"frequency_penalty": 0.5}, "frequency_penalty"),
        ({"store": True}, "store"),
        ({"modalities": ["text"]}, "modalities"),
        ({"stop": "the end"}, "stop"),
        ({"stream": True}, "audio.format"),
        ({"stream_options": {"include_usage": True}}, "stream_options"),
        ({"max_tokens": 100, "max_completion_tokens": 200}, "max_tokens"),
        ({"audio": {"format": "aiff", "voice": "alice"}}, "audio.format"),
        ({"audio": {"format": "wav", "voice": "nobody"}}, "audio.voice"),
        ({"audio": {"voice": "alice"}}, "audio.format"),
        ({"wish": 1}, "wish"),
        ({"messages": []}, "messages"),
        ({"messages": [{"role": "user", "content": ""}]}, "messages"),
        ({"messages": [{"role": "user", "content": "a" * 5000}]}, "messages"),
        ({"messages": [{"role": "user", "content": [HEARD]}]}, "messages.0"),
        ({"messages": [{"role": "tool", "content": "Hi."}]}, "messages.0.role"),
        ({"messages": CLONING[:2]}, "messages"),
        (heard(), "messages.1"),
        (heard({"role": "assistant", "content": "Hello."}), "messages.1"),
        (heard({"role": "assistant", "content": [HEARD, HEARD]}), "messages.1"),
        (heard({"role": "assistant", "audio": {"id": "take_0"}}), "messages.1.audio.id"),
        (heard({"role": "assistant", "tool_calls": []}), "messages.1.tool_calls"),
        (
            {"messages": [{"role": "user", "content": [{"type": "image_url"}]}]},
            "messages.0.content.0.type",
        ),
    ],
)
def test_what_cannot_be_followed_is_named(live, fields, param):
    refused = ask(live, **fields)
    assert refused.status == 400, refused.body
    assert refused.error["param"] == param and refused.error["message"]
