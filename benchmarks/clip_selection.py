"""Clip selection against the least that it could cost, and its memory against the size of the data set.

    python benchmarks/clip_selection.py [--videos 100 1000] [--json]

The limit is reading the same columns of the same tables and throwing them away. Each run is a process of its own, whose
peak memory is taken. The poses are random: they do not compress, so files are as large as they can be.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from model.artifacts import join
from model.keypoints import NUM_KEYPOINTS
from pipeline.clip_selection import select_clips
from pipeline.clips import ClipSettings
from pipeline.pose_reader import open_pose_file
from pipeline.pose_table import SCHEMA
from pipeline.report import table
from pipeline.video_summaries import NAME, read_summaries

FRAMES = 300
VIDEOS_A_TABLE = 100
FPS = 15.0


def build(folder: Path, videos: int) -> None:
    """Tables of one person in ``videos`` videos of ``FRAMES`` frames, ``VIDEOS_A_TABLE`` in a file."""
    (folder / "poses").mkdir(parents=True)
    random = np.random.default_rng(0)
    summaries = []
    for first in range(0, videos, VIDEOS_A_TABLE):
        name = f"poses/{first:06}.parquet"
        with pq.ParquetWriter(folder / name, SCHEMA, compression="zstd") as writer:
            for number in range(first, min(first + VIDEOS_A_TABLE, videos)):
                video_id = f"{number:08}"
                writer.write_table(_video(video_id, random))
                times = (np.arange(FRAMES) / FPS).tolist()
                about = {"video_id": video_id, "uri": f"{video_id}.mp4", "table": name, "fps": FPS, "frames": FRAMES}
                summaries.append({**about, "cuts": [FRAMES // 2], "pts_s": times})
    pq.write_table(pa.Table.from_pylist(summaries), folder / NAME)


def _video(video_id: str, random: np.random.Generator) -> pa.Table:
    def lists(values: np.ndarray, column: str) -> pa.Array:
        flat = pa.array(values.astype(np.float32).ravel())
        return pa.FixedSizeListArray.from_arrays(flat, SCHEMA.field(column).type.list_size)

    columns = {
        "video_id": [video_id] * FRAMES,
        "uri": [f"{video_id}.mp4"] * FRAMES,
        "frame_index": np.arange(FRAMES),
        "pts_s": np.arange(FRAMES) / FPS,
        "width": np.full(FRAMES, 640),
        "height": np.full(FRAMES, 480),
        "person_id": np.zeros(FRAMES, int),
        "bbox": lists(np.tile([100, 20, 300, 420], (FRAMES, 1)), "bbox"),
        "bbox_score": np.ones(FRAMES, np.float32),
        "keypoints": lists(random.uniform(0, 400, (FRAMES, NUM_KEYPOINTS, 2)), "keypoints"),
        "scores": lists(random.uniform(0.2, 1, (FRAMES, NUM_KEYPOINTS)), "scores"),
    }
    return pa.table([pa.array(columns[field.name], field.type) for field in SCHEMA], SCHEMA)


def run(what: str, folder: str) -> dict[str, float]:
    """Seconds and peak memory, in bytes, of one process: ``select``, ``read``, or ``start`` for neither."""
    begin = time.perf_counter()
    if what == "select":
        select_clips(folder, join(folder, "clips.parquet"), ClipSettings())
    elif what == "read":
        for name in sorted({row["table"] for row in read_summaries(folder, ["table"])}):
            with open_pose_file(join(folder, name)) as file:
                for _ in file.batches():
                    pass
    seconds = time.perf_counter() - begin
    # Not getrusage: its peak counts what the parent had when it forked.
    (peak,) = [line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM")]
    return {"seconds": seconds, "memory": int(peak.split()[1]) * 1024}


def main() -> None:
    """Build, measure, print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--videos", type=int, nargs="+", default=[100, 1000], help="sizes of the data set")
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    parser.add_argument("--only", nargs=2, metavar=("WHAT", "FOLDER"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.only:
        print(json.dumps(run(*options.only)))
        return
    results = []
    for videos in options.videos:
        with tempfile.TemporaryDirectory(prefix="mimicmotion-") as folder:
            build(Path(folder) / "out", videos)
            found = {}
            for what in ("start", "read", "select"):
                command = [sys.executable, __file__, "--only", what, f"{folder}/out"]
                done = subprocess.run(command, check=True, capture_output=True, text=True)
                found[what] = json.loads(done.stdout)
        rows = videos * FRAMES
        results.append(
            {
                "videos": videos,
                "rows": rows,
                "rows_per_s": rows / found["select"]["seconds"],
                "of_the_limit": found["read"]["seconds"] / found["select"]["seconds"],
                "memory_mib": (found["select"]["memory"] - found["start"]["memory"]) / 2**20,
                "memory_of_reading_mib": (found["read"]["memory"] - found["start"]["memory"]) / 2**20,
            }
        )
    if options.json:
        print(json.dumps(results, indent=2))
        return
    header = ("videos", "rows", "rows/s", "share of the limit", "memory", "memory of reading alone")
    lines = [
        (
            f"{row['videos']:,}", f"{row['rows']:,}", f"{row['rows_per_s']:,.0f}", f"{row['of_the_limit']:.2f}",
            f"{row['memory_mib']:.0f} MiB", f"{row['memory_of_reading_mib']:.0f} MiB",
        )
        for row in results
    ]  # fmt: skip
    print(table(header, lines))
    print("\nMemory is what is taken above that of a process that has only started.")


if __name__ == "__main__":
    main()
