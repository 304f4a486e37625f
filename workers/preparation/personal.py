"""Personal data in Chinese and English texts, by patterns and check digits. What has a check digit must pass it.

Found values get one mask each, the same wherever they come up again: [email 1], [phone 2].
"""

from __future__ import annotations

import datetime
import ipaddress
import re
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass

import phonenumbers
from stdnum import iban, luhn
from stdnum.cn import ric
from stdnum.us import ssn

from alignment.shared.on_data.prepare import PERSONAL


@dataclass(frozen=True)
class Found:
    kind: str
    start: int
    end: int
    value: str


def _is_id_card(text: str) -> bool:
    """A province, a day and the check digit. Counties are not asked for: their codes change within a life."""
    number = text.upper()
    try:
        born = datetime.date(int(number[6:10]), int(number[10:12]), int(number[12:14]))
    except ValueError:
        return False
    known = 1890 <= born.year <= datetime.date.today().year and number[:2] in PROVINCES
    return known and str(ric.calc_check_digit(number)) == number[-1]


PROVINCES = frozenset(  # the first two digits: a region, and a province in it
    str(code)
    for first, last in ((11, 15), (21, 23), (31, 37), (41, 46), (50, 54), (61, 65))
    for code in range(first, last + 1)
) | {"71", "81", "82"}


def _digits(text: str) -> str:
    return re.sub(r"[ -]", "", text)


def _is_card(text: str) -> bool:
    """Luhn's digit, and a length that the issuer's first digits allow."""
    number = _digits(text)
    lengths = next((sizes for start, sizes in _ISSUERS if start.match(number)), ())
    return len(number) in lengths and len(set(number)) > 1 and luhn.is_valid(number)


_ISSUERS = (
    (re.compile(r"3[47]"), (15,)),
    (re.compile(r"4"), (13, 16, 19)),
    (re.compile(r"5[1-5]|2(?:22[1-9]|2[3-9]|[3-6]|7[01]|720)"), (16,)),
    (re.compile(r"62"), (16, 17, 18, 19)),
    (re.compile(r"35|60|64|65"), (16,)),
)
_VERSION = re.compile(r"(?:version|release|build|section|chapter|v|§|版本|版本号|第)[ :：.]*$", re.IGNORECASE)


def _is_address(text: str) -> bool:
    try:
        found = ipaddress.ip_address(text)
    except ValueError:
        return False
    return not (found.is_loopback or found.is_unspecified)


def _is_phone(text: str) -> bool:
    """A number that is in use somewhere; of China without its country code."""
    try:
        return phonenumbers.is_valid_number(phonenumbers.parse(text, None if text.startswith("+") else "CN"))
    except phonenumbers.NumberParseException:
        return False


def _is_us_phone(text: str) -> bool:
    try:
        return phonenumbers.is_valid_number(phonenumbers.parse(text, "US"))
    except phonenumbers.NumberParseException:
        return False


