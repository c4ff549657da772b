"""The gate's rules by name, and how a broken one is said: a place and a sentence, never the value.

Inside msgspec a rule travels as the text of a `ValueError`: its name, or `name:argument` where the argument comes
from the specification (an element or a type name), never from the input.
"""

import difflib
import re
from collections.abc import Callable, Iterable
from typing import Any

import msgspec

from ..errors import Malformed, TooLarge
from .spec import types

# rule: (FHIR issue type, sentence). https://hl7.org/fhir/R4/valueset-issue-type.html
RULES: dict[str, tuple[str, str]] = {
    # the document
    "not-json": ("structure", "this is not well-formed JSON"),
    "not-utf8": ("structure", "the bytes are not valid UTF-8"),
    "bom": ("structure", "the document starts with a byte order mark: send UTF-8 without one"),
    "not-object": ("structure", "a FHIR resource is a JSON object"),
    "too-large": ("too-long", "it is larger than the {} bytes that are accepted here"),
    "too-deep": ("too-costly", "it is nested too deep"),
    "nested-resources": ("too-costly", "too many resources are nested in one another"),
    "duplicate": ("structure", "the same property is given twice in one object"),
    "empty-object": ("structure", "an object may not be empty: leave the element out"),
    "empty-array": ("structure", "an array may not be empty: leave the element out"),
    "null": ("structure", "null is not allowed here: leave the element out"),
    "control": ("value", "a string holds a control character that FHIR does not allow"),
    "misaligned": ("structure", "an array and its `_` sibling must have the same length and shape"),
    "no-type": ("structure", "`resourceType` is missing"),
    "unknown-type": ("structure", "`resourceType` names no FHIR R4 resource"),
    # elements
    "unknown": ("structure", "there is an unknown property"),
    "missing": ("required", "the required element `{}` is missing"),
    "wrong-type": ("structure", "it has the wrong JSON type{}"),
    "lexical": ("value", "it is not written as a FHIR {}"),
    "too-long": ("too-long", "the text is too long"),
    "empty-string": ("value", "a string may not be empty: leave the element out"),
    "range": ("value", "the number is out of the range of its type"),
    "code": ("code-invalid", "the code is not in the required value set"),
    "choice": ("structure", "at most one of `{}[x]` may be given"),
    "choice-required": ("required", "exactly one of `{}[x]` must be given"),
    "extension-value": ("structure", "an extension needs exactly one value[x], or extensions inside it"),
    "extension-both": ("structure", "an extension may not have both a value[x] and extensions inside it"),
    "sibling-empty": ("structure", "a `_` sibling needs an id or an extension"),
    "attachment-size": ("value", "the size does not match the data"),
    # references and inner resources
    "reference": ("value", "it is not a reference to {}"),
    "contained-nested": ("structure", "a contained resource may not contain another"),
    "contained-id": ("required", "a contained resource needs an id"),
    "contained-twice": ("duplicate", "two contained resources have the same id"),
    "contained-missing": ("not-found", "a reference starting with # points at no contained resource"),
    "entry-request": ("required", "each entry of a transaction or batch Bundle needs a `request`"),
    "entry-no-request": ("structure", "only a transaction, batch or history Bundle may have a `request`"),
    "entry-empty": ("required", "an entry needs a resource, a request or a response"),
    "full-url-twice": ("duplicate", "two entries have the same fullUrl"),
    # narrative
    "narrative-root": ("value", "the narrative must be one <div> of the XHTML namespace"),
    "narrative-form": ("value", "the narrative is not well-formed XHTML"),
    "narrative-markup": ("value", "the narrative holds an element or attribute that FHIR does not allow"),
    "narrative-link": ("security", "the narrative holds an unsafe link or style"),
    "narrative-empty": ("value", "the narrative says nothing"),
    "narrative-deep": ("too-costly", "the narrative is nested too deep"),
    "other": ("structure", "it breaks a rule of FHIR R4"),
}


