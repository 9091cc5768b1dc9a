"""Step 5: pico's tokenizer.json.

One token for a phone, one for a phrase of the standard prompts, one for a byte of all else.

python recipes/pico/tokenizer.py --out tokenizer.json
"""

from __future__ import annotations

import argparse
from pathlib import Path

from tokenizers import AddedToken, Tokenizer, decoders, models
from voices import TEACHERS

from faster_higgs.prompt import conversation, tokens
from faster_higgs.text.lexicon import PHONES

# Their order is the order of their ids.
SPECIALS = [
    tokens.BEGIN_OF_TEXT,
    tokens.END_OF_TEXT,
    tokens.START_HEADER,
    tokens.END_HEADER,
    tokens.EOM,
    tokens.EOT,
    tokens.AUDIO_BOS,
    tokens.AUDIO_EOS,
    tokens.AUDIO_OUT_BOS,
    "<|reserved_special_token_6|>",
    tokens.AUDIO_IN,
    tokens.AUDIO_OUT,
    tokens.RECIPIENT,
    *tokens.SCENE_MARKS,
    *tokens.INSTRUCTION_MARKS,
    *tokens.SOUND_TAGS,
]
PHRASES = [
    *("system", "user", "assistant", "\n\n"),
    conversation.INSTRUCTION,
    conversation.QUIET_ROOM,
    *conversation.DIALOGUE_INSTRUCTION.split("\n"),
    *(teacher.description for teacher in TEACHERS.values()),
    *(f"SPEAKER{i}: " for i in range(10)),
    *(f"[SPEAKER{i}]" for i in range(10)),
    *("feminine", "masculine"),
]


def build() -> Tokenizer:
    """Single characters, bytes for those not listed, and whole phrases; nothing else is joined."""
    characters = (
        [chr(c) for c in range(32, 127)]
        + ["\n"]
        + [p for _, p, _ in PHONES if len(p) == 1 and not p.isascii()]
    )
    vocabulary = [f"<0x{byte:02X}>" for byte in range(256)] + sorted(set(characters))
    tokenizer = Tokenizer(
        models.BPE(vocab={t: i for i, t in enumerate(vocabulary)}, merges=[], byte_fallback=True)
    )
    tokenizer.decoder = decoders.Sequence([decoders.ByteFallback(), decoders.Fuse()])
    longer = [p for _, p, _ in PHONES if len(p) > 1]
    tokenizer.add_tokens([AddedToken(t, normalized=False) for t in [*longer, *PHRASES]])
    tokenizer.add_special_tokens([AddedToken(t, normalized=False, special=True) for t in SPECIALS])
    return tokenizer


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    tokenizer = build()
    tokenizer.save(str(args.out))
    print(f"{tokenizer.get_vocab_size()} tokens")


if __name__ == "__main__":
    main()
