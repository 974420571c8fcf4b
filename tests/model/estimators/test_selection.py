import fsspec
import pytest

from model.artifacts import ArtifactError
from model.estimators.holistic import Holistic
from model.estimators.holistic_weights import HOLISTIC_DIGEST
from model.estimators.selection import DWPOSE_DETECTOR, DWPOSE_POSE, EstimatorChoice


def put(folder: str, detector: bytes, pose: bytes) -> None:
    for name, contents in ((DWPOSE_DETECTOR, detector), (DWPOSE_POSE, pose)):
        with fsspec.open(f"{folder}/{name}", "wb") as file:
            file.write(contents)


def test_the_embedded_default_is_ready_to_use():
    assert isinstance(EstimatorChoice().load(), Holistic)
    assert EstimatorChoice().identity() == f"holistic-2-{HOLISTIC_DIGEST}"


def test_dwpose_comes_from_any_place_and_is_known_by_its_contents(tmp_path, monkeypatch):
    monkeypatch.setenv("MIMICMOTION_CACHE", str(tmp_path))
    identities = set()
    for number, (detector, pose) in enumerate([(b"a", b"b"), (b"b", b"a"), (b"a", b"c"), (b"a", b"b")]):
        put(f"memory://dwpose-{number}", detector, pose)
        identities.add(EstimatorChoice("dwpose", f"memory://dwpose-{number}").identity())
    assert len(identities) == 3
    assert all(identity.startswith("dwpose-2-") for identity in identities)


def test_what_cannot_be_chosen_is_named(tmp_path):
    with pytest.raises(ValueError, match="'openpose', expected one of holistic, dwpose"):
        EstimatorChoice("openpose")
    with pytest.raises(ValueError, match=r"needs a folder with yolox_l\.onnx"):
        EstimatorChoice("dwpose")
    with pytest.raises(ArtifactError, match=r"yolox_l\.onnx: no such file"):
        EstimatorChoice("dwpose", str(tmp_path)).identity()
    put(str(tmp_path), b"text", b"text")
    with pytest.raises(ValueError, match=r"yolox_l\.onnx"):
        EstimatorChoice("dwpose", str(tmp_path)).load()
