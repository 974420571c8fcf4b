"""What a run of the animation job leaves behind."""

from pipeline.job import _clear_state
from pipeline.storage import Storage


def test_snapshots_stay_for_rows_that_failed_alone(tmp_path):
    storage = Storage(str(tmp_path / "out"))
    for row in ("made", "failed", "gone"):
        storage.write(f"state/{row}/fingerprint/progress.safetensors", b"latents")
    _clear_state(storage, {"failed"})
    assert list(storage.sizes("state")) == ["state/failed/fingerprint/progress.safetensors"]
    _clear_state(storage, set())
    assert not storage.sizes("state")


def test_what_others_keep_under_the_same_name_stays(tmp_path):
    storage = Storage(str(tmp_path / "out"))
    storage.write("state/0000004.pt", b"of a training run")
    storage.write("state/notes/of/mine.txt", b"of mine")
    storage.write("state/made/fingerprint/step-0003-window-0012.safetensors", b"latents")
    _clear_state(storage, set())
    assert sorted(storage.sizes("state")) == ["state/0000004.pt", "state/notes/of/mine.txt"]