class Fault(Exception):
    """A broken rule at a place below the resource at hand; `path` starts with `.` or `[`, or is empty."""

    def __init__(self, rule: str, argument: str = "", path: str = "") -> None:
        super().__init__(rule)
        self.rule, self.argument, self.path = rule, argument, path

    @property
    def text(self) -> str:
        """The sentence, fit to be shown and logged."""
        return sentence(self.rule, self.argument)

    @property
    def code(self) -> str:
        """The FHIR issue type."""
        return RULES[self.rule][0]

    def refusal(self, root: str) -> Malformed:
        """What the gate raises; `root` is the type of the outermost resource."""
        kind = TooLarge if self.rule == "too-large" else Malformed
        return kind(self.text, where=root + self.path, rule=self.rule)

    def below(self, path: str) -> "Fault":
        """The same fault as seen from further out."""
        return Fault(self.rule, self.argument, path + self.path)


def sentence(rule: str, argument: str = "") -> str:
    """What a rule says, with its argument filled in."""
    return RULES[rule][1].format(argument)


def unknown_property(owner: str, name: str) -> str:
    """A hint for an unknown property, made of known names alone: the name sent could be anything, also a person's."""
    kind = types().get(owner)
    if kind is None:
        return sentence("unknown")
    near = difflib.get_close_matches(name[:64], [e.name for e in kind.elements], n=1)
    return f"there is a property that {owner} does not have" + (f" (is `{near[0]}` meant?)" if near else "")


_AT = re.compile(r"\A(.*?)(?: - at `\$(.*?)`)?\Z", re.S)
_OURS = re.compile(r"\A([a-z0-9-]+)(?::([^:]*))?\Z")
_THEIRS: Iterable[tuple[re.Pattern[str], str]] = [
    (re.compile(r"Object missing required field `resourceType`"), "no-type"),
    (re.compile(r"Object missing required field `(.*)`"), "missing"),
    (re.compile(r"Object contains unknown field"), "unknown"),
    (re.compile(r"Invalid enum value"), "code"),
    (re.compile(r"Invalid value"), "unknown-type"),
    (re.compile(r"Expected `array` of length >= 1"), "empty-array"),
    (re.compile(r"Expected `str` of length >= 1"), "empty-string"),
    (re.compile(r"Expected `str` of length"), "too-long"),
    (re.compile(r"Expected `str` matching regex"), "lexical"),
    (re.compile(r"Expected `(?:int|float)` [<>]"), "range"),
    (re.compile(r"Expected `[^`]*`, got `null`"), "null"),
    (re.compile(r"(Expected `\w+`, got `\w+`)"), "wrong-type"),
    (re.compile(r"Expected|unhashable"), "wrong-type"),  # unhashable: an array or object asked of a memo of strings
    (re.compile(r"(?:Number|Integer value) out of range"), "range"),
    (re.compile(r"Invalid unicode|Invalid escape|Invalid UTF"), "not-utf8"),
]


def guarded(decode: Callable[[bytes], Any], raw: bytes) -> Any:
    """What a decoder of msgspec makes of a text; its error is a `Fault`."""
    try:
        return decode(raw)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise fault_of(error, raw) from None


def fault_of(error: Exception, raw: bytes) -> Fault:
    """What a decoder's error means. msgspec stops by itself at the interpreter's recursion limit, long before harm."""
    if isinstance(error, RecursionError):
        return Fault("too-deep")
    if isinstance(error, UnicodeDecodeError):
        return Fault("not-utf8")
    if isinstance(error, msgspec.ValidationError):
        message = str(error)
        if message.startswith("Expected `object`") and " - at " not in message:
            return Fault("not-object")
        return _behind(message)
    return Fault("bom" if raw.startswith(b"\xef\xbb\xbf") else "not-json")


def _behind(message: str) -> Fault:
    """The fault behind a message of msgspec; nothing of the input's text is taken over."""
    match = _AT.match(message)
    text, path = (match[1], match[2] or "") if match else (message, "")
    ours = _OURS.match(text)
    if ours and ours[1] in RULES:
        return Fault(ours[1], ours[2] or "", path)
    for pattern, rule in _THEIRS:
        if found := pattern.match(text):
            argument = found[1] if pattern.groups else ""
            if rule == "wrong-type" and argument:
                argument = ": " + argument[0].lower() + argument[1:].replace("`", "")
            return Fault(rule, argument or ("value" if rule == "lexical" else ""), path)
    return Fault("other", "", path)
