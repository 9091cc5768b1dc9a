"""How English is said, as data for pronounce.py in the phones of lexicon.py. Holds no rule."""

from __future__ import annotations

DIGITS = ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"]
LETTERS = {
    "a": "ey", "b": "b iy", "c": "s iy", "d": "d iy", "e": "iy", "f": "eh f", "g": "jh iy",
    "h": "ey ch", "i": "ay", "j": "jh ey", "k": "k ey", "l": "eh l", "m": "eh m", "n": "eh n",
    "o": "ow", "p": "p iy", "q": "k y uw", "r": "aa r", "s": "eh s", "t": "t iy", "u": "y uw",
    "v": "v iy", "w": "d ah b ax l y uw", "x": "eh k s", "y": "w ay", "z": "z iy",
}  # fmt: skip
# What follows the apostrophe of a word that is not in the lexicon ('s, 'd and n't have rules).
ENDINGS = {"ll": "ax l", "ve": "ax v", "re": "er", "m": "m"}


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


INFINITIVE = _words(
    """to can can't cannot could couldn't will won't would wouldn't shall should shouldn't may might
    must mustn't do don't does doesn't did didn't please let's i'll you'll we'll they'll he'll
    she'll it'll i'd you'd we'd they'd he'd she'd"""
)
# What a word of two sounds is, told by the word before; tried in this order.
USES = {
    "infinitive": INFINITIVE,
    "verb": INFINITIVE | _words("i you we they who that not never always often"),
    "noun": _words(
        """a an the this these those my your his her its our their whose no any some every each of
        in for with is are was were be been very more most many few"""
    ),
    "first": frozenset([""]),
}
