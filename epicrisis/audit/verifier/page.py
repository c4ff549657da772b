"""The page for people: what the events say in clear. Written from them alone, so it can be checked against them."""

from __future__ import annotations

from datetime import UTC, datetime
from hashlib import sha256
from html import escape
from typing import TYPE_CHECKING

from .note import MLDSA, Key, Policy

if TYPE_CHECKING:
    from .check import Event, Verdict

_STYLE = """
body { font: 11pt/1.45 serif; max-width: 52em; margin: 2em auto; padding: 0 1em; }
h1 { font-size: 1.4em; } h2 { font-size: 1.1em; margin-top: 1.6em; }
table { border-collapse: collapse; width: 100%; font-size: 0.9em; }
th, td { border: 1px solid #999; padding: 0.2em 0.5em; text-align: left; vertical-align: top; }
code { font-size: 0.85em; word-break: break-all; }
tr { page-break-inside: avoid; } thead { display: table-header-group; }
@media print { body { margin: 0; max-width: none; } }
"""

_PAGE = """<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
<title>History of {subject}</title><style>{style}</style></head><body>
<h1>History of patient <code>{subject}</code></h1>
<p>{said} that <b>{origin}</b> had on record about this patient at its checkpoint {head} of <b>{time}</b>.</p>
{erased}<p>Do not take this page's word for it: <code>epicrisis-verify</code> checks this file offline, and that this
page says what the events say. The events themselves are sealed: what a clinic wrote is read with their key.</p>
{events}<h2>Who signed</h2>
<table><thead><tr><th>name</th><th>as</th><th>with</th><th>when</th><th>SHA-256 of the key</th></tr></thead><tbody>
{signatures}
</tbody></table>
</body></html>
"""
_ERASED = """<p>They have been erased: that they were there still shows, and nothing that they said.</p>
"""
_EVENTS = """<h2>Events</h2>
<table><thead><tr><th>#</th><th>true from</th><th>recorded</th><th>clinic</th><th>event</th><th>about</th>
<th>came with message</th></tr></thead><tbody>
{rows}
</tbody></table>
"""


def render(verdict: Verdict, policy: Policy) -> str:
    """The page of a bundle. No scripts, nothing fetched."""
    count = len(verdict.events)
    keys = [*policy.logs, *(key for key, _ in policy.witnesses.values())]
    rows = [_signature(key, verdict.signed[key], key in policy.logs) for key in keys if key in verdict.signed]
    return _PAGE.format(
        style=_STYLE,
        subject=verdict.subject,
        said=f"These are all <b>{count}</b> events" if count else "There is <b>no event</b>",
        origin=escape(verdict.origin),
        head=verdict.head,
        time=verdict.time,
        erased=_ERASED if count and verdict.events[0].envelope is None else "",
        events=_EVENTS.format(rows="\n".join(map(_row, verdict.events))) if count else "",
        signatures="\n".join(rows),
    )


def _row(event: Event) -> str:
    n, envelope = event.n, event.envelope
    if envelope is None:
        return f'<tr><td>{n}</td><td colspan="6">(erased)</td></tr>'
    cells = [
        str(n),
        envelope.effective.isoformat(sep=" ", timespec="seconds"),
        envelope.recorded.isoformat(sep=" ", timespec="seconds"),
        envelope.clinic,
        envelope.type,
        envelope.stream,
        str(envelope.message or ""),
    ]
    return "<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in cells) + "</tr>"


def _signature(key: Key, time: int | None, log: bool) -> str:
    with_ = "ML-DSA-44" if key.type == MLDSA else "Ed25519"
    when = "" if time is None else datetime.fromtimestamp(time, UTC).isoformat(sep=" ")
    digest = sha256(str(key).encode()).hexdigest()
    cells = [key.name, "the log" if log else "a witness", with_, when]
    return "<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in cells) + f"<td><code>{digest}</code></td></tr>"
