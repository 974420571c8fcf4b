from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.footage import astronaut_picture, dancer_clip
from pipeline.shots import CHANGED, ShotDetector, change, describe
from pipeline.video import read_frames
from tests.conftest import ffmpeg


@pytest.fixture(scope="module")
def dance_frames(tmp_path_factory: pytest.TempPathFactory) -> list[np.ndarray]:
    """Twenty seconds of fast dance at 4 frames a second."""
    path: Path = tmp_path_factory.mktemp("shots") / "dance.mp4"
    ffmpeg("-ss", "20", "-t", "20", "-i", dancer_clip(), "-vf", "scale=260:248,fps=4", "-an", path)
    with read_frames(path) as frames:
        return [frame.pixels for frame in frames]


@pytest.fixture(scope="module")
def elsewhere() -> np.ndarray:
    return np.asarray(cv2.cvtColor(cv2.imread(str(astronaut_picture())), cv2.COLOR_BGR2RGB))


def cuts(frames: list[np.ndarray]) -> list[int]:
    detector = ShotDetector()
    for frame in frames:
        detector.add(frame)
    return detector.finish()


def test_fast_dance_is_one_shot_even_in_an_extreme_close_up(dance_frames):
    assert len(dance_frames) == 80
    assert cuts(dance_frames) == []
    assert cuts([frame[75:165, 100:160] for frame in dance_frames]) == []


def test_a_new_place_begins_a_shot_at_its_first_frame_and_at_the_very_last_too(dance_frames, elsewhere):
    shown = [*dance_frames[:5], *[elsewhere] * 3, *dance_frames[5:9], elsewhere]
    assert cuts(shown) == [5, 8, 12]


def test_light_that_dims_flashes_or_goes_out_for_a_frame_is_no_cut(dance_frames):
    frames = dance_frames[:12]
    dimmed = [(frame * factor).astype(np.uint8) for frame, factor in zip(frames, np.linspace(1, 0.3, 12), strict=True)]
    assert cuts(dimmed) == []
    assert cuts([*frames[:4], (frames[4] * 0.4).astype(np.uint8), *frames[5:]]) == []
    assert cuts([*frames[:4], np.full_like(frames[4], 255), *frames[5:]]) == []
    assert cuts([*frames[:4], np.zeros_like(frames[4]), *frames[5:]]) == []


def test_a_shaking_camera_is_no_cut(dance_frames):
    random = np.random.default_rng(0)
    shaken = []
    for frame in dance_frames:
        y, x = random.integers(0, 24, 2)
        shaken.append(frame[y : y + 220, x : x + 230])
    assert cuts(shaken) == []


def test_repeated_frames_then_a_small_movement_are_no_cut(dance_frames):
    assert cuts([dance_frames[0]] * 20 + dance_frames[1:10]) == []


pictures = st.integers(0, 2**32 - 1).map(
    lambda seed: np.random.default_rng(seed).integers(0, 256, (30, 40, 3)).astype(np.uint8)
)


@given(pictures, pictures)
def test_change_is_a_share_is_the_same_both_ways_and_nothing_for_equals(first, second):
    before, after = describe(first), describe(second)
    np.testing.assert_allclose(before.sum(axis=1), 3, atol=1e-4)
    assert change(before, before) == 0
    assert 0 <= change(before, after) <= 1
    assert change(before, after) == change(after, before)


def test_what_has_no_colour_in_common_has_changed_altogether(elsewhere):
    red, blue = np.zeros((20, 20, 3), np.uint8), np.zeros((20, 20, 3), np.uint8)
    red[..., 0] = blue[..., 2] = 255
    assert change(describe(red), describe(blue)) == pytest.approx(2 / 3, abs=0.01)  # both lack green
    assert change(describe(red), describe(elsewhere)) > CHANGED
