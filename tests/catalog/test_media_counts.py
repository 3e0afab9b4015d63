"""Pictures and sounds are counted by their size and length, as their vendors publish."""

from __future__ import annotations

import io
import struct
import wave
import zlib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from effort import examples
from planar.catalog import input_bound
from planar.catalog._headers import seconds_of, size_of
from planar.types import Audio, ChatRequest, File, Image, Message, ModelInfo


def png(width: int, height: int) -> bytes:
    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IEND", b"")


def jpeg(width: int, height: int) -> bytes:
    exif = b"\xff\xe1" + struct.pack(">H", 40) + b"\xff\xc0" * 19
    tables = b"\xff\xff\xdb" + struct.pack(">H", 67) + bytes(65)
    return b"\xff\xd8" + exif + tables + b"\xff\xc2" + struct.pack(">HBHHB", 17, 8, height, width, 3) + bytes(9)


def gif(width: int, height: int) -> bytes:
    return b"GIF89a" + struct.pack("<HH", width, height) + b"\x00\x00\x00;"


def webp(kind: bytes, body: bytes) -> bytes:
    return b"RIFF" + struct.pack("<I", len(body) + 12) + b"WEBP" + kind + struct.pack("<I", len(body)) + body


def lossy(width: int, height: int) -> bytes:
    return webp(b"VP8 ", b"\x30\x01\x00\x9d\x01\x2a" + struct.pack("<HH", width, height))


def lossless(width: int, height: int) -> bytes:
    return webp(b"VP8L", b"\x2f" + struct.pack("<I", width - 1 | height - 1 << 14))


def extended(width: int, height: int) -> bytes:
    return webp(b"VP8X", bytes(4) + (width - 1).to_bytes(3, "little") + (height - 1).to_bytes(3, "little"))


KINDS = [png, jpeg, gif, lossy, lossless, extended]


@given(st.sampled_from(KINDS), st.integers(1, 16_383), st.integers(1, 16_383))
@examples(100)
def test_a_picture_says_how_large_it_is(kind: Any, width: int, height: int) -> None:
    assert size_of(kind(width, height)) == (width, height)


@given(st.sampled_from(KINDS), st.integers(0, 120), st.binary(max_size=40))
@examples(200)
def test_one_that_is_cut_or_damaged_says_it_or_nothing_and_never_fails(kind: Any, cut: int, rest: bytes) -> None:
    found = size_of(kind(300, 200)[:cut] + rest)

    assert found is None or min(found) > 0


def test_a_picture_of_many_empty_segments_is_given_up() -> None:
    assert size_of(b"\xff\xd8" + b"\xff" * 10_000) is None
    assert size_of(b"\xff\xd8" + b"\xff\xe0\x00\x00" * 10_000) is None


def likely(part: Image | File | Audio, model: str) -> int:
    """What the part adds to the likely figure."""
    info = ModelInfo(id=model)
    with_it = input_bound(ChatRequest(messages=(Message("user", (part,)),))).likely_of(info)
    return with_it - input_bound(ChatRequest(messages=(Message("user", ()),))).likely_of(info)


@pytest.mark.parametrize(
    ("model", "detail", "size", "tokens"),
    [
        # Worked examples from the vendors' own pages.
        ("gpt-4o", "high", (1_024, 1_024), 765),
        ("gpt-4o", "high", (2_048, 4_096), 1_105),
        ("gpt-4o", "low", (4_096, 8_192), 85),
        ("gpt-4o-mini", "low", (1_024, 1_024), 2_833),
        ("gpt-4.1-mini", "high", (1_024, 1_024), 1_024 * 1.62),
        ("gemini-2.5-flash", None, (384, 384), 258),
        ("gemini-2.5-flash", None, (960, 540), 6 * 258),
        ("claude-sonnet-5-5", None, (1_000, 1_000), 36 * 36),
        ("claude-sonnet-5-5", None, (200, 200), 8 * 8),
    ],
)
def test_a_picture_probably_has_the_tokens_of_its_vendors_examples(
    model: str, detail: Any, size: tuple[int, int], tokens: float
) -> None:
    picture = Image(data=png(*size), media_type="image/png", detail=detail)

    assert likely(picture, model) == pytest.approx(tokens, abs=4)


@pytest.mark.parametrize("model", ["gpt-4o", "gpt-4o-mini", "gpt-6-luna", "o3", "claude-opus-5-5", "gemini-3-pro", "x"])
@given(width=st.integers(1, 20_000), height=st.integers(1, 20_000))
@examples(30)
def test_a_picture_is_never_likely_to_take_more_than_its_bound(model: str, width: int, height: int) -> None:
    picture = Image(data=png(width, height), media_type="image/png")
    prompt = input_bound(ChatRequest(messages=(Message("user", (picture,)),)))

    assert 0 < prompt.likely_of(ModelInfo(id=model)) <= prompt.of(ModelInfo(id=model))


@pytest.mark.parametrize(
    "picture", [Image(url="https://example.com/river.png"), Image(data=b"?", media_type="image/x")]
)
def test_a_picture_that_does_not_say_its_size_is_taken_for_a_usual_one(picture: Image) -> None:
    assert likely(picture, "gpt-4o") == pytest.approx(765, abs=4)


def wav(seconds: int, *, rate: int) -> bytes:
    file = io.BytesIO()
    with wave.open(file, "wb") as sound:
        sound.setnchannels(1)
        sound.setsampwidth(2)
        sound.setframerate(rate)
        sound.writeframes(bytes(2 * rate * seconds))
    return file.getvalue()


@pytest.mark.parametrize("rate", [8_000, 44_100])
def test_a_sound_is_counted_by_its_seconds(rate: int) -> None:
    sound = Audio(data=wav(10, rate=rate), format="wav")

    assert seconds_of(sound) == pytest.approx(10, abs=0.1)
    assert likely(sound, "gemini-2.5-flash") == pytest.approx(320, abs=6)
    assert likely(sound, "gpt-audio") == pytest.approx(100, abs=4)


def test_how_long_a_packed_sound_is_follows_from_its_size() -> None:
    assert seconds_of(Audio(data=bytes(160_000), format="mp3")) == pytest.approx(10)


def test_a_document_is_likely_to_take_less_than_it_can() -> None:
    pdf = File(data=b"%PDF-1.7 << /Type /Page >> << /Type /Page >>" + bytes(9_000), media_type="application/pdf")
    text = File(data=b"river " * 100, media_type="text/plain")

    assert likely(pdf, "claude-sonnet-5-5") == pytest.approx(4_000, abs=4)
    assert likely(text, "claude-sonnet-5-5") == pytest.approx(150, abs=4)
    assert likely(File(file_id="file-1"), "gpt-6-luna") > 0
