"""Which vocabularies OpenAI has published for its models, and where `tiktoken` keeps its copies of them.

Nothing here opens a connection: a vocabulary whose file is not on this machine stays unknown.
Source of addresses, hashes and patterns: `tiktoken_ext.openai_public` of tiktoken 0.14 and
https://github.com/openai/tiktoken (MIT), read in November 2026.
"""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

_PUBLIC = "https://openaipublic.blob.core.windows.net/encodings/"


@dataclass(frozen=True, slots=True, kw_only=True)
class Vocabulary:
    """A vocabulary of byte pairs, and how texts are cut before it is applied.

    Attributes:
        name: Of the encoding, as `tiktoken` calls it.
        url: Where its file was published: only its name on this machine follows from it.
        sha256: Of the file; one with another content is not used.
        pattern: What cuts a text into words.
    """

    name: str
    url: str
    sha256: str
    pattern: str

    def file(self, environ: Mapping[str, str]) -> Path | None:
        """Where `tiktoken` has put its copy, or will; `None` where it was told to keep none. Opens nothing."""
        folder = environ.get("TIKTOKEN_CACHE_DIR", environ.get("DATA_GYM_CACHE_DIR"))
        if folder is None:
            folder = str(Path(tempfile.gettempdir()) / "data-gym-cache")
        name = hashlib.sha1(self.url.encode(), usedforsecurity=False).hexdigest()
        return Path(folder) / name if folder else None


_ENDINGS = "(?i:'s|'t|'re|'ve|'m|'ll|'d)?"
_UPPER, _LOWER = r"\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}", r"\p{Ll}\p{Lm}\p{Lo}\p{M}"
_O200K = Vocabulary(
    name="o200k_base",
    url=f"{_PUBLIC}o200k_base.tiktoken",
    sha256="446a9538cb6c348e3516120d7c08b09f57c36495e2acfffe59a5bf8b0cfb1a2d",
    pattern="|".join(
        (
            rf"[^\r\n\p{{L}}\p{{N}}]?[{_UPPER}]*[{_LOWER}]+{_ENDINGS}",
            rf"[^\r\n\p{{L}}\p{{N}}]?[{_UPPER}]+[{_LOWER}]*{_ENDINGS}",
            r"\p{N}{1,3}",
            r" ?[^\s\p{L}\p{N}]+[\r\n/]*",
            r"\s*[\r\n]+",
            r"\s+(?!\S)",
            r"\s+",
        )
    ),
)
_CL100K = Vocabulary(
    name="cl100k_base",
    url=f"{_PUBLIC}cl100k_base.tiktoken",
    sha256="223921b76ee99bde995b7ff738513eef100fb51d18c93597a113bcffe865b2a7",
    pattern=r"'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}++|\p{N}{1,3}+| ?[^\s\p{L}\p{N}]++[\r\n]*+"
    r"|\s++$|\s*[\r\n]|\s+(?!\S)|\s",
)

VOCABULARIES: Mapping[str, Vocabulary] = {
    "cl100k_base": _CL100K,
    "o200k_base": _O200K,
    "o200k_harmony": _O200K,  # other special tokens, which no text that a caller writes becomes
}
