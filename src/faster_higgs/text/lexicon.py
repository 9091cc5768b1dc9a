"""How single English words sound: a packed list of exceptions over a letter-to-sound tree. Knows
nothing of sentences.

A word is looked up among the exceptions and otherwise read letter by letter: the tree of each
letter asks for the letters around it and for the sound written last, and answers with the sounds of
that letter (none, one or two). The file is built by recipes/pico/lexicon.py, which puts among the
exceptions every known word that the trees get wrong, so that a known word always sounds as the
recipe was told.

Sounds are written one character each, in the code of `CODES`.
"""

from __future__ import annotations

import lzma
import struct
from collections.abc import Iterator
from functools import cached_property
from itertools import pairwise, takewhile
from pathlib import Path

from faster_higgs.errors import CheckpointError

PACKAGED = Path(__file__).parent.parent / "pico" / "lexicon.bin"
MAGIC = b"HIGGSLX1"
SECTIONS = ("answers", "trees", "exceptions", "homographs", "known")
ALPHABET = (
    " abcdefghijklmnopqrstuvwxyz"  # its index is what the trees ask for; 0 stands outside the word
)
OFFSETS = (-1, 1, -2, 2, -3, 3, -4, 4)  # the neighbours a tree may ask for, question 0 to 7
LAST_SOUND = len(OFFSETS)  # question 8
LONGEST_SHARED = 78  # so that its sign is printable
LEAF = 16  # tree bytes from here on are answers
LONGEST_KNOWN = (
    6  # the list of known words is there to tell STOP from FBI, so longer ones need not be listed
)

# The phone table: the synthesiser's name, pico's letter, an example.
PHONES: tuple[tuple[str, str, str], ...] = (
    ("aa", "ɑ", "father"), ("ae", "æ", "cat"), ("ah", "ʌ", "cup"), ("ao", "ɔ", "law"),
    ("aw", "aʊ", "now"), ("ax", "ə", "about"), ("axr", "ɚ", "butter"), ("ay", "aɪ", "my"),
    ("b", "b", "bee"), ("ch", "tʃ", "chin"), ("d", "d", "day"), ("dh", "ð", "this"),
    ("eh", "ɛ", "bed"), ("er", "ɝ", "bird"), ("ey", "eɪ", "say"), ("f", "f", "fee"),
    ("g", "ɡ", "go"), ("hh", "h", "he"), ("ih", "ɪ", "bit"), ("iy", "i", "bee"),
    ("jh", "dʒ", "joy"), ("k", "k", "key"), ("l", "l", "lie"), ("m", "m", "me"),
    ("n", "n", "no"), ("ng", "ŋ", "sing"), ("ow", "oʊ", "go"), ("oy", "ɔɪ", "boy"),
    ("p", "p", "pie"), ("r", "ɹ", "red"), ("s", "s", "see"), ("sh", "ʃ", "she"),
    ("t", "t", "tea"), ("th", "θ", "thin"), ("uh", "ʊ", "book"), ("uw", "u", "too"),
    ("v", "v", "vie"), ("w", "w", "we"), ("y", "j", "yes"), ("z", "z", "zoo"),
    ("zh", "ʒ", "vision"),
)  # fmt: skip
CODES = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmno"  # one character for each row of PHONES
CODE_OF = {name: code for code, (name, _, _) in zip(CODES, PHONES, strict=True)}
LETTER_OF = {code: letter for code, (_, letter, _) in zip(CODES, PHONES, strict=True)}

Tree = int | tuple[int, int, "Tree", "Tree"]


def code(names: str) -> str:
    """'hh ax l ow' -> one character per phone."""
    return "".join(CODE_OF[name] for name in names.split())


def letters(codes: str) -> str:
    """Codes in the alphabet that pico reads."""
    return "".join(LETTER_OF[each] for each in codes)


def pack(sections: dict[str, bytes]) -> bytes:
    """One file from the five sections; equal sections give equal bytes."""
    body = b"".join(struct.pack("<I", len(sections[name])) + sections[name] for name in SECTIONS)
    return MAGIC + lzma.compress(body, format=lzma.FORMAT_ALONE, preset=9 | lzma.PRESET_EXTREME)


