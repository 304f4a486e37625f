"""A model's text as safe HTML: markdown, tables, highlighted code and formulas; never a link, image or script.

Three walls stand between a text and the page: the parser takes no HTML, the renderer writes only the
elements below, and a sanitizer with the same short list goes over the result. Everything in the text
stays visible; what is too long or nested too deeply is shown as plain text.
"""

from __future__ import annotations

import hashlib
import threading
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from contextvars import ContextVar
from typing import Any

import nh3
from markdown_it import MarkdownIt
from markdown_it.renderer import RendererHTML
from markdown_it.rules_inline import StateInline
from markdown_it.token import Token as Part
from markupsafe import Markup, escape
from mdit_py_plugins.dollarmath import dollarmath_plugin
from pygments.lexers import get_lexer_by_name
from pygments.token import Comment, Generic, Keyword, Name, Number, String
from starlette.responses import Response

from annotation_api.web.markup.mathtext import MOST_LETTERS as MOST_LETTERS_OF_FORMULA
from annotation_api.web.markup.mathtext import mathml

MOST_LETTERS = 50_000  # of a text that is rendered; longer ones are shown plain
MOST_CELLS = 20_000  # of a table: rows that are short of cells are filled up
MOST_OUTPUT = 1_000_000  # letters of HTML
MOST_CODE = 5_000  # letters of a text's code blocks that are coloured: some lexers are quadratic
MOST_FORMULAS = 300  # of a text
MOST_OF_FORMULAS = 10_000  # letters of a text's formulas: drawing one costs fifty times its letters' share of the rest
MOST_OF_PAGE = 100_000  # letters of the texts of one page, about two seconds of the worst of them
KEPT_LETTERS = 4_000_000  # of rendered HTML in memory

Parts = Sequence[Part]
Env = dict[str, Any]  # what is left of the allowances while a text is rendered


def _words(text: str) -> set[str]:
    return set(text.split())


COLOURED = _words(
    "bash c cpp c++ csharp css diff go html java javascript js json kotlin php py python python3 r rs ruby rust sh "
    "shell sql swift toml ts typescript xml yaml"
)
KINDS = (  # the first that fits; the rest has no colour
    (Comment, "hl-comment"),
    (Keyword, "hl-key"),
    (String, "hl-string"),
    (Number, "hl-number"),
    (Name.Function, "hl-name"),
    (Name.Class, "hl-name"),
    (Name.Builtin, "hl-name"),
    (Name.Tag, "hl-key"),
    (Generic.Deleted, "hl-out"),
    (Generic.Inserted, "hl-in"),
)
TEXT_TAGS = _words("p br em strong s code pre blockquote ul ol li hr table thead tbody tr th td span")
MATH_TAGS = _words(
    "math mrow mi mn mo ms mtext mspace msup msub msubsup mfrac msqrt mroot mover munder munderover mtable mtr mtd "
    "mstyle mmultiscripts"
)
RULER = set(" \t>|:*+.-0123456789")  # of the line under a table's head, in a list or quote or not
BOTH = {"true", "false"}
VALUES: dict[str, dict[str, set[str]]] = {
    "math": {"display": {"block", "inline"}},
    "mo": {
        "stretchy": BOTH,
        "fence": BOTH,
        "separator": BOTH,
        "accent": BOTH,
        "form": {"prefix", "infix", "postfix"},
    },
    "mover": {"accent": BOTH},
    "mi": {"mathvariant": {"normal", "bold", "italic", "bold-italic", "double-struck", "script", "fraktur"}},
    "mstyle": {"displaystyle": BOTH, "scriptlevel": {"0", "1", "2"}},
    "mfrac": {"linethickness": {"0"}},
    "mspace": {"width": {"0.167em", "0.222em", "0.278em", "1em", "2em"}, "linebreak": {"newline"}},
    "ol": {"start": {str(number) for number in range(1000)}},
}
CLASSES = {
    "span": {"address", "image", *(name for _, name in KINDS)},
    "p": {f"title-{level}" for level in range(1, 7)},
    **{cell: {"to-end", "to-center"} for cell in ("td", "th")},
}
_cleaner = nh3.Cleaner(
    tags=TEXT_TAGS | MATH_TAGS,
    clean_content_tags=set(),
    attributes={},
    tag_attribute_values=VALUES,
    allowed_classes=CLASSES,
    link_rel=None,
    url_schemes=set(),
)


