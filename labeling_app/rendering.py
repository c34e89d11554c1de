"""Markdown of models and people, as HTML that is safe to put on a page.

Tags in the source are shown as text, never obeyed; formulas become MathML and code is coloured here, so that the page
needs no script, font or picture for either. What comes out is cleaned once more against a short list of what may stand.
No picture is ever fetched: it would tell a stranger who is labeling, and the annotator whose answer it is.
"""

from __future__ import annotations

import functools
import html
import io
import re
import time
import unicodedata
from bisect import bisect
from collections.abc import Callable, Iterator, MutableMapping, Sequence
from typing import Any
from xml.etree import ElementTree

import nh3
from latex2mathml.converter import convert_to_element
from markdown_it import MarkdownIt
from markdown_it.common.utils import unescapeAll
from markdown_it.rules_block import StateBlock, table
from markdown_it.rules_inline import StateInline
from markdown_it.token import Token
from mdit_py_plugins.dollarmath.index import math_block_dollar, math_inline_dollar
from mdit_py_plugins.texmath.index import make_block_func, make_inline_func, rules
from pygments.formatters import HtmlFormatter
from pygments.lexers import get_lexer_by_name
from pygments.util import ClassNotFound

LONGEST = 60_000
"""Characters of Markdown; longer text is shown as it is written, because nobody should wait for its formatting."""
LONGEST_FORMULA = 2_000
"""Characters between two marks of a formula; where they are further apart, they are no marks."""
MOST_FORMULAS = 20_000
"""Characters of formulas that are set in one text, each formula counted with FORMULA_COST more; the rest is shown as it
is written."""
FORMULA_COST = 20
MOST_CELLS = 20_000
"""Cells of all tables of a text. Short rows are filled up: 2,000 characters can be 65,000 cells."""
COLOURING_SECONDS = 0.5
"""Processor time for colouring the code of one text; some lexers take time that grows with the square of the code."""
MOST_POINTS = 40
"""Characters that nobody can see, of which an answer with no others shows the code points."""

Env = MutableMapping[str, Any]
"""What one text has used up so far."""
InLine = Callable[[StateInline, bool], bool]
Block = Callable[[StateBlock, int, int, bool], bool]

_TEXT_TAGS = {
    "p", "br", "hr", "h1", "h2", "h3", "h4", "h5", "h6", "strong", "em", "s", "del", "code", "pre", "blockquote", "ul",
    "ol", "li", "a", "span", "div", "table", "thead", "tbody", "tr", "th", "td",
}  # fmt: skip
_MATH_TAGS = {
    "math", "mrow", "mi", "mn", "mo", "mtext", "mspace", "ms", "mfrac", "msqrt", "mroot", "mstyle", "merror", "mpadded",
    "mphantom", "msub", "msup", "msubsup", "munder", "mover", "munderover", "mmultiscripts", "mprescripts", "mtable",
    "mtr", "mtd", "mfenced",
}  # fmt: skip
_MATH_ATTRIBUTES = {
    "display", "mathvariant", "stretchy", "fence", "separator", "lspace", "rspace", "accent", "accentunder",
    "displaystyle", "scriptlevel", "linethickness", "columnalign", "rowspacing", "columnspacing", "width", "minsize",
    "maxsize", "movablelimits", "form", "largeop", "symmetric",
}  # fmt: skip
_ALLOWED: dict[str, set[str]] = {
    "a": {"href", "title"},
    "code": {"class"},
    "pre": {"class"},
    "span": {"class"},
    "div": {"class"},
    "ol": {"start"},
    **dict.fromkeys(_MATH_TAGS, _MATH_ATTRIBUTES),
}

_CLEANER = nh3.Cleaner(
    tags=_TEXT_TAGS | _MATH_TAGS,
    attributes=_ALLOWED,
    url_schemes={"http", "https", "mailto"},
    link_rel="noopener noreferrer nofollow",
    set_tag_attribute_values={"a": {"target": "_blank"}},
)


@functools.lru_cache(maxsize=4096)
def safe_html(text: str) -> str:
    """HTML of a Markdown text with `$...$`, `$$...$$`, `\\(...\\)` and `\\[...\\]` formulas."""
    if len(text) > LONGEST:
        return f'<pre class="plain">{html.escape(text)}</pre>'
    page = clean(_markdown().render(text))
    if "<hr" in page or _can_be_seen(html.unescape(re.sub("<[^>]*>", "", page))):
        return page
    return _as_written(text)


def _can_be_seen(text: str) -> bool:
    return any(unicodedata.category(character)[0] not in "CZ" for character in text)


def _as_written(text: str) -> str:
    """What formatting would leave no trace of: its source, or the code points of what nobody can see."""
    if not _can_be_seen(text):
        text = " ".join(f"U+{ord(character):04X}" for character in text[:MOST_POINTS])
    return f'<pre class="plain">{html.escape(text)}</pre>'


def clean(page: str) -> str:
    """Only what may stand on a page: no script, style, form, picture or frame, and links that tell nobody anything."""
    return _CLEANER.clean(page)


def code_styles() -> str:
    """CSS rules for coloured code, light, and dark under `.dark`."""
    # Styles whose every colour can be read (contrast 4.5) on the page's grey.
    light: Any = HtmlFormatter(style="xcode", nobackground=True)
    dark: Any = HtmlFormatter(style="github-dark", nobackground=True)
    return f"{light.get_style_defs('.code')}\n{dark.get_style_defs('.dark .code')}"


