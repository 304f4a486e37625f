"""Other people's texts, as a terminal or a log may have them."""

from __future__ import annotations

import re

# Signs of control but tab and line end; of C1; other ends of lines; marks that turn the direction of a text; halves of
# characters, which no terminal takes.
_STEERS = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
_BREAKS = str.maketrans({"\n": r"\n", "\t": r"\t"})


def shown(text: str) -> str:
    """The text without what would steer a terminal or turn a line round: such a sign is shown as its code."""
    return _STEERS.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


def on_a_line(text: str) -> str:
    """As `shown`, for a place that ends with its line: a text with line ends could pass for more such places."""
    return shown(text).translate(_BREAKS)
