"""Reads what a GGUF file says about itself, without loading the model.

Source: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md (versions 2 and 3, little-endian)
"""

from __future__ import annotations

import mmap
import struct
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from planar.errors import ModelFileError

_MAGIC: Final = b"GGUF"
_VERSIONS: Final = (2, 3)
_PREAMBLE: Final = struct.Struct("<4sIQQ")
_MAX_ENTRIES: Final = 1 << 16
_MAX_NESTING: Final = 4
_STRING: Final = 8
_ARRAY: Final = 9
_SCALARS: Final[Mapping[int, struct.Struct]] = {
    kind: struct.Struct(f"<{code}")
    for kind, code in {
        0: "B",
        1: "b",
        2: "H",
        3: "h",
        4: "I",
        5: "i",
        6: "f",
        7: "?",
        10: "Q",
        11: "q",
        12: "d",
    }.items()
}
_LENGTH: Final = struct.Struct("<Q")
_ARRAY_HEAD: Final = struct.Struct("<IQ")
_KIND: Final = struct.Struct("<I")

_CONTROL_TOKENS: Final = (2, 3)  # "unknown" and "control" in the list of token types
_TOKENS: Final = "tokenizer.ggml.tokens"
_KINDS_OF_TOKENS: Final = "tokenizer.ggml.token_type"


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelCard:
    """What the header of a model file says.

    Attributes:
        context_length: Tokens it was trained with, or `None` where the file does not say.
        chat_template: Jinja source, or `None` for a model without one.
        bos, eos: The texts of the tokens that begin and end a text; empty where there is none.
        control_tokens: Texts that the tokenizer would read as control tokens.
    """

    architecture: str
    name: str
    context_length: int | None
    chat_template: str | None = None
    bos: str = ""
    eos: str = ""
    control_tokens: frozenset[str] = frozenset()


def check_model_file(path: str) -> None:
    """See that a file is there, can be read, and begins as a GGUF model does.

    Raises:
        ModelFileError: It does not.
    """
    try:
        with open(path, "rb") as file:
            _entry_count(file.read(_PREAMBLE.size), path)
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise ModelFileError(f"the model file {path} cannot be read: {reason}; check the path", path=path) from error


def read_summary(path: str) -> ModelCard:
    """Name, architecture and context length: the first few entries, whatever the vocabulary's size.

    Raises:
        ModelFileError: The file is not a GGUF model or is cut short.
    """
    return _card(_read(path, enough=_knows_context))


def read_card(path: str) -> ModelCard:
    """Everything a prompt needs. Walks over the vocabulary: tens of milliseconds.

    Raises:
        ModelFileError: The file is not a GGUF model or is cut short.
    """
    return _card(_read(path, enough=lambda _: False))


def _knows_context(found: Mapping[str, Any]) -> bool:
    return f"{found.get('general.architecture')}.context_length" in found


def _read(path: str, *, enough: Callable[[Mapping[str, Any]], bool]) -> dict[str, Any]:
    check_model_file(path)
    found: dict[str, Any] = {}
    try:
        with open(path, "rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            for key, value in _entries(data, path):
                found[key] = value
                if enough(found):
                    break
    except (struct.error, UnicodeDecodeError, ValueError) as error:
        raise _damaged(path, "its header is cut short or not valid") from error
    return found


def _entry_count(preamble: bytes, path: str) -> int:
    if len(preamble) < _PREAMBLE.size or not preamble.startswith(_MAGIC):
        raise ModelFileError(
            f"{path} is not a GGUF model: give a .gguf file (other formats must be converted first)", path=path
        )
    _, version, _, entries = _PREAMBLE.unpack(preamble)
    if version not in _VERSIONS:
        raise ModelFileError(
            f"{path} is a GGUF file of version {version}, or of the other byte order; versions 2 and 3 are read:"
            " convert the model again with a current llama.cpp",
            path=path,
        )
    if entries > _MAX_ENTRIES:
        raise _damaged(path, f"its header claims {entries} entries")
    return int(entries)


def _damaged(path: str, why: str) -> ModelFileError:
    return ModelFileError(f"the model file {path} is damaged: {why}; download it again", path=path)


def _entries(data: mmap.mmap, path: str) -> Iterator[tuple[str, Any]]:
    position = _PREAMBLE.size
    for _ in range(_entry_count(data[: _PREAMBLE.size], path)):
        raw_key, position = _string(data, position)
        (kind,) = _KIND.unpack_from(data, position)
        value, position = _value(data, position + _KIND.size, kind, depth=0)
        yield raw_key.decode(), value


def _string(data: mmap.mmap, position: int) -> tuple[bytes, int]:
    (length,) = _LENGTH.unpack_from(data, position)
    start = position + _LENGTH.size
    end = start + length
    if end > len(data):
        raise ValueError("a text reaches beyond the end of the file")
    return data[start:end], end


def _value(data: mmap.mmap, position: int, kind: int, *, depth: int) -> tuple[Any, int]:
    if kind == _STRING:
        text, position = _string(data, position)
        return text.decode("utf-8", "replace"), position
    if kind == _ARRAY:
        return _array(data, position, depth=depth + 1)
    scalar = _SCALARS.get(kind)
    if scalar is None:
        raise ValueError(f"an entry is of the unknown kind {kind}")
    return scalar.unpack_from(data, position)[0], position + scalar.size


def _array(data: mmap.mmap, position: int, *, depth: int) -> tuple[list[Any], int]:
    kind, count = _ARRAY_HEAD.unpack_from(data, position)
    position += _ARRAY_HEAD.size
    scalar = _SCALARS.get(kind)
    smallest = scalar.size if scalar is not None else _LENGTH.size
    if depth > _MAX_NESTING or position + count * smallest > len(data):
        raise ValueError("an array is nested too deep or reaches beyond the end of the file")
    if scalar is not None:
        values = struct.unpack_from(f"<{count}{scalar.format[1:]}", data, position)
        return list(values), position + count * scalar.size
    items: list[Any] = []
    for _ in range(count):
        item, position = _string(data, position) if kind == _STRING else _value(data, position, kind, depth=depth)
        items.append(item)
    return items, position


def _card(found: Mapping[str, Any]) -> ModelCard:
    architecture = found.get("general.architecture")
    context = found.get(f"{architecture}.context_length")
    template = found.get("tokenizer.chat_template")
    return ModelCard(
        architecture=architecture if isinstance(architecture, str) else "",
        name=str(found.get("general.name", "")),
        context_length=context if isinstance(context, int) and context > 0 else None,
        chat_template=template if isinstance(template, str) and template.strip() else None,
        bos=_token_text(found, "tokenizer.ggml.bos_token_id"),
        eos=_token_text(found, "tokenizer.ggml.eos_token_id"),
        control_tokens=_control_tokens(found),
    )


def _token_text(found: Mapping[str, Any], key: str) -> str:
    tokens, index = _list(found, _TOKENS), found.get(key)
    return _text(tokens[index]) if isinstance(index, int) and 0 <= index < len(tokens) else ""


def _control_tokens(found: Mapping[str, Any]) -> frozenset[str]:
    both = zip(_list(found, _TOKENS), _list(found, _KINDS_OF_TOKENS), strict=False)
    texts = (_text(token) for token, kind in both if kind in _CONTROL_TOKENS)
    return frozenset(text for text in texts if len(text) > 1)


def _list(found: Mapping[str, Any], key: str) -> list[Any]:
    value: list[Any] = found[key] if isinstance(found.get(key), list) else []
    return value


def _text(token: object) -> str:
    return token.decode("utf-8", "replace") if isinstance(token, bytes) else ""