@functools.cache
def _markdown() -> MarkdownIt:
    made = MarkdownIt("commonmark", {"html": False}).enable(["table", "strikethrough"])
    made.block.ruler.at("table", _small_table, {"alt": ["paragraph", "reference"]})
    brackets = rules["brackets"]
    in_line = [("math_inline", "$", "$", math_inline_dollar(allow_space=False, allow_digits=False, allow_double=True))]
    in_line += [(rule["name"], r"\(", r"\)", make_inline_func(rule)) for rule in brackets["inline"]]
    for name, opening, closing, parse in in_line:
        made.inline.ruler.before("escape", name, _near_inline(opening, closing, parse))
    blocks = [("math_block", "$$", "$$", math_block_dollar(allow_labels=False, allow_blank_lines=True))]
    blocks += [(rule["name"], r"\[", r"\]", make_block_func(rule)) for rule in brackets["block"]]
    for name, opening, closing, parse_block in blocks:
        made.block.ruler.before("fence", name, _near_block(opening, closing, parse_block))
    for name in ("math_inline", "math_inline_double", "math_block", "math_block_eqno"):
        made.add_render_rule(name, _formula)
    made.add_render_rule("image", _no_picture)
    made.add_render_rule("fence", _fence)
    return made


def _near_inline(opening: str, closing: str, parse: InLine) -> InLine:
    """A rule for formulas that looks for the closing mark nearby only: to look through all that follows each opening
    mark, where none is closed, took minutes."""

    def rule(state: StateInline, silent: bool) -> bool:
        text, at = state.src, state.pos
        if not text.startswith(opening, at) or text.find(closing, at + len(opening), at + LONGEST_FORMULA) < 0:
            return False
        state.src = text[: at + LONGEST_FORMULA]
        try:
            return parse(state, silent)
        finally:
            state.src = text

    return rule


def _near_block(opening: str, closing: str, parse: Block) -> Block:
    """As `_near_inline`, for formulas in lines of their own."""

    def rule(state: StateBlock, line: int, last: int, silent: bool) -> bool:
        text, at = state.src, state.bMarks[line] + state.tShift[line]
        if not text.startswith(opening, at) or text.find(closing, at + len(opening), at + LONGEST_FORMULA) < 0:
            return False
        return parse(state, line, bisect(state.bMarks, at + LONGEST_FORMULA, line, last), silent)

    return rule


def _small_table(state: StateBlock, line: int, last: int, silent: bool) -> bool:
    """A table, as long as all tables of the text have no more than MOST_CELLS cells; else lines as they are written."""
    if silent or not table(state, line, last, True):
        return table(state, line, last, silent)
    columns = state.src[state.bMarks[line] : state.eMarks[line]].count("|") + 1
    rows = next((row for row in range(line + 2, last) if state.isEmpty(row)), last) - line
    cells = state.env.get("cells", 0) + columns * rows
    if cells > MOST_CELLS:
        return False
    state.env["cells"] = cells
    return table(state, line, last, False)


def _formula(_self: Any, tokens: Sequence[Token], at: int, _options: Any, env: Env) -> str:
    source = tokens[at].content.strip()
    display = "block" if tokens[at].block or "double" in tokens[at].type else "inline"
    env["formulas"] = env.get("formulas", 0) + len(source) + FORMULA_COST
    try:
        if len(source) > LONGEST_FORMULA or env["formulas"] > MOST_FORMULAS:
            raise ValueError("too long")
        formula = convert_to_element(source, display=display)
        for node in formula.iter():  # the converter writes entities into its texts, and leaves what people wrote bare
            node.text, node.tail = html.unescape(node.text or ""), html.unescape(node.tail or "")
        return ElementTree.tostring(formula, encoding="unicode")
    except Exception:  # the converter raises whatever it likes; what it cannot set is shown as it is written
        return f"<code>{html.escape(source)}</code>"


def _no_picture(_self: Any, tokens: Sequence[Token], at: int, _options: Any, _env: Any) -> str:
    return f'<span class="no-picture">{html.escape(tokens[at].content or "…")}</span>'


def _fence(_self: Any, tokens: Sequence[Token], at: int, _options: Any, env: Env) -> str:
    code, about = tokens[at].content, unescapeAll(tokens[at].info).split()
    try:
        inside = _coloured(code, get_lexer_by_name(about[0]), env) if about else html.escape(code)
    except (ClassNotFound, TimeoutError):
        inside = html.escape(code)
    return f'<pre class="code"><code>{inside}</code></pre>\n'


def _coloured(code: str, lexer: Any, env: Env) -> str:
    """Raises TimeoutError once the text's processor time is spent."""
    begun = time.thread_time()
    left = env.setdefault("colouring", COLOURING_SECONDS)

    def pieces() -> Iterator[Any]:
        for piece in lexer.get_tokens(code):
            env["colouring"] = left - (time.thread_time() - begun)
            if env["colouring"] < 0:
                raise TimeoutError
            yield piece

    page = io.StringIO()
    HtmlFormatter(nowrap=True).format(pieces(), page)
    return page.getvalue()
