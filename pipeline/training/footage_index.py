"""Which clips there are, and what their videos' rows say: read once in a process, however many clips it makes.

Ray's tasks come and go, the processes that run them stay. Of 200,000 clips of as many videos of 300 frames it takes
0.5 GB; as Python's objects it would be four times as much.
"""

from __future__ import annotations

import functools
import hashlib
import itertools
import logging
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from model.artifacts import join
from pipeline.clip_table import KEPT
from pipeline.pose_reader import open_parquet, parquet_version
from pipeline.pose_table import PoseTableError
from pipeline.video_summaries import NAME as VIDEOS
from pipeline.video_summaries import summary_batches

log = logging.getLogger(__name__)

HELD_OUT_OF = 20
"""One video in so many is held out."""

_COLUMNS = ["video_id", "uri", "status", "start", "start_s", "frames", "person_id", "reference"]


@dataclass(frozen=True, eq=False)
class Video:
    """A video's row: the ``table`` that has its poses, the ``fingerprint`` of those, and the times of its frames."""

    video_id: str
    table: str
    fingerprint: str | None
    pts_s: np.ndarray


@dataclass(frozen=True, eq=False)
class FootageIndex:
    """The ``clips`` that can be used, whose column ``video`` says which of the ``videos`` each is of, and which of the
    ``times``.
    """

    clips: pa.Table
    videos: pa.Table
    times: list[np.ndarray]

    def __len__(self) -> int:
        return int(self.clips.num_rows)

    def clip(self, number: int) -> tuple[dict[str, Any], Video | None]:
        """A clip's row, and its video's, if that has one."""
        (row,) = self.clips.slice(number, 1).to_pylist()
        found = row.pop("video")
        if found is None:
            return row, None
        (video,) = self.videos.slice(found, 1).to_pylist()
        return row, Video(**video, pts_s=self.times[found])


def footage_index(table: str, poses: str, frames: int, held_out: bool) -> FootageIndex:
    """Of the clips in ``table`` that are of ``frames`` at least, those of ``held_out`` videos or all others; of all,
    where they are so few that there are none.

    Raises ``PoseTableError`` for what is wrong with the tables, ``PoseTableOutage`` where a store does not answer.
    """
    versions = parquet_version(table), parquet_version(join(poses, VIDEOS))
    return _read(table, poses, frames, held_out, versions)


# Those that are learnt from and those that are held out.
@functools.lru_cache(maxsize=2)
def _read(table: str, poses: str, frames: int, held_out: bool, versions: tuple[str, str]) -> FootageIndex:
    clips = _clips(table, frames, held_out)
    wanted = set(pc.unique(clips["video_id"]).to_pylist())
    batches, times = [], list[np.ndarray]()
    for batch in summary_batches(poses, ["video_id", "table", "fingerprint", "pts_s"]):
        chosen = batch.filter(pa.array([name in wanted for name in batch["video_id"].to_pylist()], pa.bool_()))
        batches.append(chosen.select(["video_id", "table", "fingerprint"]))
        flat = chosen["pts_s"].flatten().to_numpy(zero_copy_only=False)
        ends = np.cumsum(pc.fill_null(pc.list_value_length(chosen["pts_s"]), 0).to_numpy(zero_copy_only=False))
        times += [flat[start:end] for start, end in itertools.pairwise([0, *ends.tolist()])]
    videos = pa.Table.from_batches(batches).combine_chunks() if batches else _NO_VIDEOS.empty_table()
    of = pc.index_in(clips["video_id"], videos["video_id"].cast(pa.string()))
    return FootageIndex(clips.append_column("video", of).combine_chunks(), videos, times)


_NO_VIDEOS = pa.schema([("video_id", pa.string()), ("table", pa.string()), ("fingerprint", pa.string())])


def _clips(table: str, frames: int, held_out: bool) -> pa.Table:
    with open_parquet(table) as file:
        try:
            rows = pq.read_table(file, columns=_COLUMNS)
            rows = rows.filter(pc.and_(pc.equal(rows["status"], KEPT), pc.greater_equal(rows["frames"], frames)))
            rows = rows.set_column(0, "video_id", rows["video_id"].cast(pa.string()))
        except (pa.ArrowException, KeyError, OSError) as error:
            raise PoseTableError(f"{table}: cannot be read as a table of clips ({error})") from error
    wanted = [video_id for video_id in pc.unique(rows["video_id"]).to_pylist() if is_held_out(video_id) == held_out]
    found = rows.filter(pc.is_in(rows["video_id"], pa.array(wanted, pa.string())))
    if held_out and len(rows) and not len(found):
        log.warning("%s: none of its few videos is held out: validation is on clips that are learnt from too", table)
    # A few videos may all fall on one side.
    found = found if len(found) else rows
    if not len(found):
        raise PoseTableError(f"{table}: no clip of at least {frames} frames; select clips with --length {frames}")
    return found


def is_held_out(video_id: str) -> bool:
    """Whether a video is validated on and never learnt from."""
    return int(hashlib.sha256(video_id.encode()).hexdigest(), 16) % HELD_OUT_OF == 0


@functools.lru_cache(maxsize=2)
def epoch_order(seed: int, epoch: int, clips: int) -> np.ndarray:
    """The order, (clips,), in which clips come in an epoch."""
    return np.random.default_rng([seed, epoch, 78]).permutation(clips)
