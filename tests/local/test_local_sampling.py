from __future__ import annotations

import json
from typing import Any

import pytest
from local_support import question

from planar.errors import InvalidRequestError, UnsupportedError
from planar.providers.local._sampling import check_schema, check_supported, read_sampling
from planar.types import OutputSchema, Tool, ToolChoice

WEATHER = Tool(name="weather", parameters={"type": "object"})


def test_what_nobody_asked_for_is_as_in_llama_cpps_server() -> None:
    sampling = read_sampling(question(), provider="local")

    assert (sampling.temperature, sampling.top_k, sampling.top_p, sampling.min_p) == (0.8, 40, 0.95, 0.05)
    assert not sampling.greedy
    assert not sampling.reproducible


def test_a_seed_or_no_temperature_asks_for_the_same_answer_again() -> None:
    assert read_sampling(question(seed=7), provider="local").reproducible
    assert read_sampling(question(temperature=0.0), provider="local").greedy


def test_extra_fields_of_this_provider_are_read_and_those_of_others_are_not() -> None:
    request = question(extra_body={"local": {"top_k": 0, "min_p": 0.2}, "openai": {"anything": 1}})

    sampling = read_sampling(request, provider="local")

    assert (sampling.top_k, sampling.min_p) == (0, 0.2)


@pytest.mark.parametrize(
    "fields",
    [
        {"max_tokens": 0},
        {"max_tokens": True},
        {"temperature": -0.1},
        {"temperature": float("nan")},
        {"temperature": float("inf")},
        {"top_p": 1.5},
        {"logprobs": 21},
        {"stop": ("a", "")},
        {"stop": ("a",) * 65},
        {"extra_body": {"local": {"top_k": -1}}},
        {"extra_body": {"local": {"min_p": "0.1"}}},
        {"extra_body": {"local": {"grammar": " "}}},
        {"extra_body": {"local": {"grammar": "a\0b"}}},
        {"extra_body": {"local": {"grammar": "root ::= [a]"}}, "output": OutputSchema(name="x", schema={})},
    ],
)
def test_a_value_out_of_its_range_is_named(fields: dict[str, Any]) -> None:
    with pytest.raises(InvalidRequestError) as caught:
        read_sampling(question(**fields), provider="local")

    assert caught.value.param is not None


def test_an_unknown_extra_field_is_refused() -> None:
    with pytest.raises(UnsupportedError, match="mirostat"):
        read_sampling(question(extra_body={"local": {"mirostat": 2}}), provider="local")


def test_tools_are_refused_unless_they_may_not_be_used() -> None:
    with pytest.raises(UnsupportedError, match="tools"):
        check_supported(question(tools=(WEATHER,)), strict=False)

    assert check_supported(question(tools=(WEATHER,), tool_choice=ToolChoice(mode="none")), strict=True) == []


@pytest.mark.parametrize("field", [{"reasoning": "high"}, {"service_tier": "flex"}, {"cache": "1h"}])
def test_what_a_local_model_has_not_is_told_or_with_strict_refused(field: dict[str, Any]) -> None:
    [notice] = check_supported(question(**field), strict=False)

    assert notice.code == "parameter_dropped"
    with pytest.raises(UnsupportedError):
        check_supported(question(**field), strict=True)


def test_definitions_get_names_that_are_no_rules_of_the_converter() -> None:
    schema = {
        "$defs": {"string": {"type": "integer"}, "My_Node": {"properties": {"next": {"$ref": "#/$defs/My_Node"}}}},
        "properties": {"a": {"$ref": "#/$defs/string"}, "b": {"$ref": "#/properties/a"}, "$ref": {"type": "null"}},
    }
    before = json.dumps(schema)

    checked = check_schema(schema)

    assert json.dumps(schema) == before
    assert list(checked["$defs"]) == ["planar-0", "planar-1"]
    assert checked["$defs"]["planar-1"]["properties"]["next"] == {"$ref": "#/$defs/planar-1"}
    assert checked["properties"]["a"] == {"$ref": "#/$defs/planar-0"}
    assert checked["properties"]["b"] == {"$ref": "#/properties/a"}


def test_a_bound_that_llama_cpp_cannot_count_to_is_left_out() -> None:
    long = {"type": "string", "maxLength": 501}
    few = {"type": "array", "maxItems": 500}

    checked = check_schema({"properties": {"long": long, "few": few, "maxLength": {"type": "integer"}}})

    assert checked["properties"] == {"long": {"type": "string"}, "few": few, "maxLength": {"type": "integer"}}


@pytest.mark.parametrize(
    "schema",
    [{"$ref": "https://a.example/s.json"}, {"$ref": "#"}, {"a": {1, 2}}, [], {"$defs": 3}],
)
def test_what_is_no_schema_or_points_outside_is_refused(schema: Any) -> None:
    with pytest.raises(InvalidRequestError) as caught:
        check_schema(schema)

    assert caught.value.param == "output"
