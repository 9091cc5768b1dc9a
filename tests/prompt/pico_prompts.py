"""The prompts pico reads, for requests as a caller makes them; its network does not run.

    python -m tests.prompt.pico_prompts

writes golden_pico.jsonl anew, when pico's tokenizer, phrases or lexicon were meant to change. Knows
nothing of codes: any clip is the same ids.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Generator, Sequence
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from faster_higgs.checkpoint.files import PACKAGED
from faster_higgs.delivery import Delivery
from faster_higgs.engine.request import FrameEvent
from faster_higgs.prompt.template import Prompt
from faster_higgs.prompt.tokens import TextTokenizer
from faster_higgs.sampling import Sampling
from faster_higgs.testing import FakeHiggs

GOLDEN = Path(__file__).parent / "golden_pico.jsonl"


class Scribe(FakeHiggs):
    """pico with its own tokenizer, voices and manners, but tones for a model."""

    def __init__(self, folder: Path) -> None:
        """`folder` is empty: pico's voices are copied there, for they are encoded as tones."""
        shutil.copytree(PACKAGED / "voices", folder / "voices")
        shutil.copy(PACKAGED / "speech.json", folder)
        super().__init__(folder)
        self.tokenizer = TextTokenizer.load(PACKAGED)
        self.config = replace(self.config, text_input="phonemes")
        self.seen: list[list[int]] = []

    def frames(
        self, prompt: Prompt, sampling: Sampling, stop_ids: Sequence[int] = (), **urgency: Any
    ) -> Generator[FrameEvent]:
        """The prompt is written down; the answer is a tone for each of its last letters."""
        self.seen.append(list(prompt.ids))
        return super().frames(prompt, sampling, stop_ids, **urgency)

    def ids(self, request: dict[str, Any]) -> list[list[int]]:
        """The prompt of each utterance of a request: `text`, `voices`, and a `Delivery`'s names."""
        self.seen = []
        settings = {name: request[name] for name in request.keys() - {"text", "voices"}}
        self.speak(request["text"], request.get("voices"), delivery=Delivery(**settings))
        return self.seen


def stored() -> list[dict[str, Any]]:
    """The lines of the golden file: `name`, `request`, `ids`."""
    return [json.loads(line) for line in GOLDEN.read_text(encoding="utf-8").splitlines()]


def store() -> None:
    """The same requests with the ids of today."""
    with TemporaryDirectory() as folder:
        scribe = Scribe(Path(folder))
        lines = [line | {"ids": scribe.ids(line["request"])} for line in stored()]
    GOLDEN.write_text("".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines))


if __name__ == "__main__":
    store()
