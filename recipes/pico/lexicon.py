"""Step 5: how English words sound, asked of flite once, packed. Knows nothing of sound or models.

    python recipes/pico/lexicon.py             build the packaged file (three minutes, in one go)
    python recipes/pico/lexicon.py --check     compare it with flite on whole sentences

Words come from Debian's `wamerican` (SCOWL) and `wordnet-base`; what is shipped is what flite said
to them. Letter-to-sound trees (letters.py) are grown on all words, and every word that the trees
misread becomes an exception. Before that, a twentieth of the words, chosen by hash, is held out of
a first set of trees to measure how well words are read that nobody listed.
"""

from __future__ import annotations

import argparse
import random
import re
import struct
import subprocess
import unicodedata
import zlib
from collections import Counter
from itertools import accumulate
from pathlib import Path

from data import replacing
from letters import align_all, grow_all

from faster_higgs.text import lexicon as lx
from faster_higgs.text.languages.en import WORDLIKE_ACRONYMS
from faster_higgs.text.pronounce import LETTER_NAMES, Pronouncer

WORDNET = Path("/usr/share/wordnet")
WORDS = Path("/usr/share/dict/american-english")
PARTS = ("noun", "verb", "adj", "adv")
OUT = Path(__file__).parents[2] / "src/faster_higgs/pico/lexicon.bin"

# Names and new words that the two lists lack; how they sound is asked like all others.
MORE = """
    aaliyah aiden alejandro alexa alibaba amazon android anthropic app apps aria asher astrazeneca
    ava ayden beyonce bitcoin blog blogger blogging bluetooth brayden brexit brooklyn caden camila
    carlos carter charlotte chatbot chatgpt chloe clickbait coronavirus covid crowdfunding
    cryptocurrency cybersecurity dataset datasets deepfake diego dropbox eduardo ella emma ethan
    evelyn facebook fernando fintech firefox fitbit freemium gamer gavin genomics github giuseppe
    gmail google googled googling harper hashtag hashtags hiroshi hotspot hyperlink ibrahim
    instagram internet ipad iphone isabella jackson jayden jenna jorge kaiden kaitlyn kayla
    kubernetes kumar landon layla liam linkedin linux lockdown logan luca lucia luis mackenzie
    malware mason mateo mia microservice miguel mila mohammed motorola muhammad multimodal naomi
    nathan netflix nguyen noah nolan nvidia obama offline olivia online opensource paolo paypal
    paywall pedro podcast podcasts priya putin python pytorch rajesh ransomware raspberry reddit
    robotics ryan samsung santiago satya savannah selfie selfies severus siri skype smartphone
    smartphones smartwatch snapchat sofia spotify spyware startup startups streaming sudoku sundar
    taliban tesla tiktok timestamp tokenizer touchscreen trump tweet tweeted tweets uber ubuntu
    unfollow unfriend upload uploaded username vegan vietnam vimeo vlog voicemail waymo webcam
    webinar website websites whatsapp wifi wiki wikipedia wireless wyatt xavier xiaomi yahoo yoga
    youtube youtuber yusuf zelensky zoe zoom
"""

# Where flite's answer is plainly wrong, or too rare a word to be meant.
MENDED = {
    "hmm": "hh m", "mm": "m", "shh": "sh", "brr": "b er", "live": "l ih v", "lives": "l ih v z",
    "lead": "l iy d", "read": "r eh d", "object": "aa b jh eh k t", "upset": "ah p s eh t",
    "email": "iy m ey l", "i'm": "ay m", "haven't": "hh ae v ax n t", "mr": "m ih s t er",
    "mrs": "m ih s ax z", "ms": "m ih z", "dr": "d aa k t er", "st": "s ey n t", "use": "y uw s",
    "uses": "y uw z ax z",
}  # fmt: skip
# Words of two sounds: the second, and where it is said (the keys are those of USES).
HOMOGRAPHS_BY_HAND = {
    ("live", "noun"): "l ay v", ("lives", "noun"): "l ay v z", ("object", "verb"): "ax b jh eh k t",
    ("read", "infinitive"): "r iy d", ("read", "first"): "r iy d", ("close", "first"): "k l ow z",
    ("use", "verb"): "y uw z", ("use", "first"): "y uw z", ("uses", "noun"): "y uw s ax z",
}  # fmt: skip


