"""The shape of an answer: checked on our side, and sent back a bounded number of times when asked."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import planar
from planar.client._schema import Validator
from planar.testing import ScriptedProvider, reply

RIVER = {
    "type": "object",
    "properties": {
        "name": {"type": "string", "minLength": 1},
        "km": {"type": "integer", "exclusiveMinimum": 0},
        "banks": {"type": "array", "items": {"enum": ["left", "right"]}, "maxItems": 2, "uniqueItems": True},
        "sea": {"anyOf": [{"type": "string"}, {"type": "null"}]},
        "mouth": {"$ref": "#/$defs/place"},
    },
    "required": ["name", "km"],
    "additionalProperties": False,
    "$defs": {"place": {"type": "object", "properties": {"lat": {"type": "number", "minimum": -90, "maximum": 90}}}},
}
EBRO = {"name": "Ebro", "km": 930, "banks": ["left"], "sea": None, "mouth": {"lat": 40.7}}


def problems(schema: dict[str, Any], value: Any) -> tuple[str, ...]:
    return Validator(schema).problems(value)


def test_what_fits_has_no_problem() -> None:
    assert problems(RIVER, EBRO) == ()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"name": ""}, "answer.name: '' must have at least this many characters: 1"),
        ({"name": 3}, "answer.name: must be string, not 3"),
        ({"km": 0}, "answer.km: 0 must be more than 0"),
        ({"km": 1.5}, "answer.km: must be integer, not 1.5"),
        ({"km": True}, "answer.km: must be integer, not True"),
        ({"banks": ["up"]}, "answer.banks[0]: must be one of 'left', 'right', not 'up'"),
        ({"banks": ["left", "left"]}, "answer.banks: has an item twice"),
        ({"sea": 3}, "answer.sea: 3 has none of the 2 shapes that are allowed"),
        ({"mouth": {"lat": 91}}, "answer.mouth.lat: 91 must be at most 90"),
        ({"depth": 3}, "answer: has 'depth', which is not among its properties"),
    ],
)
def test_what_does_not_fit_is_said_with_its_place(change: dict[str, Any], words: str) -> None:
    assert problems(RIVER, {**EBRO, **change}) == (words,)


@pytest.mark.parametrize(
    ("schema", "good", "bad"),
    [
        ({"const": 1}, 1, True),
        ({"oneOf": [{"minimum": 5}, {"maximum": 7}]}, 9, 6),
        ({"allOf": [{"type": "integer"}, {"multipleOf": 3}]}, 9, 10),
        ({"not": {"type": "null"}}, 1, None),
        ({"pattern": "^a+$"}, "aa", "b"),
        (
            {"patternProperties": {"^n": {"type": "integer"}}, "additionalProperties": {"type": "string"}},
            {"n": 1},
            {"x": 1},
        ),
        ({"prefixItems": [{"type": "string"}], "items": {"type": "integer"}}, ["a", 1], ["a", "b"]),
        ({"contains": {"const": 3}}, [1, 3], [1, 2]),
        ({"minProperties": 1, "maxProperties": 1}, {"a": 1}, {}),
        ({"type": ["string", "null"]}, None, 1),
        ({"type": "number", "exclusiveMaximum": 2.5}, 2, 2.5),
        (
            {"$ref": "#/$defs/list", "$defs": {"list": {"items": {"$ref": "#/$defs/list"}, "type": "array"}}},
            [[], [[]]],
            [[1]],
        ),
        ({"properties": {"a": False}}, {"b": 1}, {"a": 1}),
    ],
)
def test_each_keyword_tells_good_from_bad(schema: dict[str, Any], good: Any, bad: Any) -> None:
    assert problems(schema, good) == ()
    assert problems(schema, bad) != ()


@pytest.mark.parametrize(
    ("schema", "words"),
    [
        ({"type": "object", "unevaluatedProperties": False}, "unevaluatedProperties"),
        ({"$ref": "http://example.com/schema"}, "leads out of the schema"),
        ({"$ref": "#/$defs/nothing"}, "leads nowhere"),
        ({"properties": {"a": 3}}, "a schema is an object"),
    ],
)
def test_a_schema_that_cannot_be_checked_is_refused_before_anybody_is_paid(schema: dict[str, Any], words: str) -> None:
    client = planar.Planar(providers=[ScriptedProvider("no")])

    with pytest.raises(planar.InvalidRequestError) as caught:
        client.stream("The longest?", output=schema)

    assert words in str(caught.value)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 5) | st.text(max_size=3),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["name", "km", "x"]), inner, max_size=3)
    ),
)


@given(json_values)
def test_any_json_is_judged_without_an_error(value: Any) -> None:
    found = problems(RIVER, value)

    assert len(found) <= 20
    if found == ():
        assert {"name", "km"} <= set(value) if isinstance(value, dict) else False


def test_a_value_that_is_nested_without_end_is_a_problem_and_no_crash() -> None:
    deep: Any = []
    for _ in range(500):
        deep = [deep]

    [problem] = problems(
        {"$ref": "#/$defs/list", "$defs": {"list": {"type": "array", "items": {"$ref": "#/$defs/list"}}}}, deep
    )

    assert "64 deep" in problem


@pytest.mark.anyio
async def test_a_schema_gives_the_parsed_answer() -> None:
    client = planar.Planar(providers=[ScriptedProvider(reply(json.dumps(EBRO)))])

    completion = await client.infer("The longest?", output=RIVER)

    assert completion.output == EBRO


@pytest.mark.anyio
async def test_an_answer_of_the_wrong_shape_is_not_sent_back_unless_asked() -> None:
    provider = ScriptedProvider(reply('{"name": "Ebro"}'), reply(json.dumps(EBRO)))
    client = planar.Planar(providers=[provider])

    with pytest.raises(planar.OutputInvalidError):
        await client.infer("The longest?", output=RIVER)

    assert len(provider.received) == 1


@pytest.mark.anyio
async def test_a_repair_tells_the_model_what_is_wrong_and_is_booked_by_itself() -> None:
    provider = ScriptedProvider(reply('{"name": "Ebro"}'), reply(json.dumps(EBRO)))
    client = planar.Planar(providers=[provider])

    completion = await client.infer("The longest?", output=RIVER, repairs=2)

    assert completion.output == EBRO
    sent = provider.received[1].request.messages
    assert [message.role for message in sent] == ["user", "assistant", "user"]
    assert "answer: lacks 'km'" in sent[2].text
    assert len([entry async for entry in client.quotas.ledger()]) == 2


@pytest.mark.anyio
async def test_repairs_are_bounded() -> None:
    provider = ScriptedProvider(reply("no JSON"))
    client = planar.Planar(providers=[provider])

    with pytest.raises(planar.OutputInvalidError) as caught:
        await client.infer("The longest?", output=RIVER, repairs=2)

    assert len(provider.received) == 3
    assert caught.value.text == "no JSON"
