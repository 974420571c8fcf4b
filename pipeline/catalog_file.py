"""Catalogs as files: Parquet, CSV or JSON lines, a mapping a row; what the columns mean is their readers' business."""

from __future__ import annotations

import csv
import io
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from fsspec.implementations.local import LocalFileSystem

from model.artifacts import ArtifactError, fetch, open_filesystem

FORMATS = ("parquet", "csv", "jsonl", "ndjson")


class CatalogError(ValueError):
    """A catalog that cannot be used at all."""


class RowError(ValueError):
    """A row that cannot be used; the others can."""


Row = dict[str, Any] | RowError


def read_rows(uri: str) -> tuple[list[Row], list[str]]:
    """The rows of a catalog file, those that cannot be read as their error, and the names of its columns.

    Raises ``CatalogError`` when the file is not there, of no such format, cannot be read as it, or has no rows.
    """
    try:
        contents = fetch(uri).read_bytes()
    except (ArtifactError, OSError) as error:
        raise CatalogError(f"catalog {error}") from error
    suffix = uri.rpartition(".")[2].lower()
    rows: list[Row]
    try:
        if suffix == "parquet":
            _check_columns(uri, pq.read_schema(io.BytesIO(contents)).names)
            table = pq.read_table(io.BytesIO(contents))
            columns, rows = table.column_names, _parquet_rows(table)
        elif suffix == "csv":
            reader = csv.DictReader(io.StringIO(contents.decode("utf-8-sig"), newline=""), strict=True)
            rows = [_csv_row(number, row) for number, row in enumerate(reader, start=1)]
            columns = list(reader.fieldnames or [])
            _check_columns(uri, columns)
        elif suffix in ("jsonl", "ndjson"):
            # Not where Python sees the end of a line: JSON may hold other separators as they are.
            lines = [line for line in contents.decode("utf-8-sig").split("\n") if line.strip()]
            rows = [_json_row(number, line) for number, line in enumerate(lines, start=1)]
            columns = sorted({name for row in rows if isinstance(row, dict) for name in row})
        else:
            raise CatalogError(f"catalog {uri}: unknown format; expected a .parquet, .csv or .jsonl file")
    except CatalogError:
        raise
    # Of a broken file pyarrow raises an OSError, or whatever it runs into.
    except (ValueError, OSError, csv.Error, pa.ArrowException) as error:
        raise CatalogError(f"catalog {uri} cannot be read as {suffix}: {error}") from error
    if not rows:
        raise CatalogError(f"catalog {uri} has no rows")
    return rows, columns


def _check_columns(uri: str, names: Sequence[str]) -> None:
    if twice := [name for name, count in Counter(names).items() if count > 1]:
        raise CatalogError(f"catalog {uri} has column {', '.join(twice)} twice; rename or remove one")


# What to_pylist raises of a date that Python does not know, or bytes that are no text.
_UNREADABLE = ValueError, OverflowError, pa.ArrowException


def _parquet_rows(table: pa.Table) -> list[Row]:
    try:
        return list(table.to_pylist())
    except _UNREADABLE:
        return [_parquet_row(table, number) for number in range(table.num_rows)]


def _parquet_row(table: pa.Table, number: int) -> Row:
    try:
        (row,) = table.slice(number, 1).to_pylist()
    except _UNREADABLE as error:
        return RowError(f"row {number + 1}: cannot be read ({error})")
    return dict(row)


def _csv_row(number: int, row: dict[str, Any]) -> dict[str, Any] | RowError:
    if None in row:
        return RowError(f"row {number}: has more fields than the header; quote fields that hold a comma")
    return row


def _json_row(number: int, line: str) -> dict[str, Any] | RowError:
    try:
        row = json.loads(line)
        # JSON can write half a character, as "\ud800", which no table takes.
        json.dumps(row, ensure_ascii=False).encode()
    except UnicodeEncodeError as error:
        return RowError(f"row {number}: not Unicode ({error.reason}); mend its escaped characters")
    except (ValueError, RecursionError) as error:  # also of thousands of digits, or brackets in brackets
        return RowError(f"row {number}: not JSON ({error})")
    return row if isinstance(row, dict) else RowError(f"row {number}: a JSON object was expected, found {line[:40]!r}")


def is_text(row: Mapping[str, Any], name: str) -> bool:
    """Whether a row has text in that column."""
    return isinstance(row.get(name), str) and bool(row[name].strip())


def resolve(uri: str, catalog: str) -> str:
    """A URI as it stands in a catalog; a relative path is relative to the catalog."""
    if "://" in uri or uri.startswith("/"):
        return uri
    filesystem, path = open_filesystem(catalog)
    folder = path.rpartition("/")[0]
    joined = f"{folder}/{uri}"
    return joined if isinstance(filesystem, LocalFileSystem) else str(filesystem.unstrip_protocol(joined))
