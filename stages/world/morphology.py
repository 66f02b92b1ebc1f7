"""English word formation: the regular rules, and the table of words that break them."""

from __future__ import annotations

from collections.abc import Mapping

VOWELS = "aeiou"
SOUNDED_LIKE_CONSONANT = ("uni", "use", "usu", "ukulele", "one", "once", "eu", "ewe")
SILENT_H = ("honest", "hour", "honour", "heir")


def plural(noun: str, irregular: Mapping[str, str]) -> str:
    """The plural of a noun; of a name of several words, joined by ``_``, the last is changed."""
    if noun in irregular:
        return irregular[noun]
    if noun.endswith(("s", "x", "z", "ch", "sh")):
        return noun + "es"
    if noun.endswith("y") and noun[-2] not in VOWELS:
        return noun[:-1] + "ies"
    return noun + "s"


def past(verb: str, irregular: Mapping[str, str]) -> str:
    """The simple past of a verb."""
    if verb in irregular:
        return irregular[verb]
    if verb.endswith("e"):
        return verb + "d"
    if verb.endswith("y") and verb[-2] not in VOWELS:
        return verb[:-1] + "ied"
    return verb + "ed"


def participle(verb: str, irregular: Mapping[str, str]) -> str:
    """The -ing form of a verb."""
    if verb in irregular:
        return irregular[verb]
    if verb.endswith("e") and not verb.endswith(("ee", "ye", "oe")):
        return verb[:-1] + "ing"
    return verb + "ing"


def adverb(adjective: str) -> str | None:
    """The -ly form of an adjective, or None where English has none that reads well."""
    if "-" in adjective or adjective.endswith(("ly", "ed", "ish", "slapdash")):
        return None
    if adjective.endswith("ing") and adjective not in ("amusing", "charming", "loving", "obliging"):
        return None
    if adjective in ("shy", "sly"):
        return adjective + "ly"
    if adjective.endswith("le") and adjective[-3] not in VOWELS:
        return adjective[:-1] + "y"
    if adjective.endswith("y"):
        return adjective[:-1] + "ily"
    if adjective.endswith("ic"):
        return adjective + "ally"
    if adjective.endswith("ll"):
        return adjective + "y"
    return adjective + "ly"


def quality(adjective: str) -> str | None:
    """The -ness form of an adjective, or None where English has none that reads well."""
    if adjective in ("rude", "kind", "gentle", "calm", "polite", "bitter", "sour", "smug", "sly"):
        return adjective + "ness"
    if adjective in ("shy", "wonderful", "delightful", "tireless", "respectful", "untrustworthy"):
        return None
    if adjective.endswith("y") and not adjective.endswith("-shy"):
        return adjective[:-1] + "iness"
    if adjective.endswith(("ful", "less", "ish", "hearted", "minded", "spirited")):
        return adjective + "ness"
    return None


def takes_an(word: str) -> bool:
    """Whether the word is spoken with a vowel first, so that *a* before it becomes *an*."""
    first = word.lower()
    if first.startswith(SILENT_H):
        return True
    return first[:1] in VOWELS and not first.startswith(SOUNDED_LIKE_CONSONANT)
