"""Signed notes, checkpoints, cosignatures and trust policies, as C2SP writes them down.

- https://c2sp.org/signed-note, https://c2sp.org/tlog-checkpoint
- https://c2sp.org/tlog-cosignature: type 0x04 (Ed25519) and 0x06 (ML-DSA-44)
- https://c2sp.org/tlog-policy: which logs and witnesses are trusted, and how many of them are enough
"""

from __future__ import annotations

import base64
import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field, replace
from functools import cached_property
from hashlib import sha256

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.mldsa import MLDSA44PublicKey

from .merkle import HASH, Wrong

ED25519, COSIGNATURE, MLDSA = 0x01, 0x04, 0x06
"""The types of signatures: of a log; of a witness, with the time; ML-DSA-44, of either, with the time."""
PUBLIC_BYTES = {ED25519: 32, COSIGNATURE: 32, MLDSA: 1312}
SIGNATURE_BYTES = {ED25519: 64, COSIGNATURE: 72, MLDSA: 2428}
MAX_SIGNATURES, MAX_NAMES = 64, 256
MAX_TIME = 253_402_300_799
_NAME = re.compile(r"[^\s+]+")
_LINE = re.compile(r"— ([^\s+]+) (\S+)")
_SIZE = re.compile(r"0|[1-9][0-9]{0,18}")


def b64(raw: bytes) -> str:
    """Bytes as base64 (RFC 4648, section 4)."""
    return base64.b64encode(raw).decode()


def unb64(text: str) -> bytes:
    """Base64 as bytes, in its one canonical form alone."""
    try:
        raw = base64.b64decode(text.encode("ascii"), validate=True)
    except ValueError:
        raw = b""
    if b64(raw) != text:
        raise Wrong("something that should be base64 is not")
    return raw


@dataclass(frozen=True)
class Key:
    """A public key under a name: a verifier key (vkey)."""

    name: str
    type: int
    public: bytes

    @classmethod
    def parse(cls, text: str) -> Key:
        """From ``name+key id+base64(type ‖ public key)``.

        Raises
        ------
        Wrong
            It is not a vkey, or of a type that is not known here.
        """
        name, plus, rest = text.partition("+")
        id_, again, encoded = rest.partition("+")
        raw = unb64(encoded)
        if not (_NAME.fullmatch(name) and plus and again and raw and len(raw) - 1 == PUBLIC_BYTES.get(raw[0], -1)):
            raise Wrong("something that should be a verifier key is not")
        key = cls(name, raw[0], raw[1:])
        if key.id.hex() != id_:
            raise Wrong("a verifier key does not have the id that it claims")
        return key

    def __str__(self) -> str:
        return f"{self.name}+{self.id.hex()}+{b64(bytes([self.type]) + self.public)}"

    @cached_property
    def id(self) -> bytes:
        """4 bytes: which key it is, among those of its name."""
        return sha256(self.name.encode() + b"\n" + bytes([self.type]) + self.public).digest()[:4]

    def named(self, name: str) -> Key:
        """The same key under another name: a log's key signs for each of its trees."""
        return replace(self, name=name)

    def verified(self, checkpoint: Checkpoint, signature: bytes) -> int | None:
        """The time that a right signature claims, in seconds since 1970, None where its type has none.

        Raises
        ------
        Wrong
            The signature is not this key's over this checkpoint.
        """
        if len(signature) != SIGNATURE_BYTES[self.type]:
            raise Wrong(f"a signature of {self.name} has the wrong length")
        time = None if self.type == ED25519 else int.from_bytes(signature[:8], "big")
        if time is not None and time > MAX_TIME:
            raise Wrong(f"a signature of {self.name} claims a time beyond the calendar")
        message = signed_message(self.type, self.name, checkpoint, time or 0)
        raw = signature if time is None else signature[8:]
        try:
            if self.type == MLDSA:
                MLDSA44PublicKey.from_public_bytes(self.public).verify(raw, message)
            else:
                Ed25519PublicKey.from_public_bytes(self.public).verify(raw, message)
        except (InvalidSignature, ValueError):
            raise Wrong(f"a signature of {self.name} is not right") from None
        return time


