"""Every error of Epicrisis, in one tree.

    EpicrisisError
    ├── SettingsError              something is missing or wrong in the settings
    ├── CatalogueError             event classes and released schemas do not agree
    ├── Unreachable                a server does not answer
    ├── Refused                    the input was understood, and may not be
    │   ├── VersionMismatch        the resource is at another version than its sender expected
    │   ├── Foreign                it is another operator's, and was not shared
    │   └── Malformed              the input could not be understood
    │       ├── TooLarge           it is larger than what is accepted
    │       └── Unresolved         it refers to something that is not known (yet)
    │           └── NotHere        what is to be changed is not known
    ├── Conflict                   somebody else appended first
    │   └── TooManyConflicts       … again and again
    ├── Poison                     a record that can never be applied
    │   ├── UnknownSchema          its schema is not in the catalogue
    │   ├── SealBroken             its seal does not match its envelope
    │   └── KeyLost                its subject's key is gone
    ├── Zombie                     another process took over this work
    ├── NotKept                    a refused message was not kept in quarantine
    ├── NotRecorded                an access could not be recorded, so nothing is given out
    └── SendFailed                 Kafka did not acknowledge

The message says what happened and what to do next. It names topic, partition, offset, subject, file or
place, and never the value: a message may end up in a console, a log or somebody's inbox.
No error knows about HTTP, HL7 or exit codes: each door maps the tree to its own language.
"""

from __future__ import annotations


class EpicrisisError(Exception):
    """Something went wrong that Epicrisis knows by name."""


class SettingsError(EpicrisisError):
    """A setting is missing or wrong: set the variable that the message names, then start again."""


class CatalogueError(EpicrisisError):
    """The event classes and their released schemas do not agree: see `epicrisis schema check`."""


class Unreachable(EpicrisisError):
    """A server does not answer: start it (`epicrisis up`), or correct its address in the settings."""


class Refused(EpicrisisError):
    """The input may not be, for the clinical or formal reason in the message: correct it and send it again.

    The message is a sentence that a nurse understands.
    """


class VersionMismatch(Refused):
    """The resource is at another version than the one that was to be changed: read it again, then change that."""


class Foreign(Refused):
    """This belongs to another operator: it must be shared (by a referral, a transfer) first."""


class Malformed(Refused):
    """The input could not be understood: correct the file at the place named and send it again.

    `rule` names the gate's rule that was broken (`epicrisis.fhir.rules`), or is empty.
    """

    def __init__(self, message: str, where: str = "", rule: str = "") -> None:
        super().__init__(f"{where}: {message}" if where else message)
        self.message = message
        self.where = where
        self.rule = rule


class TooLarge(Malformed):
    """The input is larger than what is accepted: split it."""


class Unresolved(Malformed):
    """A reference leads to something that is not known here (yet): send that first."""


class NotHere(Unresolved):
    """There is nothing of this type and id."""


class Conflict(EpicrisisError):
    """Somebody else appended to this subject first: read again, decide again, append again."""


class TooManyConflicts(Conflict):
    """Others kept appending to this subject first: wait a little, then send the message again."""


class Poison(EpicrisisError):
    """A record that can never be applied: `epicrisis parked show` tells where it lies and why.

    `reason` is a short code for tables and metrics.
    """

    default_reason = "poison"

    def __init__(self, message: str = "", reason: str | None = None) -> None:
        super().__init__(message or type(self).__doc__)
        self.reason = reason or self.default_reason


class UnknownSchema(Poison):
    """The record's schema is not in this release's catalogue: upgrade first, then `epicrisis parked retry`."""

    default_reason = "unknown_schema"


class SealBroken(Poison):
    """The record's seal does not match its envelope: it was damaged or forged; compare it with the journal."""

    default_reason = "seal_broken"


class KeyLost(Poison):
    """The key of this subject is gone: the body is erased for good; only the envelope can still be read."""

    default_reason = "key_lost"


class Zombie(EpicrisisError):
    """Another process took over this work while this one was away: give it up and join again."""


class NotKept(EpicrisisError):
    """A refused message was not kept in quarantine: too many wait there already, or it was erased there."""


class NotRecorded(EpicrisisError):
    """The access could not be recorded, so nothing is given out: see `epicrisis doctor`, then ask again."""


class SendFailed(EpicrisisError):
    """Kafka did not acknowledge: make a new producer and send again from the cursor."""
