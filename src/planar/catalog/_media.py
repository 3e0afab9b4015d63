"""What pictures, documents and sounds cost, at most and probably: what vendors publish of how they count them.

Sources, read in November 2026: OpenAI, "Images and vision" (tiles of 512 pixels at most 8 of them, or patches of 32
pixels, at most 1,536, and 10,000 at detail `original`, times a factor of the model); Anthropic, "Vision" (patches of 28
pixels, at most 1,568 and 4,784 of them) and "PDF support" (each page as text and as a picture); Google, "Media
resolution" (up to 2,240 per picture) and "Understand and count tokens" (258 per tile of 768 pixels).
"""

from __future__ import annotations

import math
import re
from functools import lru_cache

from planar.catalog._headers import seconds_of, size_of
from planar.types import Audio, File, Image

_PICTURES = (
    # pattern of the model, tokens at most, tokens at most at detail "low"
    (re.compile(r"gpt-4o-mini"), 2_833 + 8 * 5_667, 2_833),
    (re.compile(r"gpt-4\.1|gpt-4o|gpt-4\.5|\bo[134]\b"), 1_536 * 2.46, 700),
    (re.compile(r"gpt-"), 10_000 * 1.2, 700),
    (re.compile(r"claude"), 4_784, 4_784),
    (re.compile(r"gemini"), 16 * 258, 16 * 258),
)
_TILED = (
    # pattern of the model, tokens of a picture at detail "low", tokens of a tile
    (re.compile(r"gpt-4o-mini"), 2_833, 5_667),
    (re.compile(r"gpt-5(-chat|-20\d\d|$)"), 70, 140),
    (re.compile(r"\bo[13]\b"), 75, 150),
    (re.compile(r"gpt-4(o|\.5|\.1(?!-mini|-nano)|-turbo|-vision)"), 85, 170),
)
_PATCHED = (
    # pattern of the model, tokens of a patch
    (re.compile(r"(gpt|\bo\d).*-nano"), 2.46),
    (re.compile(r"\bo4-mini"), 1.72),
    (re.compile(r"gpt-.*-mini"), 1.62),
    (re.compile(r"gpt-"), 1.2),
)
_PICTURE = 16_400
"""Of a model that is not in the table: open models with the largest pictures take 16,384."""
_PAGE = 5_000
_MARKS, _LIKELY_MARKS = 16, 2
_LIKELY_PAGE = 2_000
"""Anthropic says 1,500 to 3,000 of text, and what the picture takes."""
_TYPICAL_PICTURE = (1_024, 1_024)
"""Where its bytes are not here or do not say."""
_VISIBLE_PAGE = re.compile(rb"/Type\s*/Page[^s]")
_UNSEEN = 1_000_000
"""Of a document that we never see, for a model whose context window is unknown."""


@lru_cache(maxsize=1024)
def picture_bound(model: str, detail: str | None) -> int:
    """Most tokens that one picture can cost."""
    for pattern, most, low in _PICTURES:
        if pattern.search(model):
            return _MARKS + int(low if detail == "low" else most)
    return _MARKS + _PICTURE


def document_bound(document: File) -> int:
    """Most tokens that a document can cost.

    A text has one per byte at most. Of a PDF the vendors read the text and look at each page: two per byte and what a
    picture costs for each page that can be seen without unpacking it, which is more than any document of text and
    pictures takes. One that was made of thousands of packed, empty pages can take more; that is booked as it comes.
    """
    data = document.data
    if data is None:
        return _UNSEEN
    if document.media_type == "application/pdf" or data.startswith(b"%PDF"):
        return _MARKS + 2 * len(data) + _PAGE * max(1, len(_VISIBLE_PAGE.findall(data)))
    return _MARKS + len(data)


def media_bound(part: Image | File | Audio, model: str) -> int:
    """Most tokens that a picture, a document or a sound can cost."""
    if isinstance(part, Image):
        return picture_bound(model, part.detail)
    return document_bound(part) if isinstance(part, File) else _MARKS + len(part.data)


def media_likely(part: Image | File | Audio, model: str) -> int:
    """What a picture, a document or a sound will probably cost."""
    if isinstance(part, Image):
        width, height = (part.data and size_of(part.data)) or _TYPICAL_PICTURE
        return picture_likely(model, part.detail, width, height)
    return document_likely(part) if isinstance(part, File) else sound_likely(part, model)


@lru_cache(maxsize=1024)
def picture_likely(model: str, detail: str | None, width: int, height: int) -> int:
    """What a picture of this size, in pixels, will probably cost, by the formula that its vendor publishes."""
    tokens = _picture_tokens(model, width, height, low=detail == "low")
    return min(_LIKELY_MARKS + tokens, picture_bound(model, detail))


def _picture_tokens(model: str, width: int, height: int, *, low: bool) -> int:
    if "claude" in model:
        return _patches(width, height, side=28, most=1_568, longest=1_568)
    if "gemini-3" in model:
        return 1_120
    if "gemini" in model:
        return 258 * (1 if max(width, height) <= 384 else _gemini_tiles(width, height))
    for pattern, base, tile in _TILED:
        if pattern.search(model):
            return base + (0 if low else tile * _tiles(width, height))
    for pattern, factor in _PATCHED:
        if pattern.search(model):
            most = 256 if low else 1_536
            return math.ceil(factor * _patches(width, height, side=32, most=most, longest=2_048))
    return _patches(width, height, side=28, most=_PICTURE, longest=8_192)


def _patches(width: int, height: int, *, side: int, most: int, longest: int) -> int:
    """Squares that cover a picture once it was made small enough."""
    scale = min(1.0, longest / max(width, height))
    return max(1, min(most, math.ceil(width * scale / side) * math.ceil(height * scale / side)))


def _tiles(width: int, height: int) -> int:
    """OpenAI's: into 2,048 squared, then the shorter side to 768, then squares of 512."""
    scale = min(1.0, 2_048 / max(width, height))
    scale *= min(1.0, 768 / (min(width, height) * scale))
    return math.ceil(round(width * scale) / 512) * math.ceil(round(height * scale) / 512)


def _gemini_tiles(width: int, height: int) -> int:
    """Google's: squares of two thirds of the shorter side, of 256 to 768 pixels, at most 16 of them."""
    side = min(768, max(256, min(width, height) * 2 // 3))
    return min(16, math.ceil(width / side) * math.ceil(height / side))


def document_likely(document: File) -> int:
    """What a document will probably cost: a page of a PDF what pages of text do, a text a token for four bytes."""
    data = document.data
    if data is None:
        return _LIKELY_PAGE
    if document.media_type == "application/pdf" or data.startswith(b"%PDF"):
        return _LIKELY_PAGE * max(1, len(_VISIBLE_PAGE.findall(data)))
    return _LIKELY_MARKS + len(data) // 4


def sound_likely(sound: Audio, model: str) -> int:
    """What a sound will probably cost, by its seconds: 32 tokens each at Google, 10 at OpenAI."""
    seconds = seconds_of(sound)
    return _LIKELY_MARKS + math.ceil(seconds * (32 if "gemini" in model else 10))
