from pathlib import Path

import numpy as np
import pytest
from ai_edge_litert.interpreter import Interpreter

from model.estimators.holistic_weights import FILES, holistic_weights
from model.estimators.tflite_graph import with_outputs

BODY = "pose_landmark_heavy.tflite"


@pytest.fixture(scope="module")
def weights() -> Path:
    return holistic_weights()


def computed(network: Interpreter, picture: np.ndarray) -> list[np.ndarray]:
    network.allocate_tensors()
    network.set_tensor(network.get_input_details()[0]["index"], picture)
    network.invoke()
    return [network.get_tensor(output["index"]) for output in network.get_output_details()]


def operators(network: Interpreter) -> int:
    network.allocate_tensors()
    return sum(operator["op_name"] != "DELEGATE" for operator in network._get_ops_details())


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("wanted", [(0, 1, 3), (1, 0), (0,)])
def test_the_outputs_that_are_kept_are_what_they_were(weights, name, wanted):
    whole = Interpreter(model_path=str(weights / name))
    wanted = [output for output in wanted if output < len(whole.get_output_details())]
    part = Interpreter(model_content=with_outputs(weights / name, wanted))
    picture = np.random.default_rng(0).random(whole.get_input_details()[0]["shape"]).astype(np.float32)
    before = computed(whole, picture)
    after = computed(part, picture)
    assert len(after) == len(wanted)
    for output, values in zip(wanted, after, strict=True):
        assert np.array_equal(before[output], values)


@pytest.mark.parametrize(
    ("name", "outputs", "spared"), [(BODY, (0, 1, 3), 50), ("hand_landmark_full.tflite", (0, 1), 7)]
)
def test_what_leads_to_nothing_wanted_is_left_out(weights, name, outputs, spared):
    part = Interpreter(model_content=with_outputs(weights / name, outputs))
    assert operators(Interpreter(model_path=str(weights / name))) - operators(part) == spared


def test_a_network_of_which_all_is_wanted_stays_whole(weights):
    name = "face_landmark.tflite"
    part = Interpreter(model_content=with_outputs(weights / name, (0, 1)))
    assert operators(part) == operators(Interpreter(model_path=str(weights / name)))


def test_an_output_that_is_not_there_is_an_error(weights):
    with pytest.raises(IndexError):
        with_outputs(weights / BODY, (0, 5))