class RenderedPage:
    """How much of a page's texts is rendered: all of them, or, where together they are too long, none.

    One plain answer beside formatted ones would be judged by its looks.
    """

    def __init__(self) -> None:
        self.letters = 0
        self.plain = False

    def takes(self, text: str) -> bool:
        self.letters += len(text)
        return not self.plain and self.letters <= MOST_OF_PAGE


_page: ContextVar[RenderedPage | None] = ContextVar("the page that is rendered", default=None)


def within_bounds(make: Callable[[], Response]) -> Response:
    """What `make` renders; once more with plain texts if they were too long together."""
    page = RenderedPage()
    token = _page.set(page)
    try:
        made = make()
        if page.letters <= MOST_OF_PAGE:
            return made
        page.plain = True
        return make()
    finally:
        _page.reset(token)


def rich(text: str) -> Markup:
    """The text as safe HTML blocks."""
    page = _page.get()
    if page is not None and not page.takes(text):
        return plain(text)
    key = hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).digest()
    return _kept.get(key, lambda: _render(text))


def _render(text: str) -> Markup:
    text = text.encode("utf-8", "replace").decode().replace("\0", "\ufffd")  # half surrogates cannot be sent
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    if len(text) > MOST_LETTERS or _cells(text) > MOST_CELLS:
        return plain(text)
    env: Env = {"code": MOST_CODE, "formulas": MOST_FORMULAS, "of_formulas": MOST_OF_FORMULAS}
    html = _markdown.render(text, env)
    return Markup(_cleaner.clean(html)) if len(html) <= MOST_OUTPUT else plain(text)


def _cells(text: str) -> int:
    """The most cells that the widest line under a table's head could ask for."""
    lines = text.split("\n")
    return len(lines) * max((line.count("|") for line in lines if "-" in line and RULER.issuperset(line)), default=0)


def plain(text: str) -> Markup:
    """The text as it was written."""
    return Markup('<div class="text">{}</div>').format(text)


class Kept:
    """What was rendered last, up to a number of letters. Safe for threads; two may render the same at once."""

    def __init__(self, letters: int) -> None:
        self.room = letters
        self._found: OrderedDict[bytes, Markup] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, key: bytes, make: Callable[[], Markup]) -> Markup:
        with self._lock:
            if key in self._found:
                self._found.move_to_end(key)
                return self._found[key]
        made = make()
        with self._lock:
            self._keep(key, made)
        return made

    def _keep(self, key: bytes, made: Markup) -> None:
        if key in self._found or len(made) > MOST_OUTPUT:
            return
        self._found[key] = made
        self.room -= len(made)
        while self.room < 0:
            _, oldest = self._found.popitem(last=False)
            self.room += len(oldest)


_kept = Kept(KEPT_LETTERS)

# ---------------------------------------------------------------- elements


def _heading(self: RendererHTML, parts: Parts, at: int, options: Mapping[str, Any], env: Env) -> str:
    """A title looks like one but stays out of the page's own outline."""
    part = parts[at]
    return f'<p class="title-{part.tag[1]}">' if part.nesting == 1 else "</p>\n"


def _fence(self: RendererHTML, parts: Parts, at: int, options: Mapping[str, Any], env: Env) -> str:
    code, name = parts[at].content, parts[at].info.strip().split(" ")[0].lower()
    env["code"] -= len(code)
    coloured = name in COLOURED and env["code"] >= 0
    return f"<pre><code>{_coloured(code, name) if coloured else escape(code)}</code></pre>\n"


