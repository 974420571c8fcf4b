import hashlib

import numpy as np

from model.keypoints import BODY, HANDS
from pipeline.figures.clip import figure_clip
from pipeline.figures.motion import generated_motion


def test_the_same_seeds_give_the_same_bytes_and_others_other_ones():
    first, again = (figure_clip(3, 5, 4, 96, 64) for _ in range(2))
    assert hashlib.sha256(first.frames.tobytes()).digest() == hashlib.sha256(again.frames.tobytes()).digest()
    np.testing.assert_array_equal(first.detected.scores, again.detected.scores)
    for other in (figure_clip(3, 6, 4, 96, 64), figure_clip(4, 5, 4, 96, 64)):
        assert (first.frames != other.frames).any()


def test_only_the_chosen_frames_are_made_and_they_are_those_of_the_whole_clip():
    whole, part = figure_clip(1, 2, 9, 96, 64), figure_clip(1, 2, 9, 96, 64, chosen=[7, 0, 3])
    np.testing.assert_array_equal(part.frames, whole.frames[[7, 0, 3]])
    np.testing.assert_array_equal(part.truth, whole.truth[[7, 0, 3]])
    np.testing.assert_array_equal(part.detected.keypoints, whole.detected.keypoints[[7, 0, 3]])


def test_nothing_but_the_figure_moves():
    clip = figure_clip(1, 3, 12, 192, 128)
    moved = (clip.frames != clip.background).any(axis=-1)
    scale = np.ptp(clip.truth[:, BODY, 1], axis=1).max()
    ys, xs = np.nonzero(moved.any(axis=0))
    points = clip.truth.reshape(-1, 2)
    nearest = [np.linalg.norm(points - [x, y], axis=1).min() for x, y in zip(xs[::37], ys[::37], strict=True)]
    assert max(nearest) < 0.2 * scale


def test_hands_are_where_their_keypoints_are():
    inside = []
    for index in range(6):
        clip = figure_clip(2, index, 3, 384, 256)
        for frame, points in zip(clip.frames, clip.truth, strict=True):
            drawn = (frame != clip.background).any(axis=-1)
            for hand in HANDS.values():
                at = points[hand].round().astype(int)
                seen = (at >= 0).all(axis=1) & (at[:, 0] < 256) & (at[:, 1] < 384)
                inside += drawn[at[seen, 1], at[seen, 0]].tolist()
    assert np.mean(inside) > 0.98


def test_a_given_motion_drives_the_figure_mirrored_half_of_the_time():
    motion = generated_motion(np.random.default_rng(0), 6)
    sides = []
    for index in range(20):
        truth = figure_clip(0, index, 6, 96, 64, motion).truth
        flipped = np.corrcoef(truth[:, 9, 0] - truth[:, 0, 0], motion[:, 9, 0] - motion[:, 0, 0])[0, 1] < 0.99
        sides.append(bool(flipped))
        # One similarity for the whole clip: all distances scale alike.
        lengths = [np.linalg.norm(each[:, 5] - each[:, 7], axis=1) for each in (truth, motion)]
        if not flipped:
            ratio = lengths[0] / lengths[1]
            np.testing.assert_allclose(ratio, ratio[0], rtol=1e-3)
    assert 3 <= sum(sides) <= 17


def test_keypoints_lie_mostly_in_the_picture():
    shares = []
    for index in range(20):
        points = figure_clip(7, index, 4, 96, 64).truth[:, BODY]
        shares.append(((points >= 0) & (points < [64, 96])).all(axis=-1).mean())
    assert np.mean(shares) > 0.9
