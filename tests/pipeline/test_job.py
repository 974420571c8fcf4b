"""What a run of the animation job leaves behind."""

import itertools
from types import SimpleNamespace
from typing import Any, cast

import pytest
import ray

from pipeline import job
from pipeline.job import _clear_state
from pipeline.quarantine import Quarantined
from pipeline.storage import Storage
from pipeline.tasks import pack


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


@pytest.mark.usefixtures("local_ray")
def test_a_row_that_kills_its_worker_takes_none_of_the_same_driving_video_with_it(monkeypatch, tmp_path):
    tried: list[list[str]] = []

    @ray.remote(num_cpus=0)
    class Coordinator:
        pass

    def dataset(_request: object, groups: list[list[Any]], *_: object) -> tuple[Any, Any]:
        outcomes = []
        for group in groups:
            names = [task.row.id for task in group]
            tried.append(names)
            outcomes += itertools.takewhile(lambda name: name != "killer", names)
        batches = [{"packed": [pack({"id": name})["packed"]]} for name in outcomes]
        return SimpleNamespace(iter_batches=lambda **_: iter(batches)), Coordinator.remote()

    def task(name: str, driving: str) -> Any:
        row = SimpleNamespace(id=name, line=1, row={}, settings=SimpleNamespace(fps=15.0))
        return SimpleNamespace(row=row, driving=SimpleNamespace(sha256=driving))

    monkeypatch.setattr(job, "_dataset", dataset)
    rows = [task(name, "dance") for name in ("first", "killer", "third", "fourth")] + [task("alone", "walk")]
    found = list(job._make(cast(Any, None), rows, Storage(str(tmp_path))))
    assert [each["id"] for each in found[:-1] if isinstance(each, dict)] == ["first", "alone", "third", "fourth"]
    assert isinstance(found[-1], Quarantined)
    assert (found[-1].id, found[-1].stage) == ("killer", "worker")
    assert tried == [["first", "killer", "third", "fourth"], ["alone"], ["killer"], ["third"], ["fourth"]]
