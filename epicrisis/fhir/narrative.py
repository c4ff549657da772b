"""The narrative: well-formed XHTML from FHIR's allow-list, with something to read in it.

https://hl7.org/fhir/R4/narrative.html#xhtml. Cleaning for display happens at display; here the unsafe is refused.
"""

import re
from itertools import accumulate
from xml.parsers import expat

MAX_DEPTH = 64

_TAG_LIST = (
    "a abbr acronym address b bdo big blockquote br caption cite code col colgroup dd del dfn div dl dt em h1 h2 h3 h4"
    " h5 h6 hr i img ins kbd li ol p pre q s samp small span strong sub sup table tbody td tfoot th thead tr tt u ul"
    " var"
)
_ATTRIBUTE_LIST = (
    "xmlns title style class id lang xml:lang dir abbr accept align alt axis bgcolor border cellhalign cellpadding"
    " cellspacing cellvalign char charoff charset cite color cols colspan compact coords datetime face frame headers"
    " height href hreflang hspace longdesc name noshade nowrap rel rev rowspan rules scope shape size span src start"
    " summary tabindex type valign value vspace width background clear"
)
_TAGS, _ATTRIBUTES = frozenset(_TAG_LIST.split()), frozenset(_ATTRIBUTE_LIST.split())
_UNSURE = "unsure"
_LINKS = frozenset(("href", "src", "background", "cite", "longdesc"))

_root = re.compile(r"\A\s*<div[\s>][^>]*").match
_declaration = re.compile(r"<!(?!--)|<\?").search
_says_something = re.compile(r">\s*+[^\s<]|<img\b").search
_bad_link = re.compile(r"^\s*(?:javascript|vbscript|data(?!:image/)|file)\s*:", re.I).search
_bad_style = re.compile(r"expression\s*\(|javascript:|behaviou?r\s*:|-moz-binding|@import", re.I).search
# For the quick look, in text already proven well-formed: a superset of all tags, attributes and risky values.
_tag_names = re.compile(r"<([^\s/>!?][^\s/>]*)").findall
_attribute_runs = re.compile(r"""<[^\s<>/!?]+((?:\s+[^\s=<>/"']+\s*=\s*(?:"[^"<]*"|'[^'<]*'))+)""").findall
_attribute_names = re.compile(r"""([^\s=<>"'/]+)\s*=\s*["']""").findall
_STEPS = {"<": 1, "</": -1, "/>": -1}
_BLOCK = 256
_steps = re.compile(r"</|/>|<").findall
_risky_values = re.compile(r"""(?:href|src|style|background|cite|longdesc)\s*=\s*("[^"]*"|'[^']*')""").findall


def broken_rule(div: str) -> str | None:
    """The name of the rule that a narrative breaks, or None."""
    root = _root(div)
    if root is None or "http://www.w3.org/1999/xhtml" not in root[0]:
        return "narrative-root"
    if _declaration(div):  # DTDs, CDATA, processing instructions: no entity can be declared
        return "narrative-form"
    if not _says_something(div):
        return "narrative-empty"
    try:
        broken = _quick(div)
        return _walk(div) if broken == _UNSURE else broken
    except expat.ExpatError:
        return "narrative-form"


def _quick(div: str) -> str | None:
    """The quick look: expat without callbacks proves the form; regexes see all tags, and attributes and more."""
    expat.ParserCreate().Parse(div, True)
    attributes = " ".join(_attribute_runs(div))
    if "<!--" in div or "/>" in attributes:
        return _UNSURE
    if not _TAGS.issuperset(_tag_names(div)):
        return "narrative-markup"
    if _too_deep(div):
        return "narrative-deep"
    if not _ATTRIBUTES.issuperset(_attribute_names(attributes)):
        return _UNSURE
    risky = any("&" in v or _bad_link(v[1:-1]) or _bad_style(v) for v in _risky_values(div))
    return _UNSURE if risky else None


def _too_deep(div: str) -> bool:
    """Depth by counting in blocks that begin at a tag; tag by tag only where a block could go beyond the cap."""
    depth = at = 0
    while at < len(div):
        end = div.find("<", at + _BLOCK)
        block = div[at:] if end < 0 else div[at:end]
        closing = block.count("</")
        opening = block.count("<") - closing
        if depth + opening > MAX_DEPTH:
            steps = map(_STEPS.__getitem__, _steps(block))
            if max(accumulate(steps, initial=depth)) > MAX_DEPTH:
                return True
        depth += opening - closing - block.count("/>")
        at += len(block)
    return False


class _Broken(Exception):
    """Ends the walk with the name of a rule."""


class _Walk:
    """expat's handlers: the exact judgement, up to the first broken rule."""

    def __init__(self) -> None:
        self.depth = 0

    def start(self, tag: str, attributes: list[str]) -> None:
        self.depth += 1
        if self.depth > MAX_DEPTH:
            raise _Broken("narrative-deep")
        if tag not in _TAGS or not _ATTRIBUTES.issuperset(attributes[::2]):
            raise _Broken("narrative-markup")
        for name, value in zip(attributes[::2], attributes[1::2], strict=True):
            if (name in _LINKS and _bad_link(value)) or (name == "style" and _bad_style(value)):
                raise _Broken("narrative-link")

    def end(self, _tag: str) -> None:
        self.depth -= 1


def _walk(div: str) -> str | None:
    walk, parser = _Walk(), expat.ParserCreate()
    parser.ordered_attributes = True
    parser.StartElementHandler = walk.start
    parser.EndElementHandler = walk.end
    try:
        parser.Parse(div, True)
    except _Broken as broken:
        return str(broken)
    return None
