import numpy as np
import pyarrow.parquet as pq
import pytest

from model.keypoints import FACE
from pipeline import quarantine
from pipeline.inspection import Inspection, inspect
from pipeline.inspection_report import write_report
from pipeline.pose_pictures import PosedVideo
from pipeline.pose_reader import BATCH_ROWS, open_pose_file
from pipeline.pose_sources import PoseSource, find_tables, posed_video
from pipeline.pose_table import PoseTableError, write_pose_table
from pipeline.quarantine import Quarantined
from tests.pipeline.pose_output import somebody, video, walking, write_anew, write_output


def look(folder, wanted=(), most_rows=1_000_000) -> Inspection:
    return inspect(find_tables(str(folder)), wanted, most_rows, lambda done, total: None)


def posed(source: PoseSource, row: dict) -> PosedVideo:
    with open_pose_file(source.uri(row["table"])) as file:
        return posed_video(source, row, file)


def test_scores_are_counted_by_part_and_confidence(tmp_path):
    scores = np.full(133, 0.93, np.float32)
    scores[FACE] = 1.2
    scores[17:23] = 0.0
    write_output(tmp_path, {"1.parquet": [video("a", [[somebody(score=scores)]] * 10)]})
    found = look(tmp_path)
    assert found.scores["body"].tolist() == [0] * 18 + [170, 0]
    assert found.scores["face"].tolist() == [0] * 19 + [680]
    assert found.scores["feet"].tolist() == [60] + [0] * 19
    assert (found.rows, found.rows_read, found.videos, found.frames) == (10, 10, 1, 10)
    assert found.reliable.tolist() == [10, 10]


def test_what_is_summed_up_says_the_same_as_the_tables_alone(tmp_path):
    people = walking(40, score=0.8)
    people[5:9] = [[]] * 4
    made = [video("aaa", people), video("bbb", walking(30, person_id=2, score=0.5)), video("ccc", walking(20))]
    write_output(tmp_path, {"1.parquet": made[:2], "2.parquet": made[2:]})
    summed_up = look(tmp_path)
    (tmp_path / "videos.parquet").unlink()
    alone = look(tmp_path)
    assert [row["video_id"] for row in alone.worst] == ["bbb", "aaa", "ccc"]
    for one, other in zip(summed_up.worst, alone.worst, strict=True):
        for name in set(one) - {"status", "motion", "fps"}:
            expected = pytest.approx(one[name]) if isinstance(one[name], float) else one[name]
            assert other[name] == expected, name
    for part, counts in summed_up.scores.items():
        np.testing.assert_array_equal(alone.scores[part], counts)
    single = look(tmp_path / "poses" / "2.parquet")
    assert [row["video_id"] for row in single.worst] == ["ccc"]
    assert single.worst[0]["motion"] == pytest.approx(4 / 200 * 10, rel=1e-4)


def test_times_are_those_of_all_frames_whatever_the_source(tmp_path):
    people = [people if frame % 3 else [] for frame, people in enumerate(walking(20))]
    people[0] = walking(1)[0]
    made = video("a", people)
    write_output(tmp_path / "out", {"1.parquet": [made]})
    source = find_tables(str(tmp_path / "out"))
    assert posed(source, look(tmp_path / "out").worst[0]).pts_s == made.pts_s
    (tmp_path / "out" / "videos.parquet").unlink()
    source = find_tables(str(tmp_path / "out"))
    (row,) = look(tmp_path / "out").worst
    assert row["frames"] == 20
    guessed = posed(source, row)
    np.testing.assert_allclose(guessed.pts_s, made.pts_s)
    assert guessed.fps == pytest.approx(10)
    # A table of one video, as animate_catalog keeps them, says when its frames were, also the last ones with nobody.
    write_pose_table(tmp_path / "one.parquet", video("a", [*people, [], []]), {})
    source = find_tables(str(tmp_path / "one.parquet"))
    found = posed(source, look(tmp_path / "one.parquet").worst[0])
    assert (len(found.pts_s), found.fps) == (22, 10)


