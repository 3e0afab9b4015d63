"""The ledger for other programs: as JSON lines, as CSV, or as CloudEvents.

    async for line in export_ledger(store.ledger("acme", since=start, until=end), format="csv"):
        file.write(line)

Money is there twice: `nano_usd` as a whole number, and `usd` as exact decimal text; both are empty where the price is
unknown. Rows are written as they come, so a ledger of any length takes no memory.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import AsyncIterable, AsyncIterator, Callable, Iterable, Iterator
from functools import partial
from typing import Any, Literal, TypeAlias
from urllib.parse import quote

from planar.errors import InvalidRequestError, StoreError
from planar.quotas._calendar import SECOND, moment
from planar.quotas._codec import entry_from_dict, entry_to_dict, from_json, to_dict, to_json
from planar.types import LedgerEntry, usd

ExportFormat: TypeAlias = Literal["jsonl", "csv", "cloudevents"]

SOURCE = "urn:planar:ledger"
"""What CloudEvents name as their source if you do not."""

CSV_COLUMNS = (
    "time",
    "lease_id",
    "kind",
    "tenant",
    "deployment",
    "input_tokens",
    "output_tokens",
    "nano_usd",
    "usd",
    "flags",
    "reason",
    "metadata",
    "usage",
    "price",
    "alerts",
)
"""The header. Columns that are added later stand at its end."""

# A spreadsheet takes a cell that begins so for a formula, some also behind blanks. The wide forms are those of East
# Asian keyboards. The apostrophes are those of texts which look as if they had been marked already.
_FORMULA = re.compile(r"'*(?:[\s\0]*[=+\-@＝＋－＠]|[\t\r\n\0])")
_URI_REFERENCE = re.compile(r"[!-~]+")


def export_ledger(
    rows: AsyncIterable[LedgerEntry], *, format: ExportFormat, source: str = SOURCE
) -> AsyncIterator[str]:
    """Turn rows into lines of text, each with its newline.

    Args:
        rows: What `store.ledger(...)` gives.
        format: `jsonl`: see `json_line`. `csv`: first a header, then see `csv_line`. `cloudevents`: one event a line,
            see `cloud_event`.
        source: For CloudEvents: a URI of the ledger. Give each ledger its own.

    Raises:
        InvalidRequestError: No such format, or `source` is not a URI.
    """
    match format:
        case "jsonl":
            return _Lines(rows, json_line)
        case "csv":
            return _Lines(rows, csv_line, first=_csv(CSV_COLUMNS))
        case "cloudevents":
            _check_source(source)
            return _Lines(rows, partial(_event_line, source))
        case _:
            raise InvalidRequestError(f"a ledger is not exported as {format!r}, but as jsonl, csv or cloudevents")


def json_line(entry: LedgerEntry) -> str:
    """A row as one JSON object on a line of its own. `read_json_lines` reads it back as it was.

    Its members are the fields of `LedgerEntry`, those with their defaults left out, and for other readers `usd` and
    `at`, the time as RFC 3339 text.
    """
    return to_json(_data(entry)) + "\n"


def csv_line(entry: LedgerEntry) -> str:
    r"""A row as CSV: comma, text in double quotes, UTF-8, lines that end in `\n`.

    `flags` and the ids of `alerts` are joined by blanks. `metadata`, `usage` and `price` are JSON; what the provider
    itself said (`Usage.raw`) is only in the JSON lines. A text that a spreadsheet would run as a formula, as in `=1+1`,
    gets an apostrophe in front of it; numbers do not.
    """
    usage = None if entry.usage is None else to_dict(entry.usage)
    if usage is not None:
        usage.pop("raw", None)
    cells = (
        _time(entry),
        _text(entry.lease_id),
        entry.kind,
        _text(entry.tenant),
        _text(entry.deployment),
        entry.input_tokens,
        entry.output_tokens,
        entry.nano_usd,
        _usd(entry),
        _text(" ".join(sorted(entry.flags))),
        _text(entry.reason),
        to_json(entry.metadata),
        "" if usage is None else to_json(usage),
        "" if entry.price is None else to_json(to_dict(entry.price)),
        _text(" ".join(alert.id for alert in entry.alerts)),
    )
    return _csv(cells)


def cloud_event(entry: LedgerEntry, *, source: str = SOURCE) -> dict[str, Any]:
    """A row as a CloudEvent 1.0 in the structured JSON form (`application/cloudevents+json`).

    `id` is made of what makes a row unique, its lease and kind: whoever gets it twice, from two exports or two tries,
    sees that it is the same. `subject` is the tenant, `type` says the kind, as in `dev.planar.ledger.settled`, and
    `data` holds what `json_line` writes.

    Source: https://github.com/cloudevents/spec/blob/v1.0.2/cloudevents/spec.md

    Raises:
        InvalidRequestError: `source` is not a URI.
    """
    _check_source(source)
    return _event(source, entry)


def read_json_lines(lines: Iterable[str | bytes]) -> Iterator[LedgerEntry]:
    """The rows of an export, such as an open file; empty lines are passed over.

    Raises:
        InvalidRequestError: A line is not a ledger row. It says which.
    """
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            entry = entry_from_dict(from_json(line))
        except StoreError as error:
            raise InvalidRequestError(f"line {number} is not a ledger row: {error.message}") from error
        yield entry


class _Lines:
    """A class, not an async generator: one that is dropped half-way has nothing to clean up."""

    def __init__(
        self, rows: AsyncIterable[LedgerEntry], write: Callable[[LedgerEntry], str], *, first: str | None = None
    ) -> None:
        self._rows = aiter(rows)
        self._write = write
        self._first = first

    def __aiter__(self) -> _Lines:
        return self

    async def __anext__(self) -> str:
        first, self._first = self._first, None
        return self._write(await anext(self._rows)) if first is None else first


def _data(entry: LedgerEntry) -> dict[str, Any]:
    return {**entry_to_dict(entry), "usd": _usd(entry), "at": _time(entry)}


def _event(source: str, entry: LedgerEntry) -> dict[str, Any]:
    return {
        "specversion": "1.0",
        "id": f"{quote(entry.lease_id, safe='', errors='surrogatepass')}/{entry.kind}",
        "source": source,
        "type": f"dev.planar.ledger.{entry.kind}",
        "subject": entry.tenant,
        "time": _time(entry),
        "datacontenttype": "application/json",
        "data": _data(entry),
    }


def _event_line(source: str, entry: LedgerEntry) -> str:
    return to_json(_event(source, entry)) + "\n"


def _check_source(source: str) -> None:
    if not _URI_REFERENCE.fullmatch(source):
        raise InvalidRequestError(f"{source!r} is not a URI, such as 'https://example.com/ledger'", param="source")


def _usd(entry: LedgerEntry) -> str | None:
    return None if entry.nano_usd is None else f"{usd(entry.nano_usd):f}"


def _time(entry: LedgerEntry) -> str:
    return moment(round(entry.time * SECOND)).isoformat(timespec="microseconds").replace("+00:00", "Z")


def _text(text: str) -> str:
    shown = text.encode(errors="backslashreplace").decode()  # half a character has no form in UTF-8
    return f"'{shown}" if _FORMULA.match(shown) else shown


def _csv(cells: Iterable[object]) -> str:
    line = io.StringIO()
    csv.writer(line, quoting=csv.QUOTE_NONNUMERIC, lineterminator="\n").writerow(cells)
    return line.getvalue()
