"""What a pose table says of its videos fits into what parquet's readers take."""

from __future__ import annotations

import json

import numpy as np
import pytest

from pipeline import pose_files
from pipeline.pose_files import PoseFile, PoseFileWriter, contents_table, contents_to_bytes
from pipeline.pose_table import PoseTableError
from tests.pipeline.finished_parts import video_id


def described(name: str, pts_s: np.ndarray, size: int = 0) -> dict[str, object]:
    return {
        "video_id": video_id(name),
        "rows": 0,
        "bytes": size,
        "settings": json.dumps({}),
        "pts_s": pts_s.tolist(),
    }


@pytest.mark.parametrize("tick_s", [1 / 30, 1001 / 30000])
def test_the_times_of_steady_frames_take_hardly_any_room_and_stay_as_they_are(tmp_path, tick_s):
    times = np.arange(0, 40_000, 2) * tick_s
    contents = contents_table([described("steady", times)])
    assert len(contents_to_bytes(contents)) < 2 * len(times)
    path = tmp_path / "table.parquet"
    PoseFileWriter(str(path)).close(contents, {})
    with path.open("rb") as file:
        assert PoseFile(file, "table").about(video_id("steady"))["pts_s"] == times.tolist()


def test_a_table_that_says_more_of_its_videos_than_readers_take_names_a_size_that_fits(tmp_path, monkeypatch):
    monkeypatch.setattr(pose_files, "MOST_CONTENTS_BYTES", 1 << 20)
    random = np.random.default_rng(0)
    videos = [described(f"{i}", np.sort(random.uniform(0, 9e4, 20_000)), 10 << 20) for i in range(16)]
    with pytest.raises(PoseTableError, match=r"a table's 16 videos.*--table-size (\d+)") as refusal:
        PoseFileWriter(str(tmp_path / "large")).close(contents_table(videos), {})
    fit = int(str(refusal.value).rpartition(" ")[2]) // 10
    assert 1 <= fit < 16
    PoseFileWriter(str(tmp_path / "fits")).close(contents_table(videos[:fit]), {})
    with (tmp_path / "fits").open("rb") as file:
        assert PoseFile(file, "fits").contents.num_rows == fit