def known_words(words: Path = WORDS, wordnet: Path = WORDNET) -> tuple[set[str], set[str]]:
    """All words in lower case, and those among them that are not only acronyms."""
    written = set(words.read_text().split())
    for part in PARTS:
        for line in (wordnet / f"data.{part}").read_text().splitlines():
            if not line.startswith(" "):
                fields = line.split("|")[0].split()
                written.update(
                    re.sub(r"\(.*", "", word) for word in fields[4 : 4 + 2 * int(fields[3], 16) : 2]
                )
    written |= set(MORE.split())
    parts = (part for word in written for part in re.split(r"[_\-/ ]", unaccented(word)))
    stripped = {part.strip("'") for part in parts if len(part) <= 32}
    pieces = {part for part in stripped if re.fullmatch(r"[a-zA-Z]+('[a-zA-Z]+)*", part)}
    plain = {piece.lower() for piece in pieces if not (len(piece) > 1 and piece.isupper())}
    return {piece.lower() for piece in pieces}, plain | {word.lower() for word in WORDLIKE_ACRONYMS}


def unaccented(word: str) -> str:
    return "".join(c for c in unicodedata.normalize("NFKD", word) if not unicodedata.combining(c))


def flite(texts: list[str]) -> list[list[str]]:
    """The phones of each text; texts that flite would cut in two are asked alone."""
    command = ["flite", "-voice", "kal16", "-ps", "-f", "/dev/stdin", "-o", "none"]
    answers: list[list[str]] = []
    for begin in range(0, len(texts), 500):
        batch = texts[begin : begin + 500]
        if begin % 20_000 == 0:
            print(f"flite: {begin:,} of {len(texts):,} texts", flush=True)
        lines = run(command, batch)
        if len(lines) != len(batch):
            lines = [" ".join(run(command, [text])) for text in batch]
        answers += [[phone for phone in line.split() if phone != "pau"] for line in lines]
    return answers


def run(command: list[str], texts: list[str]) -> list[str]:
    given = "".join(f"{text}\n\n" for text in texts)
    done = subprocess.run(command, input=given, check=True, capture_output=True, text=True)
    return done.stdout.splitlines()


def ask(words: list[str]) -> tuple[dict[str, str], dict[tuple[str, str], str]]:
    """How flite says each word, and how it says those that sound different after "to"."""
    sounds = {word: encode(phones) for word, phones in zip(words, flite(words), strict=True)}
    sounds |= {word: lx.code(names) for word, names in MENDED.items()}
    sounds = {word: codes for word, codes in sounds.items() if codes}
    tried = [word for word in words if "'" not in word and 3 < len(word) < 14 and word != "shit"]
    as_verb = after("to", "t ax", tried)
    odd = [word for word in tried if as_verb[word] != sounds[word] and word not in MENDED]
    as_noun = after("my", "m ay", odd)
    homographs = {(word, "verb"): as_verb[word] for word in odd if as_noun[word] != as_verb[word]}
    sounds |= {word: as_verb[word] for word in odd if as_noun[word] == as_verb[word]}
    return sounds, homographs | {key: lx.code(names) for key, names in HOMOGRAPHS_BY_HAND.items()}


def after(word: str, spoken: str, words: list[str]) -> dict[str, str]:
    """How flite says words after another, whose own phones are known."""
    answers = flite([f"{word} {each}" for each in words])
    return {
        w: encode(phones)[len(spoken.split()) :] for w, phones in zip(words, answers, strict=True)
    }


def encode(phones: list[str]) -> str:
    return lx.code(" ".join(phones))


def sections(answers: list[str], trees: dict[str, bytes]) -> dict[str, bytes]:
    """A lexicon that knows no word, only how to read."""
    ends = accumulate(len(trees[c]) for c in lx.ALPHABET[1:])
    body = struct.pack("<26I", *ends) + b"".join(trees[c] for c in lx.ALPHABET[1:])
    empty = dict.fromkeys(lx.SECTIONS, b"")
    return empty | {"answers": "\n".join(answers).encode(), "trees": body}


