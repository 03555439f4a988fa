"""Porter's stemmer: English words without their endings, for ROUGE.

Porter, "An algorithm for suffix stripping", Program 14(3), 1980, with the changes that the package NLTK made to it (its
mode NLTK_EXTENSIONS), since the package rouge-score uses that. A stem need not be a word: "happily" → "happili".

A word is [C](VC)^m[V], with C a run of consonants and V one of vowels; m is its measure, roughly its syllables. Most
rules remove an ending only where enough measure is left.
"""

from __future__ import annotations

from itertools import pairwise

IRREGULAR = {
    **{"skies": "sky", "sky": "sky", "dying": "die", "lying": "lie", "tying": "tie", "news": "news", "howe": "howe"},
    **{"innings": "inning", "inning": "inning", "outings": "outing", "outing": "outing"},
    **{"cannings": "canning", "canning": "canning", "proceed": "proceed", "exceed": "exceed", "succeed": "succeed"},
}

# ending → what comes in its place where the measure before it is positive; only the first that fits is tried
STEP_2 = {
    **{"ational": "ate", "tional": "tion", "enci": "ence", "anci": "ance", "izer": "ize", "bli": "ble", "alli": "al"},
    **{"entli": "ent", "eli": "e", "ousli": "ous", "ization": "ize", "ation": "ate", "ator": "ate", "alism": "al"},
    **{"iveness": "ive", "fulness": "ful", "ousness": "ous", "aliti": "al", "iviti": "ive", "biliti": "ble"},
    **{"fulli": "ful"},
}
STEP_3 = {"icate": "ic", "ative": "", "alize": "al", "iciti": "ic", "ical": "ic", "ful": "", "ness": ""}
# endings that go where the measure before them is above 1
STEP_4 = (
    *("al", "ance", "ence", "er", "ic", "able", "ible", "ant", "ement", "ment", "ent", "ion"),
    *("ou", "ism", "ate", "iti", "ous", "ive", "ize"),
)


def stem(word: str) -> str:
    """The stem of a word in lower case: "relational" → "relat", "hopping" → "hop"."""
    if word in IRREGULAR:
        return IRREGULAR[word]
    if len(word) <= 2:
        return word
    for step in (plural, past_and_ing, final_y, double_suffix, further_suffix, last_suffix, final_e):
        word = step(word)
    return word


def consonants(word: str) -> list[bool]:
    """Which letters are consonants: all but a, e, i, o, u, and a y behind a consonant."""
    flags: list[bool] = []
    for n, letter in enumerate(word):
        flags.append(n == 0 or not flags[n - 1] if letter == "y" else letter not in "aeiou")
    return flags


def measure(word: str) -> int:
    """m in [C](VC)^m[V]: tree → 0, trouble → 1, private → 2."""
    flags = consonants(word)
    return sum(not before and after for before, after in pairwise(flags))


def is_short(word: str) -> bool:
    """Ends in consonant, vowel, consonant (not w, x, y), as "hop", or is vowel and consonant, as "at"."""
    flags = consonants(word)
    if len(word) == 2:
        return flags == [False, True]
    return flags[-3:] == [True, False, True] and word[-1] not in "wxy"


def plural(word: str) -> str:
    """caresses → caress, ponies → poni, ties → tie, caress → caress, cats → cat."""
    if word.endswith("ies"):
        return word[:-1] if len(word) == 4 else word[:-2]
    if word.endswith("sses"):
        return word[:-2]
    return word[:-1] if word.endswith("s") and not word.endswith("ss") else word


def past_and_ing(word: str) -> str:
    """agreed → agree, died → die, plastered → plaster, hopping → hop, filing → file."""
    if word.endswith("ied"):
        return word[:-1] if len(word) == 4 else word[:-2]
    if word.endswith("eed"):
        return word[:-1] if measure(word[:-3]) > 0 else word
    before = word.removesuffix("ed") if word.endswith("ed") else word.removesuffix("ing")
    if before == word or all(consonants(before)):
        return word
    if before.endswith(("at", "bl", "iz")):
        return before + "e"
    if len(before) >= 2 and before[-1] == before[-2] and consonants(before)[-1]:
        return before if before[-1] in "lsz" else before[:-1]
    return before + "e" if measure(before) == 1 and is_short(before) else before


def final_y(word: str) -> str:
    """happy → happi, but enjoy → enjoy."""
    before = word[:-1]
    return before + "i" if word.endswith("y") and len(before) > 1 and consonants(before)[-1] else word


def replace_ending(word: str, endings: dict[str, str]) -> str:
    """The first ending that fits is replaced, where there is a positive measure before it."""
    for ending, replacement in endings.items():
        if word.endswith(ending):
            before = word.removesuffix(ending)
            return before + replacement if measure(before) > 0 else word
    return word


def double_suffix(word: str) -> str:
    """relational → relate, sensibiliti → sensible, archaeologi → archaeolog."""
    if word.endswith("alli") and measure(word[:-4]) > 0:
        return double_suffix(word[:-2])
    if word.endswith("logi"):
        return word[:-1] if measure(word[:-3]) > 0 else word
    return replace_ending(word, STEP_2)


def further_suffix(word: str) -> str:
    """electrical → electric, hopeful → hope, goodness → good."""
    return replace_ending(word, STEP_3)


def last_suffix(word: str) -> str:
    """revival → reviv, adoption → adopt, effective → effect."""
    for ending in STEP_4:
        if word.endswith(ending):
            before = word.removesuffix(ending)
            fits = measure(before) > 1 and (ending != "ion" or before[-1] in "st")
            return before if fits else word
    return word


def final_e(word: str) -> str:
    """probate → probat, cease → ceas, but rate → rate; controll → control."""
    before = word[:-1]
    if word.endswith("e") and (measure(before) > 1 or (measure(before) == 1 and not is_short(before))):
        word = before
    return word[:-1] if word.endswith("ll") and measure(word[:-1]) > 1 else word
