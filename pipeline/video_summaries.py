"""What is known of each video that poses were extracted from: ``videos.parquet`` beside the pose tables."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from model.artifacts import join
from pipeline.pose_reader import open_parquet, row_groups_with
from pipeline.pose_table import PoseTableError

NAME = "videos.parquet"

OUTDATED = (
    "its poses in {} are not those of its row in videos.parquet: extract_poses is writing there, or was killed; "
    "let it end, or run it again"
)
"""Said of a video whose table, which it names, is newer."""

_KEYS = ("video_id", "table")

# Rows with the times of all their frames: a batch of long videos is what must fit into memory.
_BATCH_ROWS = 64


def read_summaries(folder: str, columns: Sequence[str], table: str | None = None) -> Iterator[dict[str, Any]]:
    """The rows of a folder's ``videos.parquet``, or of those videos whose poses are in one ``table``, in its order.

    Raises as ``summary_batches``.
    """
    for batch in summary_batches(folder, columns, table):
        yield from batch.to_pylist()


def summary_batches(folder: str, columns: Sequence[str], table: str | None = None) -> Iterator[pa.RecordBatch]:
    """The same, some rows at a time.

    Raises ``PoseTableError`` when ``videos.parquet`` is not there, cannot be read or lacks a column.
    """
    uri = join(folder, NAME)
    with open_parquet(uri) as file:
        try:
            parquet = pq.ParquetFile(file)
            if missing := sorted({*columns, *_KEYS} - set(parquet.schema_arrow.names)):
                raise PoseTableError(f"{uri}: without column {', '.join(missing)}; extract the poses again")
            groups = None if table is None else row_groups_with(parquet.metadata, "table", table)
            wanted = list({*columns, *_KEYS})
            for batch in parquet.iter_batches(_BATCH_ROWS, row_groups=groups, columns=wanted):
                if any(batch[key].null_count for key in _KEYS):
                    raise PoseTableError(f"{uri}: a row without {' or '.join(_KEYS)}; extract the poses again")
                chosen = batch if table is None else batch.filter(pc.equal(batch["table"], table))
                yield chosen.select(list(columns))
        except PoseTableError:
            raise
        except Exception as error:  # every store has exceptions of its own
            raise PoseTableError(f"{uri}: cannot be read as parquet ({type(error).__name__}: {error})") from error


def fits(row: Mapping[str, Any], fingerprints: Mapping[str, str]) -> bool:
    """Whether the times and cuts in a video's row are those of its poses in a table, by what those were made from.

    Tables are put in place before ``videos.parquet`` is. A table that does not say, which has none, is believed.
    """
    return not fingerprints or fingerprints.get(row["video_id"]) == row["fingerprint"]