def readable(sounds: dict[str, str]) -> dict[str, str]:
    """The words that are read, not spelled; in two letters at least."""
    spelled = {word: "".join(LETTER_NAMES.get(c, "") for c in word) for word in sounds}
    return {
        w: s
        for w, s in sounds.items()
        if "'" not in w and len(w) > 1 and s != spelled[w] and w not in MENDED
    }


def build(out: Path) -> None:
    """Ask, align, grow, list the exceptions, write."""
    every, plain = known_words()
    sounds, homographs = ask(sorted(every))
    read = readable(sounds)
    aligned = align_all(read)
    measure(read, aligned)
    parts = sections(*grow_all(aligned))
    known = sorted(w for w in plain if w in read and len(w) <= lx.LONGEST_KNOWN)
    parts["known"] = lx.squeeze(known)
    second = [f"{word}\t{use}\t{s}" for (word, use), s in sorted(homographs.items())]
    parts["homographs"] = lx.squeeze(second)
    exceptions: dict[str, str] = {}
    for has_apostrophe in (False, True):  # John's is made from John, so John comes first
        speaker = Pronouncer(lx.Lexicon(parts))
        words = [word for word in sounds if ("'" in word) == has_apostrophe]
        exceptions |= {word: sounds[word] for word in words if speaker.word(word) != sounds[word]}
        parts["exceptions"] = lx.squeeze([f"{word}\t{s}" for word, s in sorted(exceptions.items())])
    with replacing(out) as part:
        part.write_bytes(lx.pack(parts))
    sizes = ", ".join(f"{name} {len(part):,}" for name, part in parts.items())
    print(f"{len(sounds):,} words, {len(exceptions):,} exceptions; {sizes}")
    print(f"{out.stat().st_size:,} bytes packed")


def measure(sounds: dict[str, str], aligned: dict[str, list[str]]) -> None:
    """Words and phones right when a twentieth of the words is held out."""
    held = {word for word in sounds if zlib.crc32(b"held" + word.encode()) % 20 == 0}
    reader = lx.Lexicon(sections(*grow_all({w: a for w, a in aligned.items() if w not in held})))
    guesses = {word: reader.read(word) for word in sorted(held)}
    right = sum(guesses[word] == sounds[word] for word in held)
    wrong = sum(distance(guesses[word], sounds[word]) for word in held)
    total = sum(len(sounds[word]) for word in held)
    print(f"held out: {len(held):,} words, {right / len(held):.1%} right", end="; ")
    print(f"phones wrong {wrong / total:.1%}")


def distance(a: str, b: str) -> int:
    """Insertions, deletions and substitutions between two strings of codes."""
    row = list(range(len(b) + 1))
    for i, x in enumerate(a, 1):
        corner, row[0] = row[0], i
        for j, y in enumerate(b, 1):
            corner, row[j] = row[j], min(corner + (x != y), row[j - 1] + 1, row[j] + 1)
    return row[-1]


def check(count: int = 500) -> None:
    """Phones that differ from flite on whole example sentences of WordNet, worst first."""
    pool = set()
    for part in PARTS:
        for quoted in re.findall(r'"([^"\n]+)"', (WORDNET / f"data.{part}").read_text()):
            if re.fullmatch(r"[A-Za-z' ,;?!.-]+", quoted) and 4 <= len(quoted.split()) <= 20:
                pool.add(quoted.strip())
    texts = random.Random(7).sample(sorted(pool), count)
    speaker, wrong, total, pairs = Pronouncer.load(), 0, 0, Counter()
    for text, phones in zip(texts, flite(texts), strict=True):
        theirs, ours = encode(phones), "".join(speaker.codes(text))
        edits = distance(ours, theirs)
        wrong, total = wrong + edits, total + len(theirs)
        if edits:
            pairs[f"{edits}: {text} | {lx.letters(ours)} | {lx.letters(theirs)}"] += edits
    for line, _ in pairs.most_common(25):
        print(line)
    print(f"{count} sentences, {total} phones, {wrong / total:.2%} differ from flite")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=OUT)
    parser.add_argument(
        "--check", action="store_true", help="compare the packaged lexicon with flite"
    )
    args = parser.parse_args()
    check() if args.check else build(args.out)


if __name__ == "__main__":
    main()
