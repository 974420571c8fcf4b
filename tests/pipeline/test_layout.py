import numpy as np
import pytest

from pipeline.layout import side_by_side


def plain(height: int, width: int, level: int) -> np.ndarray:
    return np.full((height, width, 3), level, np.uint8)


def test_panels_keep_their_order_and_proportions_with_white_between():
    row = side_by_side([plain(64, 32, 10), plain(128, 128, 90), plain(32, 32, 170)], 64)

    assert row.shape == (64, 32 + 1 + 64 + 1 + 64, 3)
    assert row.dtype == np.uint8
    assert set(np.unique(row[:, :32])) == {10}
    assert set(np.unique(row[:, 32])) == {255}
    assert set(np.unique(row[:, 33:97])) == {90}
    assert set(np.unique(row[:, 98:])) == {170}


def test_the_gap_grows_with_the_height():
    assert side_by_side([plain(640, 10, 0)] * 2, 640).shape == (640, 30, 3)


def test_a_panel_of_the_right_height_is_not_resampled():
    noise = np.random.default_rng(0).integers(0, 256, (48, 33, 3), dtype=np.uint8)

    np.testing.assert_array_equal(side_by_side([noise, noise], 48)[:, :33], noise)


def test_one_panel_has_no_gap():
    assert side_by_side([plain(20, 10, 5)], 40).shape == (40, 20, 3)


@pytest.mark.parametrize(
    ("panels", "height"),
    [
        ([], 10),
        ([plain(4, 4, 0)], 0),
        ([plain(4, 4, 0), np.zeros((4, 4), np.uint8)], 10),
        ([plain(4, 4, 0), np.zeros((4, 4, 3))], 10),
    ],
)
def test_what_cannot_be_laid_out_is_refused(panels, height):
    with pytest.raises(ValueError, match=r"give at least one panel|panel 1 is"):
        side_by_side(panels, height)
