"""The shape that an answer must have: asked for by a pydantic class or a schema, checked on our side."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from planar.client._schema import Validator
from planar.errors import InvalidRequestError, OutputInvalidError
from planar.types import JSON, OutputSchema

if TYPE_CHECKING:
    from pydantic import BaseModel


def output_schema(output: type | JSON) -> OutputSchema:
    """What to ask a provider for.

    Raises:
        InvalidRequestError: The class is not pydantic's, or the schema is not one of an object.
    """
    if isinstance(output, Mapping):
        if not output or not all(isinstance(key, str) for key in output):
            raise InvalidRequestError("output must be a JSON schema with at least a 'type'", param="output")
        Validator(output)  # refused now, rather than after somebody has paid for an answer
        return OutputSchema(name=_name(str(output.get("title", "output"))), schema=output)
    model = _pydantic(output)
    return OutputSchema(name=_name(model.__name__), schema=model.model_json_schema(), model=model)


def _pydantic(output: type) -> type[BaseModel]:
    # Loaded only here: a call that asks for no shape never pays for it.
    from pydantic import BaseModel

    if not issubclass(output, BaseModel):
        raise InvalidRequestError(
            f"output must be a subclass of pydantic.BaseModel or a JSON schema, not the class {output.__name__}",
            param="output",
        )
    return output


def _name(text: str) -> str:
    return re.sub(r"[^A-Za-z0-9_-]", "_", text)[:64] or "output"


def parse_output(text: str, shape: OutputSchema) -> Any:
    """The answer in the shape that was asked for.

    Raises:
        OutputInvalidError: It is not JSON, or not of that shape; `problems` has a line each.
    """
    if shape.model is not None:
        return _validated(text, _pydantic(shape.model))
    try:
        value = json.loads(text)
    except ValueError as error:
        raise OutputInvalidError("the answer is not JSON", text=text, problems=(str(error),)) from error
    problems = Validator(shape.schema).problems(value)
    if problems:
        raise OutputInvalidError(
            f"the answer does not have the shape that was asked for: {problems[0]}", text=text, problems=problems
        )
    return value


def _validated(text: str, model: type[BaseModel]) -> BaseModel:
    from pydantic import ValidationError

    try:
        return model.model_validate_json(text)
    except ValidationError as error:
        problems = tuple(f"{'.'.join(map(str, item['loc'])) or 'answer'}: {item['msg']}" for item in error.errors())
        raise OutputInvalidError(
            f"the answer is not a {model.__name__}: {problems[0]}", text=text, problems=problems
        ) from None
