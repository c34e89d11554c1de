"""Markdown of models and people: what is kept, what is taken away, and that nothing vanishes."""

from __future__ import annotations

import re
import time

import pytest

from labeling_app.rendering import LONGEST, LONGEST_FORMULA, MOST_FORMULAS, code_styles, safe_html


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("**bold** and *italic*", "<strong>bold</strong> and <em>italic</em>"),
        ("~~gone~~", "<s>gone</s>"),
        ("`x = 1`", "<code>x = 1</code>"),
        ("一段**中文**，带有标点。", "<p>一段<strong>中文</strong>，带有标点。</p>"),
        ("| a | b |\n|---|---|\n| 1 | 2 |", "<td>1</td>"),
        ("3. third\n4. fourth", '<ol start="3">'),
        ("> said", "<blockquote>"),
        ("# Title", "<h1>Title</h1>"),
        ("- a\n- b", "<li>a</li>"),
        ("$a^2$", '<math display="inline">'),
        ("$$a^2$$", '<math display="block">'),
        (r"\(a^2\)", '<math display="inline">'),
        (r"\[a^2\]", '<math display="block">'),
        ("$a^2$", "<msup><mi>a</mi><mn>2</mn></msup>"),
        (r"$a \le b$", "<mo>≤</mo>"),
        (r"$\text{for a<b & c}$", "<mtext>for&nbsp;a&lt;b&nbsp;&amp;&nbsp;c</mtext>"),
        ("costs $5 and $6", "<p>costs $5 and $6</p>"),
        (r"$\def\x{\x\x}\x$", r"<code>\def\x{\x\x}\x</code>"),
        ("```python\nreturn 1\n```", '<span class="k">return</span>'),
        ("```no-such-language\nreturn 1\n```", '<pre class="code"><code>return 1'),
        ("```\nif a < b:\n```", "if a &lt; b:"),
        ("[site](https://a.example/x)", 'href="https://a.example/x"'),
        ("[site](https://a.example/x)", 'rel="noopener noreferrer nofollow"'),
        ("שלום עולם", "<p>שלום עולם</p>"),
        ("👩‍👩‍👧‍👦 🏳️‍🌈", "<p>👩‍👩‍👧‍👦 🏳️‍🌈</p>"),
    ],
)
def test_what_is_kept(text: str, kept: str) -> None:
    assert kept in safe_html(text)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("<script>alert(1)</script>", "&lt;script&gt;alert(1)&lt;/script&gt;"),
        ("<b onclick=x()>b</b>", "&lt;b onclick=x()&gt;b&lt;/b&gt;"),
        ("<!-- a comment -->", "&lt;!-- a comment --&gt;"),
        ("[x](javascript:alert(1))", "[x](javascript:alert(1))"),
        ("![a cat](https://a.example/cat.png)", '<span class="no-picture">a cat</span>'),
        (r"$\text{<img src=x>}$", "&lt;img&nbsp;src=x&gt;"),
        ("&lt;script&gt;", "&lt;script&gt;"),
    ],
)
def test_what_is_shown_as_text(text: str, shown: str) -> None:
    page = safe_html(text)
    assert shown in page
    assert not re.search(r"<(script|img|b|!--)|javascript:[^)]*\"|on\w+=\"", page)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("[x]: https://a.example", "[x]: https://a.example"),
        (r"$\quad$", r"$\quad$"),
        ("# ", "# "),
        ("\u200b\u200d", "U+200B U+200D"),
        ("   ", "U+0020 U+0020 U+0020"),
    ],
)
def test_nothing_vanishes(text: str, shown: str) -> None:
    assert safe_html(text) == f'<pre class="plain">{shown}</pre>'


def test_a_line_is_seen() -> None:
    assert safe_html("---") == "<hr>\n"


def test_long_text_is_shown_as_it_is_written() -> None:
    text = "**a** <b> & " * (LONGEST // 10)
    page = safe_html(text)
    assert page.startswith('<pre class="plain">**a** &lt;b&gt; &amp;') and len(page) > len(text)


def test_colours_of_code_are_rules_of_our_own() -> None:
    rules = code_styles()
    assert ".code .k" in rules and ".dark .code .k" in rules and "url(" not in rules


def repeated(text: str, length: int = LONGEST) -> str:
    return (text * (length // len(text) + 1))[:length]


BOMBS = {
    **{text: repeated(text) for text in (
        r"\(", r"\(a ", r"\[", "\\[a\n\n", "$", "$a", "$\n", "$$", "$$a\n", "$$\\", "$$a\nb $$ c\n\n", "$a$ ",
        "$$a$$\n\n", "[", "[a", "![", "[a](", "![a](", "<", "<a ", "<!--", "<![CDATA[", "`", "`a", "*", "*a", "**a",
        "*a **a ", "_", "_a", "~~a", "&", "\\", "]", "|", "> ", ">", "> - ", "- ", "- a\n", "1. a\n", "# a\n",
        "a\n=\n", "```\n", "[a]: b\n", "\n", " ", "$" + "(" * 1990 + "$\n\n",
        "$" + "\\frac{" * 300 + "a" + "}" * 300 + "$ ", "$" + "a^{" * 600 + "$ ",
        "$\\begin{matrix}" + "&" * 1900 + "\\end{matrix}$ ",
    )},
    "brackets": "[" * 30_000 + "]" * 30_000,
    "backticks": " ".join("`" * count for count in range(1, 345)),
    "lists": "".join("  " * depth + "- a\n" for depth in range(242)),
    "wide table": "|a" * 15_000 + "|\n" + "|-" * 14_990 + "|\n",
    "filled up table": "|a" * 200 + "|\n" + "|-" * 200 + "|\n" + "|\n" * 29_000,
    "many tables": repeated("|a" * 100 + "|\n" + "|-" * 100 + "|\n" + "|\n" * 300 + "\n"),
    **{f"code: {language}": f"```{language}\n{repeated(text, LONGEST - 40)}\n```" for language, text in (
        ("java", "a "), ("perl", "<<"), ("http", "a"), ("xml", "<!--"), ("cpp", 'R"('), ("lua", "[="), ("python", "("),
    )},
}  # fmt: skip


@pytest.mark.parametrize("name", BOMBS)
def test_no_text_takes_long(name: str) -> None:
    """What small policies answer: one mark for ever. Unclosed formulas took minutes, and whoever ranks waited."""
    assert len(BOMBS[name]) <= LONGEST
    begun = time.thread_time()
    safe_html(BOMBS[name])
    assert time.thread_time() - begun < 6  # 1.3 at most, with nothing beside it


def test_what_is_too_much_is_shown_as_it_is_written() -> None:
    far = r"\(" + "a" * LONGEST_FORMULA + r"\) and \(b\)"
    assert f"<p>({'a' * LONGEST_FORMULA}) and <math" in safe_html(far)
    page = safe_html("$a$ " * (MOST_FORMULAS // 10))
    assert page.startswith("<p><math") and page.endswith("<code>a</code></p>\n")
    table = "|a|b|\n|-|-|\n|1|2|\n\n"
    assert safe_html("|a" * 200 + "|\n" + "|-" * 200 + "|\n" + "|\n" * 200 + "\n" + table).count("<table>") == 1
