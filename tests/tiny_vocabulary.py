"""A vocabulary of byte pairs that is small enough to be written down, as a file like those that `tiktoken` keeps."""

from __future__ import annotations

import base64
import hashlib
from pathlib import Path

from planar.catalog import Vocabulary

MERGES = ["ri", "ve", "rive", "river", "in", " in"]
"""Each of two that come before it or of single bytes: `river` is one token, `rover` has four."""


def tiny(folder: Path, *, url: str = "https://planar.invalid/tiny.tiktoken") -> Vocabulary:
    """The vocabulary, whose file is in the folder, under the name that its address gives it."""
    tokens = [bytes([byte]) for byte in range(256)] + [merge.encode() for merge in MERGES]
    data = b"".join(base64.b64encode(token) + b" %d\n" % rank for rank, token in enumerate(tokens))
    vocabulary = Vocabulary(name="tiny", url=url, sha256=hashlib.sha256(data).hexdigest(), pattern=r" ?\p{L}+|[^\p{L}]")
    file = vocabulary.file({"TIKTOKEN_CACHE_DIR": str(folder)})
    assert file is not None
    file.write_bytes(data)
    return vocabulary
