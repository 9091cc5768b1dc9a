"""Consents: recordings in which somebody agrees that a voice is made, beside the voices.

A folder holds, for each, ID.json with its name, language and time, and the recording ID.SUFFIX.
Knows nothing of which voices refer to them.
"""

from __future__ import annotations

import json
import re
import secrets
import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from faster_higgs.errors import unwritten

FOLDER = "consents"  # in a folder of voices
ID = re.compile(r"cons_[0-9a-f]{24}")


@dataclass(frozen=True)
class Consent:
    """What is known of a recording; `created_at` is in seconds since 1970."""

    id: str
    name: str
    language: str
    created_at: int
    recording: str  # the name of its file


class ConsentStore:
    """The consents of a folder, which is made when it is needed."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def list(self) -> list[Consent]:
        """All of them, the newest first."""
        found = (self.find(path.stem) for path in self._folder.glob("*.json"))
        there = [consent for consent in found if consent is not None]
        return sorted(there, key=lambda one: (one.created_at, one.id), reverse=True)

    def find(self, id: str) -> Consent | None:
        """One by its id, which is never taken for a path unless it is one."""
        if not ID.fullmatch(id):
            return None
        try:
            return Consent(**json.loads(self._about(id).read_text(encoding="utf-8")))
        except (OSError, ValueError, TypeError):
            return None  # gone, or not ours

    def add(self, name: str, language: str, recording: bytes, suffix: str) -> Consent:
        """Keep a recording. A failure changes nothing; raises OutputError, CheckpointError."""
        id = f"cons_{secrets.token_hex(12)}"
        consent = Consent(id, name, language, int(time.time()), f"{id}{suffix}")
        self._place({consent.recording: recording, f"{id}.json": _written(consent)})
        return consent

    def rename(self, consent: Consent, name: str) -> Consent:
        """The same under another name."""
        renamed = replace(consent, name=name)
        self._place({f"{consent.id}.json": _written(renamed)})
        return renamed

    def remove(self, consent: Consent) -> None:
        """Delete it."""
        try:
            for path in (self._about(consent.id), self._folder / consent.recording):
                path.unlink(missing_ok=True)
        except OSError as error:
            raise _unwritten(self._folder, error) from None

    def _about(self, id: str) -> Path:
        return self._folder / f"{id}.json"

    def _place(self, files: dict[str, bytes]) -> None:
        """Files in their places, all of them whole; the last makes them a consent."""
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            with TemporaryDirectory(dir=self._folder, prefix=".adding-") as part:
                for name, content in files.items():
                    (Path(part) / name).write_bytes(content)
                for name in files:
                    (Path(part) / name).replace(self._folder / name)
        except OSError as error:
            raise _unwritten(self._folder, error) from None


def _written(consent: Consent) -> bytes:
    return json.dumps(asdict(consent), ensure_ascii=False).encode()


def _unwritten(folder: Path, error: OSError) -> Any:
    return unwritten(f"The consents in {folder} cannot be written: {error.strerror}.", error)