def test_of_a_large_data_set_only_some_row_groups_are_read(tmp_path):
    made = [video(f"v{number}", walking(BATCH_ROWS)) for number in range(3)]
    write_output(tmp_path, {f"{poses.video_id}.parquet": [poses] for poses in made}, row_group=BATCH_ROWS // 4)
    found = look(tmp_path, most_rows=BATCH_ROWS)
    assert found.rows == 3 * BATCH_ROWS
    assert found.rows_read == BATCH_ROWS
    assert found.videos == 3


def test_videos_are_found_by_id_its_beginning_or_uri(tmp_path):
    write_output(tmp_path, {"1.parquet": [video(name * 8, walking(5)) for name in "abc"]})
    found = look(tmp_path, ["aaaaaaaa", "bbbbbb", "/nowhere/cccccccc.mp4", "ab", "c"])
    assert [row["video_id"] for row in found.chosen] == ["aaaaaaaa", "bbbbbbbb", "cccccccc"]


def test_quarantined_rows_are_counted_by_stage_and_error(tmp_path):
    write_output(tmp_path, {"1.parquet": [video("a", walking(5))]})
    entries = [
        Quarantined(str(number), "decode", error, f"{error} {number}", "", 1, number, {})
        for number, error in enumerate(["VideoError", "VideoError", "InputError"])
    ]
    (tmp_path / quarantine.NAME).write_bytes(quarantine.to_parquet(entries))
    found = look(tmp_path)
    assert found.quarantined == {("decode", "VideoError"): 2, ("decode", "InputError"): 1}
    assert found.examples["decode", "VideoError"] == "VideoError 0"
    (tmp_path / quarantine.NAME).write_text("no parquet")
    assert [name for name, _ in look(tmp_path).failed] == [quarantine.NAME]


def test_a_broken_table_is_named_and_the_others_are_looked_at(tmp_path):
    write_output(tmp_path, {f"{name}.parquet": [video(name, walking(5))] for name in "ab"})
    (tmp_path / "poses" / "a.parquet").write_text("text")
    found = look(tmp_path)
    assert [name for name, _ in found.failed] == ["poses/a.parquet"]
    assert found.rows_read == 5


def test_without_videos_parquet_a_bad_video_is_named_and_the_others_are_counted(tmp_path):
    twice = walking(5)
    twice[3] = [somebody(0), somebody(0)]
    made = [video("a", walking(5)), video("b", twice), video("c", walking(7))]
    write_output(tmp_path, {"1.parquet": made})
    (tmp_path / "videos.parquet").unlink()
    found = look(tmp_path)
    assert (found.videos, found.frames) == (2, 12)
    ((name, reason),) = found.failed
    assert name == "/nowhere/b.mp4"
    assert "person 0 twice" in reason


def test_a_table_that_breaks_off_is_named_and_what_came_before_is_counted(tmp_path):
    made = [video(name, walking(600)) for name in "abc"]
    write_output(tmp_path, {"1.parquet": made}, row_group=BATCH_ROWS)
    (tmp_path / "videos.parquet").unlink()
    path = tmp_path / "poses" / "1.parquet"
    chunk = pq.read_metadata(path).row_group(1).column(0)
    content = bytearray(path.read_bytes())
    content[chunk.data_page_offset : chunk.data_page_offset + 8] = b"\xff" * 8
    path.write_bytes(content)
    found = look(tmp_path)
    assert [row["video_id"] for row in found.worst] == ["a"]
    assert [name for name, _ in found.failed] == ["/nowhere/b.mp4", "poses/1.parquet"]


def test_a_table_says_itself_when_the_frames_were_that_nobody_is_in(tmp_path):
    people = [[] if frame < 5 or frame > 15 else people for frame, people in enumerate(walking(20))]
    made = [video("a", people, fps=5), video("b", [[]] * 8)]
    write_output(tmp_path, {"1.parquet": made})
    (tmp_path / "videos.parquet").unlink()
    contents = [
        {"video_id": poses.video_id, "uri": poses.uri, "fps": poses.fps, "frames": len(poses.people),
         "pts_s": poses.pts_s, "status": "whole"}
        for poses in made
    ]  # fmt: skip
    write_anew(tmp_path / "poses" / "1.parquet", contents)
    source, found = find_tables(str(tmp_path)), look(tmp_path)
    assert [(row["video_id"], row["frames"], row["fps"]) for row in found.worst] == [("b", 8, 10), ("a", 20, 5)]
    for row, poses in zip(found.worst, reversed(made), strict=True):
        assert posed(source, row).pts_s == poses.pts_s
        assert posed(source, row).fps == poses.fps
        assert (row["uri"], row["status"]) == (poses.uri, "whole")


def test_a_table_that_does_not_say_has_the_frames_before_anybody_at_the_steps_of_the_others(tmp_path):
    made = video("a", [[] if frame < 5 else people for frame, people in enumerate(walking(20))])
    made.pts_s[:] = [time + 3 for time in made.pts_s]
    write_output(tmp_path, {"1.parquet": [made]})
    (tmp_path / "videos.parquet").unlink()
    guessed = posed(find_tables(str(tmp_path)), look(tmp_path).worst[0])
    np.testing.assert_allclose(guessed.pts_s, made.pts_s)
    assert guessed.fps == pytest.approx(10)


def test_a_driving_video_in_which_nobody_was_found_is_the_worst(tmp_path):
    made = {"seen": video("seen", walking(5)), "empty": video("empty", [[]] * 6)}
    for name, poses in made.items():
        write_pose_table(tmp_path / f"{name}.parquet", poses, {})
    found = look(tmp_path)
    assert (found.videos, found.frames, found.failed) == (2, 11, [])
    assert [row["video_id"] for row in found.worst] == ["empty", "seen"]
    assert found.worst[0]["confidence_body"] is None
    assert found.worst[0]["uri"] == "/nowhere/empty.mp4"
    assert posed(find_tables(str(tmp_path)), found.worst[0]).pts_s == made["empty"].pts_s
    report = write_report(find_tables(str(tmp_path)), str(tmp_path / "look"), (), 100, True)
    assert report.failed == []


def test_where_there_are_no_tables_it_says_so(tmp_path):
    with pytest.raises(PoseTableError, match="no pose table, and no folder with any"):
        find_tables(str(tmp_path))
    with pytest.raises(PoseTableError, match="no pose table"):
        find_tables(str(tmp_path / "nowhere.parquet"))


def test_a_video_in_which_nobody_was_ever_seen_is_the_worst(tmp_path):
    write_output(tmp_path, {"1.parquet": [video("a", walking(5, score=0.01)), video("b", [[]] * 5)]})
    assert pq.read_table(tmp_path / "videos.parquet")["confidence_body"].to_pylist()[1] is None
    assert [row["video_id"] for row in look(tmp_path).worst] == ["b", "a"]
