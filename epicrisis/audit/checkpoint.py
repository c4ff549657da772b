"""Checkpoints: what the cluster says about all trees and all subjects at one moment, signed, and then cosigned.

A checkpoint adds a head to the log of heads; the root of that log is what is signed. Each log partition's tree is a
log of its own too (`<origin>/<partition>`), so that witnesses see that nothing in it was changed.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import sha256
from typing import NamedTuple
from uuid import UUID

from epicrisis.audit import subjects
from epicrisis.audit.chain import ENTRY, heads_in
from epicrisis.audit.records import ACCESSES, HEADS, Records, RecordStore
from epicrisis.audit.signing import Signer
from epicrisis.audit.tiles import Tree, grown
from epicrisis.audit.verifier.history import Head
from epicrisis.audit.verifier.merkle import EMPTY, Wrong, check_consistency, leaf_hash
from epicrisis.audit.verifier.note import Checkpoint, Note, Policy, b64, signature_line
from epicrisis.errors import EpicrisisError

KEYS, POLICY, SCHEMAS = "keys.txt", "policy.txt", "schemas.json"

Ask = Callable[[str, str], tuple[int, str]]
"""``(address, request) -> status, answer`` of a witness's ``add-checkpoint``; OSError where it does not answer."""


class Tampered(EpicrisisError):
    """What was signed before no longer holds: nothing more is signed. Find out who changed it, from a backup."""


@dataclass(frozen=True)
class Published:
    """A new head. ``events``: how many more than the one before it has; ``more``: some are left for the next."""

    number: int
    events: int
    more: bool


class Witnessed(NamedTuple):
    """Whether the newest head is trusted now; by address, why a witness did not cosign. Those who ``refused`` know
    another history than this one: somebody has changed it, or they lie.
    """

    trusted: bool
    silent: dict[str, str]
    refused: dict[str, str]


