import numpy as np
import pytest

from model.keypoints import FACE, LEFT_HAND, NUM_KEYPOINTS, RIGHT_HAND, PoseSequence
from pipeline.figures.clip import figure_clip
from pipeline.figures.complete import complete


def found(frames: int = 12) -> PoseSequence:
    clip = figure_clip(1, 0, frames, 192, 128)
    ones = np.ones((frames, NUM_KEYPOINTS), np.float32)
    return PoseSequence(clip.truth, ones, clip.detected.boxes, clip.detected.box_scores, clip.detected.people, 128, 192)


def test_what_was_found_stays_but_for_light_smoothing():
    poses = found()
    completed = complete(poses)
    middle = 0.25 * poses.keypoints[:-2] + 0.5 * poses.keypoints[1:-1] + 0.25 * poses.keypoints[2:]
    np.testing.assert_allclose(completed[1:-1], middle, atol=1e-2)


def test_a_joint_that_is_away_for_a_while_goes_from_where_it_was_to_where_it_is():
    poses = found()
    poses.scores[4:7, 9] = 0
    poses.keypoints[4:7, 9] = 1e4
    completed = complete(poses)
    a, b = poses.keypoints[3, 9], poses.keypoints[7, 9]
    np.testing.assert_allclose(completed[5, 9], (a + b) / 2, atol=1.5)


@pytest.mark.parametrize(("hand", "wrist", "elbow"), [(LEFT_HAND, 9, 7), (RIGHT_HAND, 10, 8)])
def test_a_hand_that_is_never_seen_goes_on_from_its_forearm(hand, wrist, elbow):
    poses = found()
    poses.scores[:, hand] = 0
    poses.keypoints[:, hand] = 0
    completed = complete(poses)
    forearm = completed[:, wrist] - completed[:, elbow]
    reach = completed[:, hand] - completed[:, wrist, None]
    length = np.linalg.norm(forearm, axis=1)
    tips = np.linalg.norm(reach[:, [8, 12, 16, 20]], axis=-1)
    assert (tips < 1.2 * np.percentile(length, 80)).all()
    assert (tips > 0.1 * np.percentile(length, 80)).all()
    # Fingers point where the forearm does.
    assert (np.einsum("tki,ti->tk", reach[:, [8, 12, 16]], forearm) > 0).mean() > 0.95


def test_a_face_that_is_never_seen_lies_around_the_nose():
    poses = found()
    poses.scores[:, FACE] = 0
    poses.keypoints[:, FACE] = 0
    completed = complete(poses)
    off = np.abs(completed[:, FACE].mean(axis=1) - completed[:, 0])
    assert (off < np.ptp(completed[:, FACE], axis=1)).all()
    # The person's left eye is where the body's left eye is.
    nearer = np.linalg.norm(completed[:, 65:71].mean(axis=1) - completed[:, 1], axis=1)
    further = np.linalg.norm(completed[:, 59:65].mean(axis=1) - completed[:, 1], axis=1)
    assert (nearer < further).all()


def test_a_body_joint_that_is_never_found_is_named():
    poses = found()
    poses.scores[:, 13] = 0
    with pytest.raises(ValueError, match="keypoint 13 of the body is found in no frame"):
        complete(poses)
