"""What the service is built on may be used and passed on with it, and the page says so."""

from __future__ import annotations

import re

from tests.support import licences

# Of each of these a deployer may be asked for no more than to name it and to pass its own source on.
FREE = re.compile(
    r"(Apache-2.0( WITH LLVM-exception)?|MIT|MIT-0|MIT-CMU|BSD|0BSD|BSD-[23]-Clause|BSL-1.0|ISC|PSF-2.0|MPL-2.0|Zlib"
    r"|CC0-1.0|CNRI-Python|LGPL-(2.1-or-later|3.0-only)|( (and|AND|OR) ))+"
)


def test_the_page_says_what_is_installed() -> None:
    """Packages that are not installed here, on another system, may have lines of their own."""
    missing = set(licences.lines()) - set(licences.PAGE.read_text("utf-8").splitlines())
    assert missing == set(), "renew it: python -m tests.support.licences"


def test_nothing_that_is_shipped_asks_for_more_than_its_name_and_its_own_source() -> None:
    told = {name: one for name, (one, reason) in licences.rows().items() if reason != "test"}
    assert {name: one for name, one in told.items() if not FREE.fullmatch(one)} == {}
    assert not FREE.fullmatch("GPL-3.0-or-later")
    assert not FREE.fullmatch("unknown")
    assert len(told) > 50
