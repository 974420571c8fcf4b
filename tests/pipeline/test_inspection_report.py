import pytest

from pipeline.inspection_report import write_report
from pipeline.pose_sources import find_tables
from tests.pipeline.pose_output import video, walking, write_output


def test_a_video_that_cannot_be_pictured_does_not_cost_the_page(tmp_path, monkeypatch):
    flat = video("a", walking(5))
    write_output(tmp_path, {"1.parquet": [flat, video("b", walking(5))]})

    def sheet(file, video, heading):
        if video.video_id == "a":
            raise MemoryError("no room")
        return real(file, video, heading)

    from pipeline.inspection_report import sheet as real

    monkeypatch.setattr("pipeline.inspection_report.sheet", sheet)
    found = write_report(find_tables(str(tmp_path)), str(tmp_path / "look"), (), 100, False)
    assert found.failed == [("/nowhere/a.mp4", "cannot be pictured (MemoryError: no room)")]
    page = (tmp_path / "look" / "index.html").read_text()
    assert page.count("<figure>") == 1
    assert "MemoryError: no room" in page


@pytest.mark.parametrize("size", [(640, 0), (0, 480)])
def test_poses_in_pictures_of_no_size_are_named(tmp_path, size):
    made = video("a", walking(5))
    object.__setattr__(made, "width", size[0])
    object.__setattr__(made, "height", size[1])
    write_output(tmp_path, {"1.parquet": [made]})
    found = write_report(find_tables(str(tmp_path)), str(tmp_path / "look"), (), 100, False)
    ((name, reason),) = found.failed
    assert name == "/nowhere/a.mp4"
    assert f"pictures of {size[0]}x{size[1]} pixels" in reason
