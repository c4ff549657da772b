"""The segments of a message in their groups: a patient, an order of the patient, an item (a result) of the order."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from epicrisis.doors.hl7v2.message import Message, Segment
from epicrisis.doors.hl7v2.rules import LEVELS, Opens

_ITEM = LEVELS.index("item")
_OTHER = Opens(_ITEM, False)
"""A segment that groups.csv does not name is an item by itself."""


class Group:
    """Segments that belong together, inside another group."""

    __slots__ = ("groups", "level", "parent", "segments")

    def __init__(self, level: int, parent: Group | None) -> None:
        self.level = level
        self.parent = parent
        self.segments: list[Segment] = []
        self.groups: list[Group] = []

    def up(self, level: int) -> Group:
        """This group, or the nearest around it, of at most this level."""
        group = self
        while group.level > level and group.parent is not None:
            group = group.parent
        return group

    def has(self, name: str) -> bool:
        """Whether it has such a segment of its own, or groups inside it already."""
        return bool(self.groups) or any(segment.name == name for segment in self.segments)

    def find(self, name: str) -> Segment | None:
        """The first segment of a name, here or in the groups around."""
        for segment in self.segments:
            if segment.name == name:
                return segment
        return self.parent.find(name) if self.parent is not None else None

    def walk(self) -> Iterator[Group]:
        """This group and all inside it, in the order of the message."""
        yield self
        for group in self.groups:
            yield from group.walk()

    def each(self, name: str) -> list[Segment]:
        """Every segment of a name that belongs here, or begins an item of this group."""
        found = [segment for segment in self.segments if segment.name == name]
        return found + [g.segments[0] for g in self.groups if g.level == _ITEM and g.segments[0].name == name]


def grouped(message: Message, opens: Mapping[str, Opens]) -> Group:
    """The message as a group with groups in it."""
    root = current = Group(0, None)
    for segment in message.segments:
        rule = opens.get(segment.name, _OTHER)
        host = current.up(abs(rule.level))
        if rule.level <= 0:
            if segment.name != "NTE":  # a note closes nothing
                current = host
        elif host.level == rule.level and rule.again and not host.has(segment.name):
            current = host
        else:
            above = host.up(rule.level - 1)
            host = current = Group(rule.level, above)
            above.groups.append(host)
        host.segments.append(segment)
    return root
