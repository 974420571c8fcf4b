"""Rows that could not be made: what, where, why. The table can be fed back as a catalog once the cause is mended."""

from __future__ import annotations

import io
import json
import traceback
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

NAME = "quarantine.parquet"

SCHEMA = pa.schema(
    [
        ("id", pa.string()),
        ("stage", pa.string()),
        ("error", pa.string()),
        ("message", pa.string()),
        ("traceback", pa.string()),
        ("attempts", pa.int32()),
        ("line", pa.int64()),
        ("row", pa.string()),
    ]
)


@dataclass(frozen=True)
class Quarantined:
    """One failed row. ``line`` is its place in the catalog, from 1; ``row`` the whole row as it was read."""

    id: str
    stage: str
    error: str
    message: str
    traceback: str
    attempts: int
    line: int
    row: Mapping[str, Any]

    @staticmethod
    def of(
        error: BaseException, stage: str, row_id: str, line: int, row: Mapping[str, Any], attempts: int = 1
    ) -> Quarantined:
        """The entry for an exception."""
        trace = "".join(traceback.format_exception(error))
        return Quarantined(row_id, stage, type(error).__name__, str(error), trace, attempts, line, row)


def to_parquet(entries: Sequence[Quarantined], columns: Sequence[str] = ("reference", "driving")) -> bytes:
    """The table, readable by anything; an empty one has its columns too.

    The rows' own columns stand beside the reasons, as text, so that the file is itself a catalog. ``columns`` are those
    that such a catalog always has.
    """
    rows = [{**vars(entry), "row": json.dumps(_own(entry.row), default=str)} for entry in entries]
    table = pa.Table.from_pylist(rows, SCHEMA)
    for column in sorted(set(columns).union(*(entry.row for entry in entries)) - set(SCHEMA.names)):
        values = [entry.row.get(column) for entry in entries]
        table = table.append_column(column, pa.array([None if v is None else str(v) for v in values], pa.string()))
    buffer = io.BytesIO()
    pq.write_table(table, buffer, compression="zstd")
    return buffer.getvalue()


def _own(row: Mapping[str, Any]) -> dict[str, Any]:
    """A row without what a quarantine said of it that was fed back, or it would hold all quarantines before."""
    fed_back = all(name in row for name in SCHEMA.names)
    return {name: value for name, value in row.items() if not fed_back or name == "id" or name not in SCHEMA.names}
