import logging
from itertools import islice
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from model.estimators.dwpose import DWPose
from model.estimators.dwpose_codec import decode_keypoints, decode_people, letterbox, pose_input, pose_region
from model.keypoints import NUM_KEYPOINTS
from model.openpose import to_openpose

GOLDEN = np.load(Path(__file__).parents[2] / "golden" / "mimicmotion-tiny" / "dwpose_post.npz")

RED, BLUE = (255, 0, 0), (0, 0, 255)


def golden_detector_rows() -> np.ndarray:
    rows = np.zeros((8400, 85), np.float32)
    rows[:, 4:] = GOLDEN["det_background_value"]
    rows[GOLDEN["det_output_nonbg_index"]] = GOLDEN["det_output_rows"]
    return rows


def detector_row(cell: tuple[int, int], offset: float, width: float, height: float, score: float) -> np.ndarray:
    """A person centred ``offset`` cells right of and below a cell of the stride-8 grid; sizes in pixels."""
    row = np.zeros((8400, 85), np.float32)
    index = cell[1] * 80 + cell[0]
    row[index, :6] = offset, offset, np.log(width / 8), np.log(height / 8), score, 1
    return row


def save(
    path: Path,
    nodes: list[onnx.NodeProto],
    constants: dict[str, np.ndarray],
    takes: dict[str, tuple],
    gives: dict[str, tuple],
) -> Path:
    graph = helper.make_graph(
        nodes,
        path.stem,
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in takes.items()],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in gives.items()],
        [numpy_helper.from_array(array, name) for name, array in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    onnx.checker.check_model(model)
    onnx.save(model, path)
    return path


def make_detector(path: Path, rows: np.ndarray) -> Path:
    """Finds ``rows`` in proportion to how red the reddest pixel is (255: in full)."""
    nodes = [
        helper.make_node("Gather", ["images", "first"], ["red"], axis=1),
        helper.make_node("ReduceMax", ["red"], ["reddest"], axes=[1, 2, 3], keepdims=0),
        helper.make_node("Div", ["reddest", "full"], ["share"]),
        helper.make_node("Mul", ["rows", "share"], ["output"]),
    ]
    constants = {"first": np.array([0]), "full": np.array(255, np.float32), "rows": rows[None]}
    return save(path, nodes, constants, {"images": (1, 3, 640, 640)}, {"output": (1, 8400, 85)})


def make_pose_network(path: Path, simcc_x: np.ndarray, simcc_y: np.ndarray) -> Path:
    """Answers every crop with the same (133, 576) and (133, 768)."""
    nodes = [
        helper.make_node("ReduceMean", ["input"], ["rows"], axes=[3], keepdims=0),
        helper.make_node("ReduceMean", ["rows"], ["mean"], axes=[1, 2], keepdims=1),
        helper.make_node("Mul", ["mean", "zero"], ["nothing"]),
        helper.make_node("Add", ["x", "nothing"], ["simcc_x"]),
        helper.make_node("Add", ["y", "nothing"], ["simcc_y"]),
    ]
    constants = {"zero": np.array(0, np.float32), "x": simcc_x[None], "y": simcc_y[None]}
    gives = {"simcc_x": ("batch", *simcc_x.shape), "simcc_y": ("batch", *simcc_y.shape)}
    return save(path, nodes, constants, {"input": ("batch", 3, 384, 288)}, gives)


def peaks(steps: int, position: int, score: float) -> np.ndarray:
    simcc = np.zeros((NUM_KEYPOINTS, steps), np.float32)
    simcc[:, position] = score
    return simcc


def still(colour: tuple[int, int, int], height: int = 640, width: int = 640) -> np.ndarray:
    return np.full((height, width, 3), colour, np.uint8)


@pytest.fixture(scope="module")
def networks(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A detector of one person, 200 x 160 around (324, 404), in red pictures; all keypoints in the box's middle."""
    folder = tmp_path_factory.mktemp("dwpose")
    detector = make_detector(folder / "yolox_l.onnx", detector_row((40, 50), 0.5, 200, 160, 0.9))
    return detector, make_pose_network(folder / "dw-ll.onnx", peaks(576, 288, 1.3), peaks(768, 384, 0.8))


@pytest.fixture(scope="module")
def estimator(networks: tuple[Path, Path]) -> DWPose:
    return DWPose(networks[0], networks[1], threads=1)


def test_detector_input_has_the_released_bytes():
    square, scale = letterbox(GOLDEN["image_u8"])
    np.testing.assert_array_equal(square, GOLDEN["det_input_u8"])
    assert scale == 1


@pytest.mark.parametrize(("height", "width"), [(1, 3000), (3000, 1), (7, 5)])
def test_pictures_of_any_shape_fit_the_detector(height, width):
    square, scale = letterbox(still(RED, height, width))
    assert square.shape == (3, 640, 640)
    assert scale == 640 / max(height, width)


def test_golden_people_are_decoded_as_released():
    boxes, scores = decode_people(golden_detector_rows(), 1.0)
    assert len(boxes) == len(GOLDEN["simcc_x"])
    assert (np.diff(scores) <= 0).all()
    keypoints, keypoint_scores = zip(
        *(
            decode_keypoints(simcc_x[0], simcc_y[0], *pose_region(box))
            for simcc_x, simcc_y, box in zip(GOLDEN["simcc_x"], GOLDEN["simcc_y"], boxes, strict=True)
        ),
        strict=True,
    )
    points, points_scores = to_openpose(np.stack(keypoints), np.stack(keypoint_scores))
    np.testing.assert_allclose(points, GOLDEN["keypoints134"], rtol=0, atol=1e-9)
    np.testing.assert_allclose(points_scores, GOLDEN["scores134"], rtol=0, atol=1e-7)
    first = pose_input(GOLDEN["image_u8"], *pose_region(boxes[0]))
    assert first.dtype == np.float32
    np.testing.assert_array_equal(first, GOLDEN["pose_input_person0"])


def test_boxes_go_back_to_the_size_of_the_picture():
    rows = detector_row((40, 50), 0.5, 200, 160, 0.9)
    boxes, scores = decode_people(rows, 0.5)
    np.testing.assert_allclose(boxes, [[448, 648, 848, 968]], rtol=1e-6)
    np.testing.assert_allclose(scores, [0.9])


@pytest.mark.parametrize(("second_height", "people"), [(200 * 0.48, 1), (200 * 0.44, 2)], ids=["overlapping", "apart"])
def test_of_boxes_that_overlap_by_more_than_45_percent_the_best_stays(second_height, people):
    rows = detector_row((40, 40), 0, 200, 200, 0.6)
    rows += detector_row((41, 40), -1, 200, second_height, 0.8)  # the same centre, from the next cell
    rows[40 * 80 + 41, 1] = 0
    boxes, scores = decode_people(rows, 1.0)
    assert len(boxes) == people
    assert scores[0] == np.float32(0.8)


@pytest.mark.parametrize(("score", "people"), [(0.31, 1), (0.29, 0)])
def test_a_box_needs_a_score_above_0_3(score, people):
    assert len(decode_people(detector_row((40, 40), 0, 200, 200, score), 1.0)[0]) == people


def test_other_classes_are_not_people():
    rows = detector_row((40, 40), 0, 200, 200, 0.9)
    rows[:, [5, 6]] = rows[:, [6, 5]]
    assert len(decode_people(rows, 1.0)[0]) == 0


def test_a_person_is_found_where_the_networks_say(estimator):
    ((person,),) = estimator.track([still(RED)])
    np.testing.assert_allclose(person.box, [224, 324, 424, 484], rtol=1e-6)
    np.testing.assert_allclose(person.keypoints, np.tile([324, 404], (NUM_KEYPOINTS, 1)), rtol=1e-6)
    assert person.box_score == pytest.approx(0.9)
    assert person.keypoints.dtype == person.scores.dtype == person.box.dtype == np.float32
    assert person.keypoints.shape == (NUM_KEYPOINTS, 2)


def test_the_networks_see_the_golden_person_as_the_released_code_did(tmp_path):
    detector = make_detector(tmp_path / "detector.onnx", golden_detector_rows())
    pose = make_pose_network(tmp_path / "pose.onnx", GOLDEN["simcc_x"][0, 0], GOLDEN["simcc_y"][0, 0])
    image = GOLDEN["image_u8"].copy()
    image[0, 0, 0] = 255
    ((best, second),) = DWPose(detector, pose, threads=1).track([image])
    points, _ = to_openpose(best.keypoints, best.scores)
    np.testing.assert_allclose(points, GOLDEN["keypoints134"][0], rtol=0, atol=1e-4)
    assert best.box_score > second.box_score
    assert best.person_id != second.person_id


def test_scores_are_cut_to_0_and_1(networks, tmp_path):
    pose = make_pose_network(tmp_path / "pose.onnx", peaks(576, 0, 1.4) - 0.2, peaks(768, 0, 1.5) - 0.2)
    ((person,),) = DWPose(networks[0], pose, threads=1).track([still(RED)])
    assert (person.scores == 1).all()
    negative = make_pose_network(tmp_path / "negative.onnx", peaks(576, 0, 0) - 0.2, peaks(768, 0, 0))
    ((person,),) = DWPose(networks[0], negative, threads=1).track([still(RED)])
    assert (person.scores == 0).all()


def test_nobody_is_an_empty_list(estimator):
    assert list(estimator.track([still(BLUE), still(RED), still(BLUE)]))[::2] == [[], []]


def test_ids_last_along_a_call_and_not_into_the_next(estimator):
    frames = [still(RED), still(RED), still(BLUE), still(RED)]
    assert [[person.person_id for person in people] for people in estimator.track(frames)] == [[0], [0], [], [0]]
    assert [[person.person_id for person in people] for people in estimator.track(frames[:1])] == [[0]]


def test_frames_are_taken_as_they_come(estimator):
    def endless():
        while True:
            yield still(RED)

    assert len(list(islice(estimator.track(endless()), 2))) == 2


def test_digest_knows_both_files_apart(networks, estimator, tmp_path):
    detector, pose = networks
    other = make_pose_network(tmp_path / "other.onnx", peaks(576, 1, 1), peaks(768, 1, 1))
    assert len(estimator.digest) == 64
    assert DWPose(detector, pose).digest == estimator.digest
    assert DWPose(detector, other).digest != estimator.digest


def test_without_cuda_the_cpu_is_used_and_said(networks, caplog, monkeypatch):
    monkeypatch.setattr("onnxruntime.get_available_providers", lambda: ["CPUExecutionProvider"])
    with caplog.at_level(logging.WARNING):
        estimator = DWPose(networks[0], networks[1], device="cuda:0", threads=1)
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert "cuda:0" in caplog.text
    ((person,),) = estimator.track([still(RED)])
    assert person.scores.max() > 0


def test_cuda_is_asked_for_by_its_index_where_it_is_available(networks, monkeypatch):
    asked = []

    class Refused(Exception):
        pass

    def refuse(path, options, providers):
        asked.append(providers)
        raise Refused

    monkeypatch.setattr("onnxruntime.get_available_providers", lambda: ["CUDAExecutionProvider"])
    monkeypatch.setattr("onnxruntime.InferenceSession", refuse)
    for device in ("cuda:3", "cuda", "cpu"):
        with pytest.raises(ValueError, match="cannot load it"):
            DWPose(networks[0], networks[1], device=device)
    assert [providers[0] for providers in asked] == [
        ("CUDAExecutionProvider", {"device_id": 3}),
        ("CUDAExecutionProvider", {"device_id": 0}),
        "CPUExecutionProvider",
    ]


def test_a_missing_file_a_broken_file_and_the_wrong_network_are_named(networks, tmp_path):
    detector, pose = networks
    with pytest.raises(FileNotFoundError, match=r"gone\.onnx: no such file"):
        DWPose(detector, tmp_path / "gone.onnx")
    broken = tmp_path / "broken.onnx"
    broken.write_bytes(b"not a network")
    with pytest.raises(ValueError, match=r"broken\.onnx: ONNX Runtime cannot load it"):
        DWPose(broken, pose)
    smaller = make_pose_network(tmp_path / "smaller.onnx", np.zeros((17, 576), np.float32), peaks(768, 0, 1))
    with pytest.raises(ValueError, match=r"smaller\.onnx: arrays of shape .*17.*, expected .*133"):
        DWPose(detector, smaller)
    with pytest.raises(ValueError, match=r"dw-ll\.onnx: arrays of shape .*, expected .*8400"):
        DWPose(pose, detector)
