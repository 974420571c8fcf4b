from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from model.alignment import FITTED, Alignment, align_to_reference, contain, fit_alignment
from model.keypoints import NUM_KEYPOINTS, PoseSequence

GOLDEN = np.load(Path(__file__).parents[1] / "golden" / "mimicmotion-tiny" / "pose.npz")


def sequence(keypoints: np.ndarray, scores: np.ndarray, width: int, height: int, people: int = 1) -> PoseSequence:
    frames = len(keypoints)
    return PoseSequence(
        keypoints.astype(np.float32),
        scores.astype(np.float32),
        np.tile(np.array([0, 0, width, height], np.float32), (frames, 1)),
        np.ones(frames, np.float32),
        np.full(frames, people, np.int32),
        width,
        height,
    )


def somebody(width: int, height: int, frames: int = 3) -> PoseSequence:
    """One posture over the whole picture, in every frame the same; all points are sure."""
    points = np.random.default_rng(1).uniform(0.1, 0.9, (NUM_KEYPOINTS, 2)) * (width, height)
    return sequence(np.tile(points, (frames, 1, 1)), np.full((frames, NUM_KEYPOINTS), 0.9), width, height)


def moved(poses: PoseSequence, scale: float, shift: tuple[float, float], width: int, height: int) -> PoseSequence:
    """The first frame scaled and shifted in pixels, as the reference of a width x height picture."""
    return sequence(poses.keypoints[:1] * scale + shift, poses.scores[:1], width, height)


def with_scores(poses: PoseSequence, scores: np.ndarray) -> PoseSequence:
    return sequence(poses.keypoints, scores, poses.width, poses.height)


@pytest.mark.parametrize("case", [0, 1])
def test_fit_and_result_are_the_released_ones(case):
    def golden(name: str) -> np.ndarray:
        return GOLDEN[f"rescale{case}_{name}"]

    frames = [name.split("_")[1] for name in GOLDEN.files if name.startswith(f"rescale{case}_") and "in_body" in name]
    used = [i for i in FITTED if golden("ref_subset")[0, i] >= 0]
    bodies = [golden(f"{frame}_in_body") for frame in frames]
    alone = [body[used] for body in bodies if len(body) == 18]
    assert 0 < len(alone) < len(frames)
    target = np.tile(golden("ref_candidate")[used], (len(alone), 1))
    (video_height, video_width), (height, width) = golden("video_HW"), golden("ref_HW")
    of_frame = np.arange(len(alone)).repeat(len(used))
    fit = fit_alignment(
        np.concatenate(alone), target, of_frame, (video_width, video_height), (width, height), "released"
    )
    np.testing.assert_allclose([fit.ax, fit.ay], golden("a"), rtol=1e-13)
    np.testing.assert_allclose([fit.bx, fit.by], golden("b"), rtol=1e-13)
    for frame in frames:
        for part in ("body", "faces", "hands"):
            moved_points = fit.apply(golden(f"{frame}_in_{part}"))
            np.testing.assert_allclose(moved_points, golden(f"{frame}_out_{part}"), rtol=0, atol=1e-12)


@pytest.mark.parametrize("style", ["default", "released"])
@settings(max_examples=25, deadline=None)
@given(
    scale=st.floats(0.2, 3),
    shift=st.tuples(st.floats(-500, 500), st.floats(-500, 500)),
    size=st.tuples(st.integers(200, 2000), st.integers(200, 2000)),
)
def test_a_scaled_and_shifted_person_is_found_again(style, scale, shift, size):
    driving = somebody(1280, 720)
    reference = moved(driving, scale, shift, *size)
    aligned, reason = align_to_reference(driving, reference, style)
    assert reason is None
    assert (aligned.width, aligned.height) == size
    np.testing.assert_allclose(aligned.keypoints, np.tile(reference.keypoints, (3, 1, 1)), rtol=0, atol=0.05)
    box = np.array([0, 0, 1280, 720]) * scale + np.tile(shift, 2)
    np.testing.assert_allclose(aligned.boxes[0], box, rtol=0, atol=0.05)
    np.testing.assert_array_equal(aligned.scores, driving.scores)


def bobbing(poses: PoseSequence, pixels: float) -> PoseSequence:
    """Many frames of the first, which move up and down."""
    frames = 40
    shift = np.stack([np.zeros(frames), pixels * np.sin(np.arange(frames))], 1)[:, None]
    return sequence(poses.keypoints[:1] + shift, np.tile(poses.scores[:1], (frames, 1)), poses.width, poses.height)


def standing(points: list[int]) -> PoseSequence:
    """Somebody upright, of whom only these keypoints are reliable."""
    poses = somebody(576, 1024, frames=1)
    poses.keypoints[0, :17, 1] = [200, 194, 194, 198, 198, 290, 290, 400, 400, 490, 490, 510, 510, 700, 700, 880, 880]
    poses.keypoints[0, :17, 0] = np.linspace(200, 380, 17)
    scores = np.zeros_like(poses.scores)
    scores[0, points] = 0.9
    return with_scores(poses, scores)


@settings(max_examples=25, deadline=None)
@given(scale=st.floats(0.3, 3), pixels=st.floats(0, 200), seen=st.sampled_from([7, 13, 17]))
def test_who_moves_up_and_down_keeps_their_size(scale, pixels, seen):
    """However little of them the reference shows."""
    whole = standing(list(range(17)))
    driving = bobbing(whole, pixels)
    reference = moved(with_scores(whole, standing(list(range(seen))).scores), scale, (30, 40), 576, 1024)
    aligned, reason = align_to_reference(driving, reference)
    assert reason is None
    height = np.ptp(aligned.keypoints[:, :17, 1], axis=1)
    np.testing.assert_allclose(height, np.ptp(reference.keypoints[0, :17, 1]), rtol=1e-3)


