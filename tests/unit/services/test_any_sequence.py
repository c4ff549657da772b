"""Whatever comes in whatever order: events or a refusal, never another error; and twice is once."""

from __future__ import annotations

import importlib
from datetime import UTC, datetime, timedelta
from typing import Any, get_args, get_type_hints

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from epicrisis.decider import fold
from epicrisis.errors import Refused
from epicrisis.event import fields_of
from epicrisis.found import services
from schemas.access_audit import Delivered
from schemas.common import Coding

NOW = datetime(2026, 3, 1, tzinfo=UTC)

# Few values, so that commands meet: the same clinic, the same stage, the same bytes.
VALUES: dict[Any, st.SearchStrategy[Any]] = {
    str: st.sampled_from(["", "a/x", "b/y", "entered-in-error", "completed", "cancelled", "BTG"]),
    bytes: st.sampled_from([b"", b"v1", b"v2"]),
    bool: st.booleans(),
    int: st.just(200),
    datetime: st.sampled_from([NOW, NOW + timedelta(hours=1), NOW + timedelta(hours=9)]),
    tuple[Delivered, ...]: st.just(()),
    Coding: st.just(Coding(system="s", code="c")),
    tuple[Coding, ...]: st.just(()),
    tuple[str, ...]: st.just(()),
}


def values_of(kind: Any) -> st.SearchStrategy[Any]:
    if kind in VALUES:
        return VALUES[kind]
    hints = get_type_hints(kind)
    return st.builds(kind, **{name: values_of(hints[name]) for name in fields_of(kind)})


def commands_of(name: str) -> st.SearchStrategy[Any]:
    decider: Any = importlib.import_module(f"services.{name}.decider")
    return st.one_of(*(values_of(command) for command in get_args(decider.Command)))


@pytest.mark.parametrize("name", sorted(services()))
@settings(deadline=None, max_examples=100)
@given(data=st.data())
def test_any_sequence_is_decided_and_the_last_command_again_is_nothing(name: str, data: st.DataObject) -> None:
    service = services()[name]
    state = service.initial()
    for command in data.draw(st.lists(commands_of(name), max_size=12)):
        try:
            events = service.decide(command, state)
        except Refused:
            continue
        state = fold(service.evolve, state, events)
        assert not list(service.decide(command, state)), "the same command again did something new"
