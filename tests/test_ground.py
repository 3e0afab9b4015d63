"""The ground types are data: frozen, slotted, and events a closed union."""

from __future__ import annotations

import dataclasses
import inspect
from typing import Any, get_args

import pytest

from planar import events, protocols, types
from planar.events import DELTAS, Delta, Event
from planar.types._quick import quick

# Filled in while an answer arrives, by the provider, for the client to read.
FILLED_IN = {types.ResponseInfo}
# No dataclasses: one is a text with its own check, one hides what it holds.
OTHERS = {types.Route, types.TenantPath, types.Secret}
AMONG_THEM = {
    types.Message,
    types.Text,
    types.Image,
    types.File,
    types.Audio,
    types.ToolCall,
    types.ToolResult,
    types.Reasoning,
    types.Refusal,
    types.Opaque,
    types.Tool,
    types.ToolChoice,
    types.ChatRequest,
    types.EmbedRequest,
    types.Completion,
    types.Embeddings,
    types.Usage,
    types.Route,
    types.Verdict,
    types.Lease,
    types.LedgerEntry,
    types.Receipt,
    protocols.Call,
    protocols.RequestContext,
}


def classes_of(module: Any, *, own: str) -> set[type]:
    return {
        value
        for name, value in vars(module).items()
        if inspect.isclass(value) and value.__module__.startswith(own) and not name.startswith("_")
    }


def slotted(kind: type) -> bool:
    return all("__slots__" in vars(base) for base in kind.__mro__ if base not in (object, str))


GROUND = classes_of(types, own="planar.types") | {
    kind for kind in classes_of(protocols, own="planar.protocols") if dataclasses.is_dataclass(kind)
}
EVENTS = classes_of(events, own="planar.events")


def named(kind: type) -> str:
    return kind.__name__


def test_all_ground_types_are_looked_at() -> None:
    assert AMONG_THEM | FILLED_IN | OTHERS <= GROUND


@pytest.mark.parametrize("kind", sorted(GROUND - FILLED_IN - OTHERS, key=named), ids=named)
def test_a_ground_type_is_frozen_and_has_slots(kind: Any) -> None:
    assert dataclasses.is_dataclass(kind)
    assert kind.__dataclass_params__.frozen
    assert slotted(kind)


@pytest.mark.parametrize("kind", sorted(FILLED_IN | OTHERS, key=named), ids=named)
def test_those_that_are_not_frozen_data_have_slots_too(kind: Any) -> None:
    assert slotted(kind)
    assert not (dataclasses.is_dataclass(kind) and kind.__dataclass_params__.frozen)


@pytest.mark.parametrize("kind", sorted(EVENTS, key=named), ids=named)
def test_an_event_has_slots_and_is_not_frozen_for_speed(kind: Any) -> None:
    # Freezing one costs more than everything else that is done with it; one is made for every token.
    assert dataclasses.is_dataclass(kind)
    assert slotted(kind)
    assert not kind.__dataclass_params__.frozen


def test_events_are_one_closed_union_and_deltas_a_part_of_it() -> None:
    assert set(get_args(Event)) == EVENTS
    assert set(get_args(Delta)) == set(DELTAS)
    assert set(DELTAS) < EVENTS


def test_a_ground_type_cannot_be_changed() -> None:
    message = types.Message("user", "hi")

    with pytest.raises(dataclasses.FrozenInstanceError):
        message.role = "system"  # type: ignore[misc]


@quick
@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    x: int
    y: int = 2
    names: list[str] = dataclasses.field(default_factory=list)

    def __post_init__(self) -> None:
        if self.x < 0:
            raise ValueError("x must not be below 0")


def test_a_quick_type_keeps_its_arguments_and_its_defaults() -> None:
    point = Point(x=1)

    assert (point.x, point.y, point.names) == (1, 2, [])
    assert dataclasses.replace(point, y=3) == Point(x=1, y=3, names=[])
    assert str(inspect.signature(Point)).startswith("(*, x: 'int', y: 'int' = 2, names: 'list[str]' =")


def test_objects_of_a_quick_type_share_no_default() -> None:
    first, second = Point(x=1), Point(x=1)

    first.names.append("a")

    assert second.names == []


def test_a_quick_type_checks_itself_and_cannot_be_changed() -> None:
    point = Point(x=1)

    with pytest.raises(dataclasses.FrozenInstanceError):
        point.x = 2  # type: ignore[misc]
    with pytest.raises(ValueError, match="below 0"):
        Point(x=-1)
    with pytest.raises(TypeError, match="unexpected keyword argument"):
        Point(x=1, z=2)  # type: ignore[call-arg]