def signed_message(type_: int, name: str, checkpoint: Checkpoint, time: int) -> bytes:
    """What is signed: the note's text, that with its time before it, or (ML-DSA-44) origin, size and root."""
    if type_ == ED25519:
        return checkpoint.text.encode()
    if type_ == COSIGNATURE:
        return f"cosignature/v1\ntime {time}\n{checkpoint.text}".encode()
    whose, origin = name.encode(), checkpoint.origin.encode()
    if len(whose) > 255 or len(origin) > 255:
        raise Wrong("a name is too long for an ML-DSA-44 signature")
    return b"".join(
        (
            b"subtree/v1\n\0",
            bytes([len(whose)]) + whose,
            time.to_bytes(8, "big"),
            bytes([len(origin)]) + origin,
            bytes(8),
            checkpoint.size.to_bytes(8, "big"),
            checkpoint.root,
        )
    )


@dataclass(frozen=True)
class Checkpoint:
    """A tree as it was signed: origin, size, root. No extension lines: ML-DSA-44 signatures would not cover them."""

    origin: str
    size: int
    root: bytes

    @classmethod
    def parse(cls, text: str) -> Checkpoint:
        """From a note's text.

        Raises
        ------
        Wrong
            It is not three lines of origin, size and root.
        """
        origin, size, root, *rest = text.split("\n") if text.count("\n") == 3 else ["", "", "", "?"]
        if rest != [""] or not _NAME.fullmatch(origin) or not _SIZE.fullmatch(size) or len(unb64(root)) != HASH:
            raise Wrong("a checkpoint is not origin, size and root")
        return cls(origin, int(size), unb64(root))

    @cached_property
    def text(self) -> str:
        return f"{self.origin}\n{self.size}\n{b64(self.root)}\n"


@dataclass(frozen=True)
class Note:
    """A checkpoint with its signature lines, as they were found."""

    checkpoint: Checkpoint
    lines: tuple[tuple[str, bytes], ...]
    """Name; key id and signature."""

    @classmethod
    def parse(cls, text: str) -> Note:
        """From a signed note.

        Raises
        ------
        Wrong
            It is not one, or no checkpoint, or has too many signatures.
        """
        body, found, tail = text.rpartition("\n\n")
        if not found or re.search(r"[\x00-\x09\x0b-\x1f]", text) or not tail.endswith("\n"):
            raise Wrong("a checkpoint is not a signed note")
        return cls(Checkpoint.parse(body + "\n"), tuple(signature_lines(tail)))

    def __str__(self) -> str:
        return f"{self.checkpoint.text}\n" + "".join(signature_line(name, raw) for name, raw in self.lines)

    def signers(self, keys: Collection[Key]) -> dict[Key, int | None]:
        """Those of these keys that have signed, and when they say so; signatures of other keys are not looked at.

        Raises
        ------
        Wrong
            One of these keys is named, and its signature is not right.
        """
        by_id = {(key.name, key.id): key for key in keys}
        found: dict[Key, int | None] = {}
        for name, raw in self.lines:
            if (key := by_id.get((name, raw[:4]))) is not None:
                if key in found:
                    raise Wrong(f"{name} has signed twice")
                found[key] = key.verified(self.checkpoint, raw[4:])
        return found


def signature_lines(text: str) -> Iterator[tuple[str, bytes]]:
    """The signature lines of a note, or of a witness's answer."""
    lines = text.split("\n")
    if lines.pop() or not 0 < len(lines) <= MAX_SIGNATURES:
        raise Wrong("a note has no signatures, or too many")
    for line in lines:
        match = _LINE.fullmatch(line)
        raw = unb64(match[2]) if match else b""
        if match is None or len(raw) <= 4:
            raise Wrong("a signature line is not one")
        yield match[1], raw


def signature_line(name: str, raw: bytes) -> str:
    """``raw``: key id and signature."""
    return f"— {name} {b64(raw)}\n"


@dataclass(frozen=True)
class Group:
    """So many of these members (witnesses or groups) are enough."""

    enough: int
    members: tuple[str, ...]


