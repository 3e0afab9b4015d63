"""What can be seen of a prompt without understanding it: length, figures, form, and the kinds of words in it."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Mapping

MOST_TEXT = 2_000
"""Characters that are looked at: of a longer prompt its first three quarters of that, and its end."""

NAMES = (
    "tokens",
    "characters",
    "length of words",
    "numbers",
    "share of numbers",
    "share of signs",
    "signs of reckoning",
    "share of capitals",
    "lines",
    "asks",
    "has gaps to fill",
    "quotes",
    "has units",
    "has code",
    "negations",
    "quantities",
    "comparisons",
    "tasks",
    "share of narration",
    "share of small words",
    "share beyond ASCII",
    "longest line",
    "middle line",
    "shortest line",
    "share of long words",
    "share of distinct words",
    "share of commas",
)
"""What `features_of` returns, in its order."""

_WORD = re.compile(r"[^\W\d_]+")
_NUMBER = re.compile(r"\d+")
_SIGN = re.compile(r"[=+\-*/^<>()|\[\]{}]")
_RECKONING = re.compile(r"[=+*/^<>]")
_MARK = re.compile(r"[^\w\s]")
_CAPITAL = re.compile(r"[A-Z]")
_GAPS = ("_", "...", "…")
_CODE = ("```", "()", ";\n", "def ", "return ", "=>", "!=", "==")
_KINDS: Mapping[str, str] = {
    "negations": "not except never least incorrect false neither nor without cannot no isn doesn don",
    "quantities": "all none both only always any every either each",
    "comparisons": "most best greatest main primary likely first largest lowest highest more less than better",
    "tasks": "find calculate compute let suppose how many much value number equal sum solve evaluate approximately"
    " probability prove derive why explain",
    "narration": "he she his her they their him man woman who said told was were had year",
    "small words": "the of a an",
}
_KIND_OF = {word: kind for kind, words in _KINDS.items() for word in words.split()}


def features_of(text: str) -> list[float]:
    """The figures of a prompt, one for each of `NAMES`, not yet brought to one scale. Takes no longer for a long prompt
    than for one of `MOST_TEXT` characters."""
    whole = len(text)
    if whole > MOST_TEXT:
        text = text[: MOST_TEXT * 3 // 4] + text[-(MOST_TEXT // 4) :]
    words = _WORD.findall(text.lower())
    lengths = list(map(len, words))
    numbers = len(_NUMBER.findall(text))
    signs = len(_SIGN.findall(text))
    reckoning = len(_RECKONING.findall(text))
    kinds = Counter(map(_KIND_OF.get, words))
    lines = sorted([len(line) for line in text.splitlines() if line.strip()]) or [0]
    count = len(words) + 1
    tokens = count + numbers + len(_MARK.findall(text))
    size = len(text) + 1
    log = math.log1p
    return [
        log(tokens),
        log(whole),
        sum(lengths) / count,
        log(numbers),
        numbers / tokens,
        signs / size,
        log(reckoning),
        len(_CAPITAL.findall(text)) / size,
        float(len(lines)),
        float("?" in text),
        float(any(map(text.__contains__, _GAPS))),
        float('"' in text or "“" in text),
        float("$" in text or "%" in text),
        float(any(map(text.__contains__, _CODE))),
        log(kinds["negations"]),
        log(kinds["quantities"]),
        log(kinds["comparisons"]),
        log(kinds["tasks"]),
        kinds["narration"] / tokens,
        kinds["small words"] / tokens,
        0.0 if text.isascii() else (len(text.encode(errors="replace")) - len(text)) / size,
        float(lines[-1]),
        log(lines[len(lines) // 2]),
        log(lines[0]),
        sum(map((9).__lt__, lengths)) / tokens,
        len(set(words)) / count,
        text.count(",") / tokens,
    ]
