from __future__ import annotations

import struct
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from planar.errors import ModelFileError
from planar.providers.local._gguf import check_model_file, read_card, read_summary


def text(value: str) -> bytes:
    return struct.pack("<Q", len(value.encode())) + value.encode()


def entry(key: str, kind: int, value: bytes) -> bytes:
    return text(key) + struct.pack("<I", kind) + value


def texts(values: Sequence[str]) -> bytes:
    return struct.pack("<IQ", 8, len(values)) + b"".join(map(text, values))


def numbers(values: Sequence[int]) -> bytes:
    return struct.pack("<IQ", 5, len(values)) + struct.pack(f"<{len(values)}i", *values)


ENTRIES = [
    entry("general.architecture", 8, text("llama")),
    entry("general.name", 8, text("Tiny")),
    entry("llama.context_length", 4, struct.pack("<I", 1024)),
    entry("llama.nested", 9, struct.pack("<IQ", 9, 1) + numbers([1, 2])),
    entry("llama.flag", 7, b"\x01"),
    entry("tokenizer.ggml.tokens", 9, texts(["<unk>", "<s>", "a", "</s>"])),
    entry("tokenizer.ggml.token_type", 9, numbers([2, 3, 1, 3])),
    entry("tokenizer.ggml.bos_token_id", 4, struct.pack("<I", 1)),
    entry("tokenizer.ggml.eos_token_id", 4, struct.pack("<I", 3)),
    entry("tokenizer.chat_template", 8, text("{{ messages }}")),
]


def header(entries: list[bytes] = ENTRIES, *, version: int = 3, claimed: int | None = None) -> bytes:
    count = len(entries) if claimed is None else claimed
    return struct.pack("<4sIQQ", b"GGUF", version, 0, count) + b"".join(entries)


def write(folder: Path, content: bytes) -> str:
    path = folder / "model.gguf"
    path.write_bytes(content)
    return str(path)


def test_a_card_says_what_a_prompt_needs(tmp_path: Path) -> None:
    path = write(tmp_path, header())

    card = read_card(path)

    assert (card.architecture, card.name, card.context_length) == ("llama", "Tiny", 1024)
    assert (card.bos, card.eos, card.chat_template) == ("<s>", "</s>", "{{ messages }}")
    assert card.control_tokens == {"<unk>", "<s>", "</s>"}


def test_a_summary_stops_before_the_vocabulary(tmp_path: Path) -> None:
    path = write(tmp_path, header()[: len(header(ENTRIES[:3]))])

    card = read_summary(path)

    assert card.context_length == 1024


def test_the_real_model_is_read(smollm2: str) -> None:
    card = read_card(smollm2)

    assert card.context_length == 8192
    assert card.chat_template is not None
    assert "<|im_end|>" in card.control_tokens


@settings(deadline=None)
@given(end=st.integers(0, len(header()) - 1))
def test_a_file_that_is_cut_anywhere_is_a_clear_error(tmp_path_factory: pytest.TempPathFactory, end: int) -> None:
    path = write(tmp_path_factory.mktemp("cut"), header()[:end])

    with pytest.raises(ModelFileError) as caught:
        read_card(path)

    assert caught.value.path == path


@settings(deadline=None)
@given(position=st.integers(24, len(header()) - 1), byte=st.integers(0, 255))
def test_a_damaged_header_is_read_or_refused_but_never_crashes(
    tmp_path_factory: pytest.TempPathFactory, position: int, byte: int
) -> None:
    content = bytearray(header())
    content[position] = byte
    path = write(tmp_path_factory.mktemp("bad"), bytes(content))

    try:
        card: Any = read_card(path)
    except ModelFileError:
        card = None

    assert card is None or isinstance(card.architecture, str)


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"", "not a GGUF"),
        (b"PK\x03\x04" + bytes(40), "not a GGUF"),
        (header(version=1), "version 1"),
        (header(claimed=1 << 40), "damaged"),
        (header([entry("a", 99, b"")]), "damaged"),
        (header([entry("a", 9, struct.pack("<IQ", 4, 1 << 60))]), "damaged"),
    ],
)
def test_what_is_no_model_says_so(tmp_path: Path, content: bytes, why: str) -> None:
    path = write(tmp_path, content)

    with pytest.raises(ModelFileError, match=why):
        read_card(path)


def test_a_missing_file_and_a_folder_are_named(tmp_path: Path) -> None:
    for path in (str(tmp_path / "no.gguf"), str(tmp_path)):
        with pytest.raises(ModelFileError, match=path):
            check_model_file(path)
