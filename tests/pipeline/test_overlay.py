import numpy as np

from model.keypoints import NUM_KEYPOINTS
from pipeline.overlay import draw_overlay, shrunk


def arms(left: float, right: float) -> tuple[np.ndarray, np.ndarray]:
    """Somebody whose left and right upper arm, at the right and the left of a 200x100 picture, are so sure."""
    keypoints, scores = np.zeros((1, NUM_KEYPOINTS, 2)), np.zeros((1, NUM_KEYPOINTS), np.float32)
    keypoints[0, [5, 7]] = [(120, 50), (180, 50)]
    keypoints[0, [6, 8]] = [(80, 50), (20, 50)]
    scores[0, [5, 7]], scores[0, [6, 8]] = left, right
    return keypoints, scores


def at(image: np.ndarray, x: float, y: float) -> np.ndarray:
    height, width = image.shape[:2]
    row, column = round(y * height), round(x * width)
    return image[row - 3 : row + 4, column - 3 : column + 4].reshape(-1, 3).max(axis=0)


def test_what_is_surer_is_brighter_and_left_and_right_have_colours_of_their_own():
    sure = draw_overlay(None, *arms(0.9, 0.9), (200, 100), 300)
    assert sure.shape == (300, 600, 3)
    left, right = at(sure, 0.75, 0.5), at(sure, 0.25, 0.5)
    assert left.max() > 80
    assert left[1] > left[2], "green"
    assert right[2] > right[1], "blue"
    unsure = draw_overlay(None, *arms(0.9, 0.5), (200, 100), 300)
    assert (at(unsure, 0.75, 0.5) == left).all()
    assert 0 < at(unsure, 0.25, 0.5).max() < 0.5 * right.max()


def test_the_picture_lies_below_in_dark_grey():
    picture = np.zeros((50, 100, 3), np.uint8)
    picture[:, 50:] = (255, 0, 0)
    over = draw_overlay(picture, *arms(0.9, 0.0), (200, 100), 300)
    assert (over[:100, :290] == 0).all()
    assert (over[:100, 310:] == int(255 * 0.299 * 0.5)).all()
    assert at(over, 0.75, 0.5).max() > 80


def test_nobody_is_the_picture_alone():
    nobody = np.zeros((0, NUM_KEYPOINTS, 2)), np.zeros((0, NUM_KEYPOINTS))
    assert not draw_overlay(None, *nobody, (200, 100), 60).any()


def test_pictures_are_made_smaller_and_never_larger():
    assert shrunk(np.zeros((400, 200, 3), np.uint8), 100).shape == (100, 50, 3)
    assert shrunk(np.zeros((40, 20, 3), np.uint8), 100).shape == (40, 20, 3)


def test_a_picture_as_narrow_as_a_thread_stays_one():
    assert shrunk(np.zeros((4000, 4, 3), np.uint8), 400).shape == (400, 1, 3)


def test_a_picture_as_flat_as_a_thread_takes_no_gigabytes(monkeypatch):
    drawn = []

    def draw(people, height, width):
        drawn.append((height, width))
        return np.zeros((height, width, 3), np.uint8)

    monkeypatch.setattr("pipeline.overlay.draw_guidance", draw)
    nobody = np.zeros((0, NUM_KEYPOINTS, 2)), np.zeros((0, NUM_KEYPOINTS))
    assert draw_overlay(None, *nobody, (8000, 4), 4).shape == (4, 8000, 3)
    draw_overlay(None, *nobody, (711, 400), 400)
    assert drawn == [(4, 8000), (1200, 2133)]
