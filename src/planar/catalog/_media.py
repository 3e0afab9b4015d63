"""Most tokens that pictures and documents can cost, by model: what vendors publish of how they count them.

Sources, read in November 2026: OpenAI, "Images and vision" (tiles of 512 pixels at most 8 of them, or patches of 32
pixels, at most 1,536, and 10,000 at detail `original`, times a factor of the model); Anthropic, "Vision" (patches of 28
pixels, at most 1,568 and 4,784 of them) and "PDF support" (each page as text and as a picture); Google, "Media
resolution" (up to 2,240 per picture) and "Understand and count tokens" (258 per tile of 768 pixels).
"""

from __future__ import annotations

import re
from functools import lru_cache

from planar.types import File, Image

_PICTURES = (
    # pattern of the model, tokens at most, tokens at most at detail "low"
    (re.compile(r"gpt-4o-mini"), 2_833 + 8 * 5_667, 2_833),
    (re.compile(r"gpt-4\.1|gpt-4o|gpt-4\.5|\bo[134]\b"), 1_536 * 2.46, 700),
    (re.compile(r"gpt-"), 10_000 * 1.2, 700),
    (re.compile(r"claude"), 4_784, 4_784),
    (re.compile(r"gemini"), 16 * 258, 16 * 258),
)
_PICTURE = 16_400
"""Of a model that is not in the table: open models with the largest pictures take 16,384."""
_PAGE = 5_000
_MARKS = 16
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


def media_bound(part: Image | File, model: str) -> int:
    """Most tokens that a picture or document can cost."""
    return picture_bound(model, part.detail) if isinstance(part, Image) else document_bound(part)