def _coloured(code: str, name: str) -> str:
    lexer = get_lexer_by_name(name, stripnl=False, ensurenl=False)
    return "".join(_span(kind, value) for kind, value in lexer.get_tokens(code))


def _span(kind: Any, value: str) -> str:
    name = next((name for group, name in KINDS if kind in group), None)
    return f'<span class="{name}">{escape(value)}</span>' if name else str(escape(value))


def _link(self: RendererHTML, parts: Parts, at: int, options: Mapping[str, Any], env: Env) -> str:
    """The words of a link, then its address; nothing to click."""
    if parts[at].nesting == 1:
        env.setdefault("addresses", []).append("" if parts[at].markup == "autolink" else parts[at].attrGet("href"))
        return ""
    address = env["addresses"].pop()
    return f' <span class="address">({escape(address)})</span>' if address else ""


def _image(self: RendererHTML, parts: Parts, at: int, options: Mapping[str, Any], env: Env) -> str:
    """What the image would show and where it would come from; it is not fetched."""
    words = self.renderInlineAsText(parts[at].children or [], options, env)  # type: ignore[arg-type]
    return (
        f'<span class="image">{escape(words)}</span> <span class="address">({escape(parts[at].attrGet("src"))})</span>'
    )


def _cell(self: RendererHTML, parts: Parts, at: int, options: Mapping[str, Any], env: Env) -> str:
    style = str(parts[at].attrGet("style") or "")
    side = ' class="to-end"' if "right" in style else ' class="to-center"' if "center" in style else ""
    return f"<{parts[at].tag}{side}>"


def _formula(self: RendererHTML, parts: Parts, at: int, options: Mapping[str, Any], env: Env) -> str:
    content, block = parts[at].content, parts[at].type != "math_inline"
    env["formulas"] -= 1
    env["of_formulas"] -= len(content)
    drawn = env["formulas"] >= 0 and env["of_formulas"] >= 0
    shown = mathml(content, block=block) if drawn else f"<code>{escape(content)}</code>"
    return f"<p>{shown}</p>\n" if parts[at].type == "math_block" else shown


def _bracketed(state: StateInline, silent: bool) -> bool:
    """The other way to write formulas: \\(...\\) in a line, \\[...\\] on its own."""
    opener = state.src[state.pos : state.pos + 2]
    closer = {"\\(": "\\)", "\\[": "\\]"}.get(opener)
    end = state.src.find(closer, state.pos + 2, state.pos + MOST_LETTERS_OF_FORMULA + 4) if closer else -1
    if end < 0 or end + 2 > state.posMax:
        return False
    if not silent:
        part = state.push("math_inline" if closer == "\\)" else "math_inline_double", "math", 0)
        part.content = state.src[state.pos + 2 : end]
    state.pos = end + 2
    return True


def _parser() -> MarkdownIt:
    """CommonMark, tables and strikethrough. No reference definitions: they would vanish from the text."""
    parser = MarkdownIt("commonmark", {"html": False, "breaks": True, "maxNesting": 20})
    parser.enable(["table", "strikethrough"]).disable(["html_block", "html_inline", "reference"])
    parser.use(dollarmath_plugin, allow_labels=False, allow_space=False, allow_digits=False, double_inline=True)
    parser.inline.ruler.before("escape", "math_bracketed", _bracketed)
    rules = {"heading_open": _heading, "heading_close": _heading, "fence": _fence, "image": _image}
    rules |= {"link_open": _link, "link_close": _link, "th_open": _cell, "td_open": _cell}
    rules |= dict.fromkeys(("math_inline", "math_inline_double", "math_block"), _formula)
    for name, rule in rules.items():
        parser.add_render_rule(name, rule)
    return parser


_markdown = _parser()