class Checkpoints:
    """Makes checkpoints, and has them cosigned.

    ``witnesses``: the lines of a trust policy that name them and say which are enough; none by default. ``files``: what
    is published with every head, by name.
    """

    def __init__(
        self,
        store: RecordStore,
        signer: Signer,
        partitions: int,
        *,
        witnesses: str = "quorum none\n",
        files: Mapping[str, str] | None = None,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self.store = store
        self.signer = signer
        self.partitions = partitions
        self._now = now
        text = "".join(f"log {key}\n" for key in signer.keys) + witnesses
        self.policy = Policy.parse(text)
        self._files = {**(files or {}), POLICY: text}

    def origin(self, tree: int) -> str:
        """The name of a tree's log."""
        if tree == ACCESSES:
            return f"{self.signer.name}/accesses"
        return self.signer.name if tree == HEADS else f"{self.signer.name}/{tree}"

    def publish(self) -> Published:
        """A new head over all that the ledger has archived, signed and committed. Killed anywhere, nothing happened.

        Raises
        ------
        Tampered
            The trees or the map are not those that were signed before.
        """
        try:
            return self._publish()
        except Wrong as problem:
            raise Tampered(f"what was signed cannot be read any more: {problem}") from None

    def _publish(self) -> Published:
        with self.store.transaction() as at:
            at.lock()
            stored = at.head()
            before = None if stored is None else Head.parse(stored.entry)
            number = 0 if stored is None else stored.number + 1
            if stored is not None and leaf_hash(stored.entry.encode()) != _tree(at, HEADS).leaf(stored.number):
                raise Tampered("the last head is not the one that was signed")
            trees, heads, accesses, more = self._trees(at, before)
            made = self._map(at, before, heads)
            at.save_map(number, made.buckets, made.shelves)
            moment = self._now()
            head = Head(
                time=_second(moment),
                trees=tuple(trees),
                subjects=made.gained + (0 if before is None else before.subjects),
                map=made.root,
                access=self._accesses(at, before, accesses),
                files=self._publish_files(at, moment),
            )
            at.add_head(number, str(head))
            self._grow(at, HEADS, number, [leaf_hash(str(head).encode())])
            cluster = _tree(at, HEADS)
            if number:
                old = self._signed(at, HEADS, number)
                _must_follow(old, cluster, number + 1)
            for tree, (size, root) in [*enumerate(trees), (HEADS, (number + 1, cluster.root(number + 1)))]:
                if size:
                    self._sign(at, tree, Checkpoint(self.origin(tree), size, root), moment)
            self._trust(at, number, head)
        added = sum(size for size, _ in trees) - (0 if before is None else sum(size for size, _ in before.trees))
        return Published(number, added, more)

    def _trees(
        self, at: Records, before: Head | None
    ) -> tuple[list[tuple[int, bytes]], dict[UUID, tuple[int, bytes]], list[bytes], bool]:
        if before is not None and len(before.trees) != self.partitions:
            raise Tampered(f"the last checkpoint has {len(before.trees)} partitions, the settings {self.partitions}")
        trees: list[tuple[int, bytes]] = []
        heads: dict[UUID, tuple[int, bytes]] = {}
        accesses: list[bytes] = []
        more = False
        for partition in range(self.partitions):
            size, root = (0, EMPTY) if before is None else before.trees[partition]
            parts = at.entries(partition, size)
            new = b"".join(raw for _, raw in parts)
            first, expected = size, [first for first, _ in parts]
            for found, (_, raw) in zip(expected, parts, strict=True):
                if found != first or len(raw) % ENTRY:
                    raise Tampered(f"partition {partition} has no entry {first}, though it has later ones")
                first += len(raw) // ENTRY
            leaves = [leaf_hash(new[n : n + ENTRY]) for n in range(0, len(new), ENTRY)]
            self._grow(at, partition, size, leaves)
            heads |= heads_in(new)
            if new:
                accesses += [leaves[n - size] for n in at.accesses(partition, self.partitions, size, first)]
            now = Checkpoint(self.origin(partition), first, _tree(at, partition).root(first) if new else root)
            _must_follow(Checkpoint(now.origin, size, root), _tree(at, partition), first)
            trees.append((now.size, now.root))
            more = more or (bool(parts) and bool(at.entries(partition, first)))
        return trees, heads, accesses, more

    def _accesses(self, at: Records, before: Head | None, leaves: Sequence[bytes]) -> tuple[int, bytes]:
        """The tree of all accesses, with these more: the same leaves as in the partitions' trees, head by head."""
        size, root = (0, EMPTY) if before is None else before.access
        self._grow(at, ACCESSES, size, leaves)
        new = size + len(leaves)
        _must_follow(Checkpoint(self.origin(ACCESSES), size, root), _tree(at, ACCESSES), new)
        return new, _tree(at, ACCESSES).root(new)

    def _map(self, at: Records, before: Head | None, heads: Mapping[UUID, tuple[int, bytes]]) -> subjects.Changed:
        newest = at.head()
        as_of = -1 if newest is None else newest.number

        def buckets(numbers: Collection[int]) -> Mapping[int, bytes]:
            return at.buckets(numbers, as_of)

        def shelves(numbers: Collection[int]) -> Mapping[int, bytes]:
            return at.shelves(numbers, as_of)

        if before is not None and subjects.root_of_map(shelves) != before.map:
            raise Tampered("the map of all subjects is not the one that was signed")
        return subjects.changed(buckets, shelves, heads)

    def _grow(self, at: Records, tree: int, size: int, leaves: Sequence[bytes]) -> None:
        at.add_tiles(tree, grown(lambda level, n: at.tile(tree, level, n), size, leaves))

    def _sign(self, at: Records, tree: int, checkpoint: Checkpoint, moment: datetime) -> None:
        """Unless it has been signed with these keys already: a partition without news stays as it is."""
        note = at.note(tree, checkpoint.size)
        own = {(key.name, key.id) for key in (key.named(checkpoint.origin) for key in self.signer.keys)}
        if note is not None and own <= _ids(Note.parse(note)):
            return
        lines = self.signer.sign(checkpoint, int(moment.timestamp()))
        if note is None:
            at.add_note(tree, checkpoint.size, f"{checkpoint.text}\n{lines}")
        else:
            at.cosign(tree, checkpoint.size, lines)

    def _signed(self, at: Records, tree: int, size: int) -> Checkpoint:
        note = at.note(tree, size)
        if note is None:
            raise Tampered("the last checkpoint's signatures are gone")
        return Note.parse(note).checkpoint

    def _publish_files(self, at: Records, moment: datetime) -> dict[str, str]:
        keys = at.keys(moment, [str(key) for key in self.signer.keys])
        text = "".join(
            f"{key} from {_second(since)}{f' until {_second(until)}' if until else ''}\n" for key, since, until in keys
        )
        digests = {}
        for name, content in {**self._files, KEYS: text}.items():
            digests[name] = sha256(content.encode()).hexdigest()
            at.add_file(digests[name], content)
        return digests

    def _trust(self, at: Records, number: int, head: Head) -> bool:
        """Whether enough witnesses have cosigned all trees of this head; then it is trusted from now on."""
        sizes = {HEADS: number + 1, **{tree: size for tree, (size, _) in enumerate(head.trees) if size}}
        for tree, size in sizes.items():
            note = at.note(tree, size)
            if note is None or not self._met(note):
                return False
        at.trust(number, sizes)
        return True

    def _met(self, note: str) -> bool:
        return self.policy.met(Note.parse(note).signers([key for key, _ in self.policy.witnesses.values()]))

    # Witnesses

    def witness(self, ask: Ask) -> Witnessed:
        """Have the newest head cosigned by all witnesses that the policy gives an address for."""
        with self.store.transaction() as at:
            newest = at.head()
            if newest is None:
                return Witnessed(False, {}, {})
            head = Head.parse(newest.entry)
        silent: dict[str, str] = {}
        refused: dict[str, str] = {}
        addresses: dict[str, list[str]] = {}
        for name, (_, address) in self.policy.witnesses.items():
            if address:
                addresses.setdefault(address, []).append(name)
        trees = {tree: size for tree, (size, _) in enumerate(head.trees) if size} | {HEADS: newest.number + 1}
        for address, names in addresses.items():
            try:
                for tree, size in trees.items():
                    self._cosigned(ask, address, names, tree, size)
            except Tampered as problem:
                refused[address] = str(problem)
            except (Wrong, _NotNow) as problem:
                silent[address] = str(problem)
            except OSError as problem:
                silent[address] = type(problem).__name__
        with self.store.transaction() as at:
            at.lock()
            return Witnessed(self._trust(at, newest.number, head), silent, refused)

    def _cosigned(self, ask: Ask, address: str, names: Collection[str], tree: int, size: int) -> None:
        keys = [self.policy.witnesses[name][0] for name in names]
        with self.store.transaction() as at:
            text = at.note(tree, size)
            old = min(at.witnessed(address).get(tree, 0), size)
        if text is None:
            return
        note = Note.parse(text)
        if all(key in note.signers(keys) for key in keys):
            return
        for _ in range(2):
            status, answer = ask(address, self._request(tree, old, size, text))
            if status == 409 and answer.strip().isdecimal() and int(answer) <= size and int(answer) != old:
                old = int(answer)  # it knows more, or less, than we remember
                continue
            break
        if status == 409 and self._superseded(tree, answer.strip(), size):
            raise _NotNow("has cosigned a newer checkpoint meanwhile")
        if status in (409, 422):
            raise Tampered(f"the witness {address} refuses {self.origin(tree)} ({status}): it knows another history")
        if status != 200:
            raise _NotNow(f"answered {status}")
        given = Note.parse(f"{note.checkpoint.text}\n{answer}")
        signed = given.signers(keys)
        by_id = {(key.name, key.id) for key in signed}
        kept = [(n, raw) for n, raw in given.lines if (n, raw[:4]) in by_id and (n, raw[:4]) not in _ids(note)]
        if not all(key in signed for key in keys):
            raise _NotNow("did not sign with all its keys")
        with self.store.transaction() as at:
            at.cosign(tree, size, "".join(signature_line(name, raw) for name, raw in kept))
            at.save_witnessed(address, tree, size)

    def _superseded(self, tree: int, known: str, size: int) -> bool:
        with self.store.transaction() as at:
            newest = at.head()
        if newest is None or not known.isdecimal() or int(known) <= size:
            return False
        head = Head.parse(newest.entry)
        return int(known) <= (newest.number + 1 if tree == HEADS else head.trees[tree][0])

    def _request(self, tree: int, old: int, size: int, note: str) -> str:
        with self.store.transaction() as at:
            proof = _tree(at, tree).consistency(old, size)
        return f"old {old}\n" + "".join(f"{b64(one)}\n" for one in proof) + f"\n{note}"


class _NotNow(Exception):
    """A witness could not cosign now."""


def _ids(note: Note) -> set[tuple[str, bytes]]:
    return {(name, raw[:4]) for name, raw in note.lines}


def _tree(at: Records, tree: int) -> Tree:
    return Tree(lambda level, number: at.tile(tree, level, number))


def _must_follow(old: Checkpoint, tree: Tree, size: int) -> None:
    """Append-only, by the proof that a witness would ask for."""
    try:
        check_consistency(old.size, old.root, size, tree.root(size), tree.consistency(old.size, size))
    except Wrong:
        raise Tampered(f"{old.origin} does not begin with what was signed before") from None


def _second(moment: datetime) -> str:
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
