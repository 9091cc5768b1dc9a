"""Files that say that nobody spoke them, where the operator wants it."""

from __future__ import annotations

import io

import av
import pytest

from faster_higgs.server.settings import SYNTHETIC
from faster_higgs.testing import FakeHiggs
from tests.server.conftest import serving


@pytest.mark.parametrize("on", [True, False])
def test_a_file_says_it_or_not(on):
    with FakeHiggs() as higgs, serving(higgs, mark_synthetic=on, warmup=False) as live:
        for format in ("wav", "mp3", "flac", "opus"):
            for stream in (None, False):
                body = live.speak(response_format=format, stream=stream).body
                with av.open(io.BytesIO(body)) as file:
                    told = {**file.metadata, **file.streams.audio[0].metadata}
                assert (SYNTHETIC in told.values()) == on, (format, stream, told)
        for format in ("pcm", "aac"):
            assert SYNTHETIC.encode() not in live.speak(response_format=format).body
