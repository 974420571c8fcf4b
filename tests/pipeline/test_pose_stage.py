"""The actor that estimates poses."""

from pathlib import Path

from model.estimators.selection import DWPOSE_DETECTOR, DWPOSE_POSE, EstimatorChoice
from pipeline import pose_stage, retries
from pipeline.pose_stage import EstimatePoses
from pipeline.quarantine import Quarantined
from pipeline.storage import Storage
from pipeline.tasks import pack, unpack


class Row:
    """As much of a task as one that fails needs."""

    def failed(self, error: BaseException, stage: str) -> Quarantined:
        return Quarantined.of(error, stage, "row", 1, {})


def test_networks_that_cannot_be_loaded_are_an_outcome_that_says_so(tmp_path: Path, monkeypatch):
    for name in (DWPOSE_DETECTOR, DWPOSE_POSE):
        (tmp_path / name).write_text("version https://git-lfs.github.com/spec/v1")
    monkeypatch.setattr(pose_stage, "Reporter", lambda board: None)
    monkeypatch.setattr(retries.time, "sleep", lambda seconds: None)
    stage = EstimatePoses(EstimatorChoice("dwpose", str(tmp_path)), "cpu", False, 1, Storage(str(tmp_path)), "board")
    found = [unpack(row["packed"][0]) for row in stage({"packed": [pack([Row(), Row()])["packed"]]})]  # type: ignore[list-item]
    assert [outcome.stage for outcome in found] == ["model", "model"]
    assert "ONNX Runtime cannot load it" in found[0].message
