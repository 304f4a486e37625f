"""Which passwords are taken: long ones that nobody would try first. No rules on letters, digits and signs.

As OWASP's ASVS 5.0 has it in 6.2: at least MIN letters, any characters, none cut off, and none of a kept list of common
passwords, words and names. The lists are those of the package zxcvbn.
"""

from __future__ import annotations

from functools import cache

from alignment.shared.sentence import Sentence

MIN, MAX = 10, 200
TAIL = "0123456789!?.-_*#$@+ "  # what people add to a word
LONGEST_TAIL = 4
OWN_WORDS = ("rankloop",)


def fault_of(password: str, *about: str) -> str | None:
    """Why it is not taken; None if it is. `about`: the person's name and address, which others know."""
    folded = password.casefold()
    known = common() | {word for text in (*OWN_WORDS, *about) for word in _parts(text)}
    if folded in known or _without_tail(folded) in known:
        return Sentence(
            "password-common",
            "It is on the list of passwords that others try first. Take a few unrelated words instead.",
        )
    if len(set(folded)) < 3:
        return Sentence("password-repeats", "It repeats one or two characters. Take a few unrelated words instead.")
    return None


def _without_tail(folded: str) -> str:
    bare = folded.rstrip(TAIL)
    return bare if len(folded) - len(bare) <= LONGEST_TAIL else folded


def _parts(text: str) -> set[str]:
    """The text, what stands before an @, and its words run together."""
    folded = text.casefold()
    return {folded, folded.partition("@")[0], "".join(folded.split())} - {""}


@cache
def common() -> frozenset[str]:
    """Loaded at the first use: most processes never take a password."""
    from zxcvbn.frequency_lists import FREQUENCY_LISTS

    return frozenset(word for words in FREQUENCY_LISTS.values() for word in words)
