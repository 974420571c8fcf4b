import numpy as np
import pytest

from cluster.snapshots import Progress, Snapshots, SnapshotUnreadable
from pipeline.storage import Storage


@pytest.fixture
def kept(tmp_path) -> Snapshots:
    return Snapshots(Storage(str(tmp_path)), "state/row/mark")


def window(number: int) -> np.ndarray:
    return np.full((3, 4, 2, 2), number, np.float32)


def save(kept: Snapshots, step: int, windows: int) -> None:
    for number in range(windows):
        kept.write_window(step, number, window(100 * step + number))
    kept.write_progress(Progress(step, windows, np.full((4, 2, 2), step, np.float32)))


def files(tmp_path) -> list[str]:
    return sorted(path.name for path in (tmp_path / "state").rglob("*") if path.is_file())


def test_a_snapshot_comes_back_as_it_was(kept):
    assert kept.read_progress() is None
    save(kept, 5, 2)
    found = kept.read_progress()
    assert (found.step, found.windows) == (5, 2)
    np.testing.assert_array_equal(found.reference, np.full((4, 2, 2), 5, np.float32))
    np.testing.assert_array_equal(kept.read_window(5, 1), window(501))


def test_the_one_before_stays_until_the_next_is_whole(kept, tmp_path):
    save(kept, 5, 2)
    kept.write_window(10, 0, window(0))
    assert kept.read_progress().step == 5
    np.testing.assert_array_equal(kept.read_window(5, 0), window(500))
    save(kept, 10, 2)
    assert kept.read_progress().step == 10
    assert [name for name in files(tmp_path) if "step-0005" in name] == []


def test_nothing_is_left_when_the_video_is_finished(kept, tmp_path):
    save(kept, 5, 3)
    kept.clear()
    assert files(tmp_path) == []
    kept.clear()


@pytest.mark.parametrize("contents", [b"", b"no tensors", b"\x08\x00\x00\x00\x00\x00\x00\x00{}      "])
def test_what_cannot_be_read_is_not_taken_for_a_snapshot(kept, tmp_path, contents, caplog):
    save(kept, 5, 1)
    (tmp_path / "state/row/mark/step-0005-window-0000.safetensors").write_bytes(contents)
    with pytest.raises(SnapshotUnreadable, match="step-0005-window-0000"):
        kept.read_window(5, 0)
    with pytest.raises(SnapshotUnreadable, match="is gone"):
        kept.read_window(5, 7)
    (tmp_path / "state/row/mark/progress.safetensors").write_bytes(contents)
    assert kept.read_progress() is None
    assert "starting afresh" in caplog.text
