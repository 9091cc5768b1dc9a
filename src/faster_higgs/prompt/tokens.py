"""Names and ids of special tokens, and a thin text tokenizer. Knows nothing of conversations.

Text is encoded piece by piece, and a special token inside a piece counts only if the caller allows
it: what a user types can never become a token that steers the model.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Protocol

import tokenizers

from faster_higgs.config import ModelConfig
from faster_higgs.errors import CheckpointError, CheckpointNotFound

BEGIN_OF_TEXT = "<|begin_of_text|>"
END_OF_TEXT = "<|end_of_text|>"
START_HEADER, END_HEADER = "<|start_header_id|>", "<|end_header_id|>"
EOM, EOT = "<|eom_id|>", "<|eot_id|>"
AUDIO_BOS, AUDIO_IN, AUDIO_EOS = "<|audio_bos|>", "<|AUDIO|>", "<|audio_eos|>"
AUDIO_OUT_BOS, AUDIO_OUT = "<|audio_out_bos|>", "<|AUDIO_OUT|>"
RECIPIENT = "<|recipient|>"
SCENE_START, SCENE_END = "<|scene_desc_start|>", "<|scene_desc_end|>"
INSTRUCTION_START, INSTRUCTION_END = (
    "<|generation_instruction_start|>",
    "<|generation_instruction_end|>",
)
SOUND_TAGS = ("<SE>", "</SE>", "<SE_s>", "</SE_s>", "<SE_e>", "</SE_e>")
SCENE_MARKS = (SCENE_START, SCENE_END)
INSTRUCTION_MARKS = (INSTRUCTION_START, INSTRUCTION_END)

REQUIRED = (
    *(BEGIN_OF_TEXT, END_OF_TEXT, START_HEADER, END_HEADER, EOM, EOT),
    *(AUDIO_BOS, AUDIO_IN, AUDIO_EOS, AUDIO_OUT_BOS, AUDIO_OUT),
    RECIPIENT,
    *SCENE_MARKS,
)


class Tokenizer(Protocol):
    """What the prompt builder needs: text without specials to ids, and ids of specials."""

    def text(self, text: str) -> list[int]:
        """Ids of `text`; special strings inside it are ordinary characters."""

    def special(self, name: str) -> int:
        """Id of a special token."""


class TextTokenizer:
    """A `tokenizer.json` from the checkpoint's folder."""

    def __init__(self, tokenizer: tokenizers.Tokenizer) -> None:
        self._tokenizer = tokenizer
        self._tokenizer.encode_special_tokens = True
        missing = [name for name in REQUIRED if tokenizer.token_to_id(name) is None]
        if missing:
            raise CheckpointError(
                f"The tokenizer lacks {', '.join(missing[:4])}; "
                "it is not the tokenizer of a Higgs Audio v2 checkpoint."
            )

    @classmethod
    def load(cls, folder: Path) -> TextTokenizer:
        """Raises CheckpointNotFound without a tokenizer.json, CheckpointError if it is broken."""
        path = folder / "tokenizer.json"
        if not path.is_file():
            raise CheckpointNotFound(
                f"No tokenizer.json in {folder}; download the whole checkpoint folder."
            )
        try:
            return cls(tokenizers.Tokenizer.from_file(str(path)))
        except CheckpointError:
            raise
        except Exception as error:  # noqa: BLE001  the library raises bare Exception for a broken file
            raise CheckpointError(
                f"{path} cannot be read as a tokenizer ({error}); download it again."
            ) from None

    def refuse_other_ids(self, config: ModelConfig) -> None:
        """Raises CheckpointError when a model of `config` has other ids for the audio tokens."""
        wanted = {
            AUDIO_OUT_BOS: config.audio_out_bos_token_id,
            AUDIO_OUT: config.audio_out_token_id,
            AUDIO_IN: config.audio_in_token_id,
            AUDIO_EOS: config.audio_eos_token_id,
        }
        for name, id in wanted.items():
            if self.special(name) != id:
                raise CheckpointError(
                    f"The tokenizer writes {name} as {self.special(name)} and the model reads it "
                    f"as {id}; use the tokenizer.json that came with the model."
                )

    def text(self, text: str) -> list[int]:
        """Ids of `text`; special strings inside it are ordinary characters."""
        return list(self._tokenizer.encode(text, add_special_tokens=False).ids)

    def special(self, name: str) -> int:
        """Id of a special token. Raises CheckpointError when the vocabulary lacks it."""
        found = self._tokenizer.token_to_id(name)
        if found is None:
            raise CheckpointError(
                f"The tokenizer has no token {name}; the checkpoint cannot be used for this prompt."
            )
        return int(found)

    def decode(self, ids: Iterable[int]) -> str:
        """Text of generated ids, special tokens left out."""
        return str(self._tokenizer.decode(list(ids), skip_special_tokens=True))


def encode(tokenizer: Tokenizer, text: str, allowed: Iterable[str] = ()) -> list[int]:
    """Ids of one piece of text in which only the specials in `allowed` have their meaning."""
    names = list(allowed)
    if not names:
        return tokenizer.text(text) if text else []
    ids: list[int] = []
    for piece in re.split(f"({'|'.join(map(re.escape, names))})", text):
        if piece in names:
            ids.append(tokenizer.special(piece))
        elif piece:
            ids += tokenizer.text(piece)
    return ids
