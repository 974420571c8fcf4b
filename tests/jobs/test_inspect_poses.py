"""The job as a person runs it, on real poses."""

from __future__ import annotations

import numpy as np
from PIL import Image

from jobs.arguments import OK, SOME_QUARANTINED, WRONG_REQUEST
from jobs.inspect_poses import main
from pipeline.video import probe_video
from tests.pipeline.pose_output import video, walking, write_output


def test_a_page_with_sheets_and_overlays_is_made(dance_poses, tmp_path, capsys):
    write_output(tmp_path, {"1.parquet": [dance_poses, video("z", walking(20, score=0.4))]})
    assert main([str(tmp_path), "--overlay"]) == OK
    assert "2 videos, 45 frames" in capsys.readouterr().out
    folder = tmp_path / "inspection"
    page = (folder / "index.html").read_text()
    assert page.count("<figure>") == 2
    assert "On black: " in page
    dance = f"02-{dance_poses.video_id[:16]}"
    assert {path.name for path in folder.iterdir() if not path.name.startswith(".")} == {
        "index.html", "01-z.png", "01-z.mp4", f"{dance}.png", f"{dance}.mp4"
    }  # fmt: skip
    assert np.asarray(Image.open(folder / f"{dance}.png")).std() > 5
    assert probe_video(folder / f"{dance}.mp4").frames == 25


def test_the_videos_that_are_asked_for_are_shown(tmp_path, capsys):
    write_output(tmp_path, {"1.parquet": [video(name, walking(5)) for name in ("anna", "berta", "carla")]})
    output = tmp_path / "look"
    assert main([str(tmp_path), "--video", "carla", "--video", "anna", "--output", str(output)]) == OK
    assert sorted(path.name for path in output.glob("*.png")) == ["01-anna.png", "02-carla.png"]
    assert main([str(tmp_path), "--video", "dora"]) == WRONG_REQUEST
    assert "video 'dora' is not in these tables" in capsys.readouterr().err


def test_one_table_can_be_looked_at_by_itself(tmp_path):
    write_output(tmp_path, {"1.parquet": [video("a/../b", walking(5))]})
    assert main([str(tmp_path / "poses" / "1.parquet")]) == OK
    # Not among the tables: whoever reads their folder would read the page.
    folder = tmp_path / "inspection"
    assert sorted(path.name for path in folder.glob("*.*")) == [".incoming", "01-a____b.png", "index.html"]


def test_the_page_is_never_among_the_tables(tmp_path):
    write_output(tmp_path / "poses", {"1.parquet": [video("a", walking(5))]})
    assert main([str(tmp_path / "poses" / "poses")]) == OK
    assert main([str(tmp_path / "poses")]) == OK
    assert [path.parent for path in tmp_path.rglob("index.html")] == [tmp_path / "poses" / "inspection"]
    alone = tmp_path / "made" / "a.parquet"
    alone.parent.mkdir()
    (tmp_path / "poses" / "poses" / "1.parquet").rename(alone)
    assert main([str(alone)]) == OK
    assert (tmp_path / "made" / "inspection" / "index.html").is_file()


def test_what_is_wrong_is_told(tmp_path, capsys):
    assert main([str(tmp_path)]) == WRONG_REQUEST
    assert "no pose table" in capsys.readouterr().err
    write_output(tmp_path, {f"{name}.parquet": [video(name, walking(5))] for name in "ab"})
    assert main([str(tmp_path), "--rows", "0"]) == WRONG_REQUEST
    (tmp_path / "poses" / "a.parquet").write_text("")
    assert main([str(tmp_path)]) == SOME_QUARANTINED
    assert "could not be read: poses/a.parquet" in capsys.readouterr().out


def test_tables_and_page_in_s3(bucket, tmp_path):
    write_output(tmp_path, {"1.parquet": [video("a", walking(20))]})
    for path in tmp_path.rglob("*.parquet"):
        bucket.upload_file(str(path), "data", f"out/{path.relative_to(tmp_path)}")
    assert main(["s3://data/out"]) == OK
    keys = {entry["Key"] for entry in bucket.list_objects_v2(Bucket="data", Prefix="out/inspection/")["Contents"]}
    assert keys == {"out/inspection/index.html", "out/inspection/01-a.png"}