def unpack(data: bytes, source: str) -> dict[str, bytes]:
    """The sections of a packed file."""
    if not data.startswith(MAGIC):
        raise CheckpointError(
            f"{source} is not a pronunciation file; install the package again to restore it."
        )
    sections, at = {}, 0
    try:
        body = lzma.decompress(data[len(MAGIC) :], format=lzma.FORMAT_ALONE)
        for name in SECTIONS:
            (size,) = struct.unpack_from("<I", body, at)
            sections[name] = body[at + 4 : at + 4 + size]
            at += 4 + size
    except (lzma.LZMAError, EOFError, struct.error) as error:
        raise CheckpointError(
            f"{source} is damaged ({error}); install the package again to restore it."
        ) from error
    return sections


def squeeze(rows: list[str]) -> bytes:
    """Sorted lines, each with the length it shares with the line before as one leading sign."""
    out, before = [], ""
    for row in rows:
        shared = _shared(before, row)
        out.append(chr(48 + shared) + row[shared:])
        before = row
    return "\n".join(out).encode("ascii")


def _shared(a: str, b: str) -> int:
    """How many signs two lines have in common at their beginning."""
    pairs = zip(a[:LONGEST_SHARED], b[:LONGEST_SHARED], strict=False)
    return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], pairs))


def unsqueeze(data: bytes) -> Iterator[str]:
    """The lines given to `squeeze`."""
    row = ""
    for line in data.decode("ascii").split("\n") if data else ():
        row = row[: ord(line[0]) - 48] + line[1:]
        yield row


def grow(tree: Iterator[int]) -> Tree:
    """A tree from its bytes: question, value, branch if equal, branch if not; or an answer."""
    first = next(tree)
    if first >= LEAF:
        return first - LEAF
    return first, next(tree), grow(tree), grow(tree)


class Lexicon:
    """Sounds of single words in lower case."""

    def __init__(self, sections: dict[str, bytes]) -> None:
        self._answers = sections["answers"].decode("ascii").split("\n")
        self._known = sections["known"]
        self._trees: dict[str, Tree] = {}
        ends = [0, *struct.unpack_from("<26I", sections["trees"])]
        body = sections["trees"][26 * 4 :]
        self._packed = {
            c: body[a:b] for c, (a, b) in zip(ALPHABET[1:], pairwise(ends), strict=True)
        }
        self._exceptions = dict(row.split("\t") for row in unsqueeze(sections["exceptions"]))
        self.homographs: dict[
            str, dict[str, str]
        ] = {}  # word -> use (USES of pronounce.py) -> sounds
        for row in unsqueeze(sections["homographs"]):
            word, use, sounds = row.split("\t")
            self.homographs.setdefault(word, {})[use] = sounds

    @classmethod
    def load(cls, path: Path) -> Lexicon:
        """Read a packed file."""
        try:
            data = path.read_bytes()
        except OSError as error:
            raise CheckpointError(
                f"The pronunciation file {path.name} cannot be read ({error.strerror}); "
                "install the package again to restore it."
            ) from error
        return cls(unpack(data, path.name))

    def exception(self, word: str) -> str | None:
        """The sounds of a word that the trees would misread; None for all others."""
        return self._exceptions.get(word)

    @cached_property
    def _words(self) -> frozenset[str]:
        return frozenset(unsqueeze(self._known))

    def is_known(self, word: str) -> bool:
        """Whether a word of at most `LONGEST_KNOWN` letters is in the word lists (not only as an
        acronym).
        """
        return word in self._words

    def read(self, word: str) -> str:
        """Letter-to-sound: any word of a to z, known or not, by the trees alone."""
        sounds = ""
        padded = "    " + word + "    "
        for at, letter in enumerate(word, start=4):
            asked = [ALPHABET.index(padded[at + offset]) for offset in OFFSETS]
            asked.append(CODES.index(sounds[-1]) + 1 if sounds else 0)
            tree = self._tree(letter)
            while not isinstance(tree, int):
                question, value, equal, other = tree
                tree = equal if asked[question] == value else other
            sounds += self._answers[tree]
        return sounds

    def _tree(self, letter: str) -> Tree:
        tree = self._trees.get(letter)
        if tree is None:
            tree = self._trees[letter] = grow(iter(self._packed[letter]))
        return tree