def test_who_moves_up_and_down_is_made_smaller_as_released():
    driving, reference = bobbing(standing(list(range(17))), 40), standing(list(range(7)))
    aligned, reason = align_to_reference(driving, reference, "released")
    assert reason is None
    assert np.ptp(aligned.keypoints[0, :17, 1]) < 0.8 * np.ptp(reference.keypoints[0, :17, 1])


@pytest.mark.parametrize("style", ["default", "released"])
def test_a_face_alone_that_moves_up_and_down_gives_no_scale(style):
    driving = bobbing(standing(list(range(17))), 20)
    aligned, reason = align_to_reference(driving, standing(list(range(5))), style)
    assert reason is not None
    assert "one height" in reason
    np.testing.assert_allclose(aligned.keypoints, driving.keypoints, atol=1e-3)


def test_an_unreliable_driving_point_moves_the_released_fit_only():
    driving = somebody(640, 480)
    reference = moved(driving, 0.5, (10, 20), 640, 480)
    driving.keypoints[:, 15] += (0, 400)
    driving.scores[:, 15] = 0.1
    aligned, _ = align_to_reference(driving, reference)
    released, _ = align_to_reference(driving, reference, "released")
    np.testing.assert_allclose(aligned.keypoints[0, 0], reference.keypoints[0, 0], atol=0.05)
    assert np.abs(released.keypoints[0, 0] - reference.keypoints[0, 0]).max() > 2


@pytest.mark.parametrize("style", ["default", "released"])
def test_a_point_unreliable_in_the_reference_is_not_fitted(style):
    driving = somebody(640, 480)
    reference = moved(driving, 0.5, (10, 20), 640, 480)
    truth = reference.keypoints.copy()
    reference.keypoints[:, 15] += (0, 400)
    reference.scores[:, 15] = 0.3
    aligned, reason = align_to_reference(driving, reference, style)
    assert reason is None
    np.testing.assert_allclose(aligned.keypoints[0], truth[0], atol=0.05)


@pytest.mark.parametrize("style", ["default", "released"])
def test_frames_with_other_people_or_without_the_person_are_not_fitted(style):
    driving = somebody(640, 480, frames=4)
    reference = moved(driving, 0.5, (10, 20), 640, 480)
    driving.keypoints[1:3] *= 3
    driving.people[1] = 2
    driving.scores[2] = 0
    aligned, reason = align_to_reference(driving, reference, style)
    assert reason is None
    np.testing.assert_allclose(aligned.keypoints[0], reference.keypoints[0], atol=0.05)


def test_when_no_frame_shows_one_person_alone_all_frames_of_the_person_are_fitted():
    driving = somebody(640, 480)
    reference = moved(driving, 0.5, (10, 20), 640, 480)
    driving.people[:] = 2
    aligned, reason = align_to_reference(driving, reference)
    assert reason is not None
    assert "other people" in reason
    np.testing.assert_allclose(aligned.keypoints[0], reference.keypoints[0], atol=0.05)


def upside_down() -> PoseSequence:
    poses = somebody(640, 480, frames=1)
    return sequence((640, 480) - poses.keypoints, poses.scores, 640, 480)


@pytest.mark.parametrize("style", ["default", "released"])
@pytest.mark.parametrize(
    ("driving", "reference", "cause"),
    [
        (somebody(640, 480), PoseSequence.empty(1, 640, 480), "fewer than 2 points"),
        (PoseSequence.empty(3, 640, 480), somebody(640, 480, frames=1), "fewer than 2 points"),
        (PoseSequence.empty(0, 640, 480), somebody(640, 480, frames=1), "fewer than 2 points"),
        (somebody(640, 480), upside_down(), "scale of -1"),
        (somebody(640, 480), moved(somebody(640, 480), 0.01, (300, 200), 640, 480), "scale of 0.01"),
        (moved(somebody(640, 480), 0.01, (300, 200), 640, 480), somebody(640, 480, frames=1), "one height"),
    ],
    ids=["nobody in reference", "nobody in driving", "no frames", "upside down", "tiny reference", "tiny driving"],
)
def test_without_a_sound_fit_the_driving_frame_is_centred(driving, reference, cause, style):
    aligned, reason = align_to_reference(driving, reference, style)
    assert reason is not None
    assert "centred" in reason
    assert cause in reason
    np.testing.assert_allclose(aligned.keypoints, driving.keypoints, atol=1e-3)


def test_contain_keeps_proportions_and_middle():
    fit = contain((1280, 720), (576, 1024))
    corners = fit.apply(np.array([[0.0, 0.0], [1.0, 1.0], [0.5, 0.5]])) * (576, 1024)
    np.testing.assert_allclose(corners, [[0, 350], [576, 674], [288, 512]])
    fit = contain((720, 1280), (576, 512))
    corners = fit.apply(np.array([[0.0, 0.0], [1.0, 1.0], [0.5, 0.5]])) * (576, 512)
    np.testing.assert_allclose(corners, [[144, 0], [432, 512], [288, 256]])


def test_points_that_are_not_finite_are_refused():
    points = np.array([[0.1, 0.1], [0.5, np.nan], [0.2, 0.9]])
    with pytest.raises(ValueError, match="not finite"):
        fit_alignment(points, np.ones((3, 2)), np.zeros(3, int), (1, 1), (1, 1))


def test_a_reference_of_two_frames_is_refused():
    with pytest.raises(ValueError, match="2 frames, expected 1"):
        align_to_reference(somebody(640, 480), somebody(640, 480, frames=2))


def test_alignment_applies_each_axis_on_its_own():
    np.testing.assert_array_equal(Alignment(2, 3, 4, 5).apply(np.array([[1.0, 1.0]])), [[6, 8]])
