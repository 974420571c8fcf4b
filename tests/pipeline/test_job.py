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