# A number inside of a longer one, or of a word in Latin letters, is another thing.
_NUMBER, _NUMBER_END = r"(?<![A-Za-z0-9_.-])", r"(?![A-Za-z0-9_-]|\.\d)"
# In this order: what was found by one is not looked at by the next.
_PATTERNS: tuple[tuple[str, re.Pattern[str], Callable[[str], bool]], ...] = (
    ("secret", re.compile(r"-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(?:-----END [A-Z ]*PRIVATE KEY-----|\Z)", re.DOTALL),
     lambda text: True),
    ("secret", re.compile(r"(?<![A-Za-z0-9])(?:AKIA[0-9A-Z]{16}|gh[pousr]_[A-Za-z0-9]{36,}|sk-[A-Za-z0-9_-]{20,}|"
                          r"xox[baprs]-[A-Za-z0-9-]{10,}|AIza[0-9A-Za-z_-]{35}|hf_[A-Za-z0-9]{30,}|"
                          r"eyJ[A-Za-z0-9_-]{10,}\.eyJ[A-Za-z0-9_-]{10,}\.[A-Za-z0-9_-]{10,})"), lambda text: True),
    ("email", re.compile(r"(?<![A-Za-z0-9._%+-])[A-Za-z0-9][A-Za-z0-9._%+-]{0,63}@(?:[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}"
                         r"[A-Za-z0-9])?\.)+[A-Za-z]{2,24}(?![A-Za-z0-9-])"), lambda text: ".." not in text),
    ("id_card", re.compile(_NUMBER + r"\d{17}[\dXx]" + _NUMBER_END), _is_id_card),
    ("iban", re.compile(_NUMBER + r"[A-Z]{2}\d{2}(?: ?[A-Z0-9]{4}){2,7}(?: ?[A-Z0-9]{1,3})?" + _NUMBER_END),
     lambda text: iban.is_valid(text.replace(" ", ""))),
    ("bank_card", re.compile(_NUMBER + r"(?:\d{4}[ -]?){3}\d{1,7}" + _NUMBER_END), _is_card),
    ("bank_card", re.compile(_NUMBER + r"3[47]\d{2}[ -]?\d{6}[ -]?\d{5}" + _NUMBER_END), _is_card),
    ("ssn", re.compile(_NUMBER + r"\d{3}-\d{2}-\d{4}" + _NUMBER_END), ssn.is_valid),
    ("ip", re.compile(r"(?<![A-Za-z0-9_.])(?:\d{1,3}\.){3}\d{1,3}(?![A-Za-z0-9_]|\.\d)"), _is_address),
    ("ip", re.compile(r"(?<![A-Za-z0-9_:.])(?:[0-9A-Fa-f]{0,4}:){2,7}[0-9A-Fa-f]{1,4}(?![A-Za-z0-9_:])"),
     lambda text: text.count(":") > 2 and _is_address(text)),
    ("phone", re.compile(r"(?<![A-Za-z0-9_.-])(?:\+?86[ -]?)?1[3-9]\d[ -]?\d{4}[ -]?\d{4}" + _NUMBER_END), _is_phone),
    ("phone", re.compile(_NUMBER + r"(?:\(0\d{2,3}\) ?|0\d{2,3}-)[2-8]\d{6,7}" + _NUMBER_END), _is_phone),
    ("phone", re.compile(r"(?<![A-Za-z0-9_+.-])\+\d{1,3}(?:[ .-]?\(?\d{1,4}\)?){2,5}(?![A-Za-z0-9_-])"), _is_phone),
    ("phone", re.compile(_NUMBER + r"(?:1[ .-])?(?:\([2-9]\d{2}\) ?|[2-9]\d{2}[.-])[2-9]\d{2}[ .-]\d{4}" + _NUMBER_END),
     _is_us_phone),
)  # fmt: skip


def find(text: str, kinds: Collection[str] = PERSONAL) -> list[Found]:
    """Each place, from left to right; places do not overlap."""
    found: list[Found] = []
    for kind, pattern, counts in _PATTERNS:
        if kind not in kinds:
            continue
        for match in pattern.finditer(text):
            free = all(match.end() <= other.start or match.start() >= other.end for other in found)
            if free and counts(match[0]) and not (kind == "ip" and _VERSION.search(text[: match.start()][-20:])):
                found.append(Found(kind, match.start(), match.end(), match[0]))
    return sorted(found, key=lambda one: one.start)


class Masks:
    """One mask a value, the same wherever it comes up again."""

    def __init__(self, kinds: Collection[str] = PERSONAL) -> None:
        self._kinds = kinds
        self._known: dict[tuple[str, str], str] = {}
        self._last: dict[str, int] = {}

    def __call__(self, text: str) -> str:
        return "".join(self._pieces(text))

    def _pieces(self, text: str) -> Iterator[str]:
        at = 0
        for one in find(text, self._kinds):
            yield text[at : one.start]
            yield self._mask(one)
            at = one.end
        yield text[at:]

    def _mask(self, one: Found) -> str:
        value = one.value.lower() if one.kind == "email" else re.sub(r"[ ().-]", "", one.value)
        if (one.kind, value) not in self._known:
            self._last[one.kind] = self._last.get(one.kind, 0) + 1
            self._known[one.kind, value] = f"[{one.kind.replace('_', ' ')} {self._last[one.kind]}]"
        return self._known[one.kind, value]
