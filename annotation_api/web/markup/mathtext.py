"""LaTeX formulas as MathML, which browsers draw without scripts or fonts of ours.

The formula comes from a model: what cannot be read as LaTeX, is long or is nested deeply is shown as written.
"""

from __future__ import annotations

import logging
from html import unescape
from xml.etree.ElementTree import tostring

from latex2mathml.converter import convert_to_element
from markupsafe import escape

log = logging.getLogger(__name__)

MOST_LETTERS = 1000  # of a formula
MOST_DEPTH = 30  # of braces, brackets and environments, together
OPENERS = ("{", "[", "\\left", "\\begin", "^", "_")


def mathml(latex: str, *, block: bool) -> str:
    """The formula as a `<math>` element, or its source in `<code>`."""
    if len(latex) <= MOST_LETTERS and sum(map(latex.count, OPENERS)) <= 10 * MOST_DEPTH and _depth(latex) <= MOST_DEPTH:
        try:
            return _convert(latex, block)
        except Exception:  # the parser has many ways to say no; none of them is a fault of ours
            log.debug("a formula of %s letters is shown as written", len(latex), exc_info=True)
    mark = "$$" if block else "$"
    return f"<code>{escape(mark + latex + mark)}</code>"


def _convert(latex: str, block: bool) -> str:
    """Serialised anew: the converter's own text output leaves `<` in \\text{...} as it is."""
    root = convert_to_element(latex, display="block" if block else "inline")
    root.attrib.pop("xmlns", None)  # HTML knows the element by its name
    for node in root.iter():
        node.text = unescape(node.text or "")
    return tostring(root, encoding="unicode")


def _depth(latex: str) -> int:
    deepest = depth = 0
    for letter in latex:
        depth += (letter in "{[") - (letter in "}]")
        deepest = max(deepest, depth)
    return deepest
