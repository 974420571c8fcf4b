"""What a run made, for readers (``manifest.parquet``) and for people (a table at the end; what a dry run would do)."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.records import record_name

MANIFEST = "manifest.parquet"

SCHEMA = pa.schema(
    [
        ("id", pa.string()),
        ("video", pa.string()),
        ("record", pa.string()),
        ("fingerprint", pa.string()),
        ("frames", pa.int64()),
        ("fps", pa.float64()),
        ("duration_s", pa.float64()),
        ("width", pa.int32()),
        ("height", pa.int32()),
        ("bytes", pa.int64()),
        ("sha256", pa.string()),
        ("people", pa.int32()),
        ("frames_seen", pa.int64()),
        ("note", pa.string()),
    ]
)


def manifest_to_parquet(records: Mapping[str, Mapping[str, Any]]) -> bytes:
    """One row a finished video, by id; paths are relative to the output."""
    rows = []
    for row_id in sorted(records):
        record = records[row_id]
        own = {"id": row_id, "record": record_name(row_id), "fingerprint": record["fingerprint"]}
        facts = {**record["output"], **record["poses"], **own}
        rows.append({name: facts.get(name) for name in SCHEMA.names})
    buffer = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(rows, SCHEMA), buffer, compression="zstd")
    return buffer.getvalue()


def table(header: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """A plain text table, columns as wide as they need to be."""
    cells = [list(header), *[[str(cell) for cell in row] for row in rows]]
    widths = [max(len(row[column]) for row in cells) for column in range(len(header))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in cells]
    return "\n".join([lines[0], "  ".join("-" * width for width in widths), *lines[1:]])