@dataclass(frozen=True)
class Policy:
    """Whom somebody trusts: a log by its keys, witnesses by name, and which of them are enough."""

    logs: tuple[Key, ...] = ()
    witnesses: dict[str, tuple[Key, str]] = field(default_factory=dict)
    """Key and address (may be empty)."""
    groups: dict[str, Group] = field(default_factory=dict)
    quorum: str = "none"

    @classmethod
    def parse(cls, text: str) -> Policy:
        """From a policy file.

        Raises
        ------
        Wrong
            It is not one; the message says which line.
        """
        logs: list[Key] = []
        witnesses: dict[str, tuple[Key, str]] = {}
        groups: dict[str, Group] = {}
        quorums: list[str] = []
        for number, line in enumerate(text.split("\n"), 1):
            words = line.strip(" \t").split()
            try:
                match words:
                    case []:
                        pass
                    case [word, *_] if word.startswith("#"):
                        pass
                    case ["log", key] | ["log", key, _]:
                        logs.append(Key.parse(key))
                    case ["witness", name, key] | ["witness", name, key, _] if _new(name, witnesses, groups):
                        witnesses[name] = Key.parse(key), words[3] if len(words) == 4 else ""
                    case ["group", name, enough, *members] if _new(name, witnesses, groups):
                        groups[name] = _group(enough, members, {*witnesses, *groups}, groups)
                    case ["quorum", name] if name == "none" or not _new(name, witnesses, groups):
                        quorums.append(name)
                    case _:
                        raise Wrong("is not understood")
            except Wrong as problem:
                raise Wrong(f"line {number} of the policy: {problem}") from None
        if max(len(logs), len(witnesses), len(groups)) > MAX_NAMES:
            raise Wrong("the policy names too many")
        keys = [key.public for key, _ in witnesses.values()]
        if len(quorums) != 1 or len(set(keys)) < len(keys) or len(set(logs)) < len(logs):
            raise Wrong("the policy needs one quorum, and each key once")
        if {key.type for key in logs} - {ED25519, MLDSA} or any(k.type == ED25519 for k, _ in witnesses.values()):
            raise Wrong("the policy names a key of a type that is not for this")
        return cls(tuple(logs), witnesses, groups, quorums[0])

    def met(self, signers: Collection[Key]) -> bool:
        """Whether these witnesses are enough."""

        def has(name: str) -> bool:
            if name in self.witnesses:
                return self.witnesses[name][0] in signers
            return sum(map(has, self.groups[name].members)) >= self.groups[name].enough

        return self.quorum == "none" or has(self.quorum)

    def keys_of(self, origin: str, tree: str) -> tuple[Key, ...]:
        """The keys that count for a log: its own, under the name of one of its trees, and all witnesses'."""
        return *(key.named(tree) for key in self.logs if key.name == origin), *(k for k, _ in self.witnesses.values())

    def check(self, note: Note, origin: str, signed: Collection[Key] | None = None) -> None:
        """That this is a checkpoint of this log, or of one of its trees, that may be trusted.

        All keys that the policy names for the log must have signed, and enough witnesses. ``signed``: who has, where
        that is known already.

        Raises
        ------
        Wrong
            A signature is not right, or is missing.
        """
        tree = note.checkpoint.origin
        if tree != origin and not tree.startswith(f"{origin}/"):
            raise Wrong("a checkpoint is of another log")
        found = note.signers(self.keys_of(origin, tree)) if signed is None else signed
        logs = [key.named(tree) for key in self.logs if key.name == origin]
        if not logs or any(key not in found for key in logs):
            raise Wrong("a checkpoint is not signed by the log")
        if not self.met(found):
            raise Wrong("a checkpoint is not cosigned by as many witnesses as the policy asks for")


def _new(name: str, *known: Collection[str]) -> bool:
    return name != "none" and not any(name in some for some in known)


def _group(enough: str, members: list[str], known: set[str], groups: dict[str, Group]) -> Group:
    used = {member for group in groups.values() for member in group.members}
    if not members or len(set(members)) < len(members) or not used.isdisjoint(members) or not set(members) <= known:
        raise Wrong("names members that are not there, or are elsewhere already")
    number = {"all": str(len(members)), "any": "1"}.get(enough, enough)
    if not re.fullmatch(r"[1-9][0-9]{0,3}", number) or int(number) > len(members):
        raise Wrong("asks for a number of members that cannot be")
    return Group(int(number), tuple(members))
