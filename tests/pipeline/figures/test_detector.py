import numpy as np

from model.keypoints import BODY, HANDS, LEFT_HAND
from pipeline.figures.clip import figure_clip
from pipeline.figures.detector import detect


def errors_and_scores(clips: int = 12) -> tuple[np.ndarray, np.ndarray]:
    found = [figure_clip(5, index, 40, 192, 128, chosen=range(0, 40, 4)) for index in range(clips)]
    errors = np.concatenate([np.linalg.norm(c.detected.keypoints - c.truth, axis=-1)[:, BODY] for c in found])
    return errors, np.concatenate([c.detected.scores[:, BODY] for c in found])


def test_jitter_grows_as_confidence_falls():
    errors, scores = errors_and_scores()
    sure, unsure = np.median(errors[scores > 0.85]), np.median(errors[scores < 0.4])
    assert unsure > 3 * sure
    assert sure < 2


def test_most_is_seen_well_and_some_badly():
    _, scores = errors_and_scores()
    assert (scores > 0.7).mean() > 0.6
    assert 0.01 < (scores < 0.4).mean() < 0.3


def test_a_hand_has_one_presence_and_gets_lost_as_a_whole():
    scores = np.concatenate([figure_clip(6, index, 30, 96, 64).detected.scores for index in range(10)])
    for hand in HANDS.values():
        lost = scores[:, hand] == 0
        assert (lost.all(axis=1) | ~lost.any(axis=1)).mean() > 0.95
        assert 0.02 < lost.all(axis=1).mean() < 0.5


def test_what_is_out_of_the_picture_is_doubted():
    truth = figure_clip(1, 1, 10, 96, 64).truth.copy()
    truth[:, LEFT_HAND] += 200
    truth[:, 9] += 200
    found = detect(np.random.default_rng(0), truth, 96, 64)
    assert found.scores[:, 9].max() < 0.3


def test_scores_and_points_are_fit_to_be_poses():
    for index in range(5):
        found = figure_clip(9, index, 20, 96, 64).detected
        assert ((found.scores >= 0) & (found.scores <= 1)).all()
        assert np.isfinite(found.keypoints).all()
