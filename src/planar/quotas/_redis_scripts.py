"""The Lua scripts that decide inside Redis, and how they are called."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from hashlib import sha1
from importlib.resources import files

_COUNTING = ("tree", "counters", "leases")
_PARTS: Mapping[str, tuple[str, ...]] = {
    "reserve": (*_COUNTING, "refusals", "reserve"),
    "extend": (*_COUNTING, "refusals", "extend"),
    "mark": (*_COUNTING, "mark"),
    "settle": (*_COUNTING, "accounts", "settle"),
    "split": (*_COUNTING, "accounts", "split"),
    "refund": (*_COUNTING, "accounts", "refund"),
    "prune": (*_COUNTING, "prune"),
    "look": (*_COUNTING, "look"),
    "set_limits": (*_COUNTING, "set_limits"),
}


_CONSTANTS = re.compile(r"^local ([A-Z_]+(?:, [A-Z_]+)*) =\s+([-*^ \d]+(?:, [-*^ \d]+)*)(?: --.*)?$", re.MULTILINE)
_WORDS = re.compile(r"'[^'\n]*'|--.*|\b[A-Z_]+\b")


@dataclass(frozen=True, slots=True)
class Script:
    """A script as Redis is told of it: by its text once, then by the hash of it."""

    text: bytes
    digest: bytes


@cache
def script(name: str) -> Script:
    """One verb, with the parts that it needs before it: Lua has no modules on a server."""
    room = files("planar.quotas") / "_lua"
    text = written_out("\n".join((room / f"{part}.lua").read_text(encoding="utf-8") for part in _PARTS[name])).encode()
    # Not to protect anything: it is the name under which Redis keeps a script.
    return Script(text, sha1(text, usedforsecurity=False).hexdigest().encode())


def written_out(text: str) -> str:
    """A script with its constants in the places where they are used.

    Each run of a script makes its functions anew, and each function would carry along every constant that it names:
    that was a third of what a script cost.
    """
    values: dict[str, str] = {}
    for names, numbers in _CONSTANTS.findall(text):
        for name, number in zip(names.split(", "), numbers.split(", "), strict=True):
            values[name] = number.strip() if number.strip().isdigit() else f"({number.strip()})"
    return _WORDS.sub(lambda word: values.get(word[0], word[0]), _CONSTANTS.sub("", text))


def keys_of(prefix: str, root: str) -> tuple[bytes, ...]:
    """The five keys of one tenant tree. What is in braces decides the slot: they are always in one."""
    return tuple(f"{{{prefix}:{root}}}:{name}".encode() for name in ("limits", "leases", "due", "ended", "ledger"))


def packed(*words: bytes) -> bytes:
    """A command as it travels."""
    return b"*%d\r\n%b" % (len(words), b"".join([b"$%d\r\n%b\r\n" % (len(word), word) for word in words]))


def call_of(by: Script, keys: Sequence[bytes], arguments: Sequence[bytes], *, whole: bool = False) -> bytes:
    """The command that runs a script: by its hash, or by its `whole` text where the server has forgotten it."""
    verb, body = (b"EVAL", by.text) if whole else (b"EVALSHA", by.digest)
    return packed(verb, body, b"%d" % len(keys), *keys, *arguments)
