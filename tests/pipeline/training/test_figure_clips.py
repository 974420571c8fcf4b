import dataclasses

import numpy as np
import pytest

from model.framing import LatentGrid
from model.keypoints import RELIABLE, PoseSequence
from pipeline.figures.clip import figure_clip
from pipeline.figures.motion import generated_motion
from pipeline.training.figure_clips import FigureClips
from pipeline.training.guided_clip import shown, training_clip
from pipeline.training.settings import TrainingSettings

GRID = LatentGrid(8, 4, 16)
SETTINGS = TrainingSettings(frames=5, width=64, height=96, batch=2, steps=4, start="scratch")


def test_any_index_gives_a_clip_the_same_every_time():
    first, again, other = FigureClips(SETTINGS, GRID)(3), FigureClips(SETTINGS, GRID)(3), FigureClips(SETTINGS, GRID)(4)
    assert first.frames.shape == (5, 96, 64, 3)
    assert first.guidance.shape == (5, 192, 128, 3)
    assert first.weights.shape == (5, 24, 16)
    np.testing.assert_array_equal(first.frames, again.frames)
    np.testing.assert_array_equal(first.guidance, again.guidance)
    assert (first.frames != other.frames).any()


def test_held_out_clips_are_others():
    learnt = FigureClips(SETTINGS, GRID)
    held_out = dataclasses.replace(learnt, held_out=True)
    assert (learnt(0).frames != held_out(0).frames).any()


def test_real_motion_drives_some_of_them(tmp_path):
    path = tmp_path / "motion.npy"
    np.save(path, generated_motion(np.random.default_rng(9), 60))
    driven = FigureClips(SETTINGS, GRID, (str(path),))
    plain = FigureClips(SETTINGS, GRID)
    different = [bool((driven(index).guidance != plain(index).guidance).any()) for index in range(12)]
    assert sum(different) > 0


def test_a_vae_learns_from_squares_first_and_whole_pictures_then():
    settings = dataclasses.replace(SETTINGS, objective="autoencoding", learn=("vae",), crop=32, crop_share=0.5)
    make = FigureClips(settings, GRID)
    assert make(0).frames.shape == (5, 32, 32, 3)
    assert make(3).frames.shape == (5, 32, 32, 3)
    assert make(4).frames.shape == (5, 96, 64, 3)
    assert dataclasses.replace(make, held_out=True)(0).frames.shape == (5, 96, 64, 3)


def test_clips_of_one_step_have_one_size_wherever_the_squares_end():
    settings = dataclasses.replace(
        SETTINGS, objective="autoencoding", learn=("vae",), batch=3, steps=3, crop=32, crop_share=0.5
    )
    make = FigureClips(settings, GRID)
    sides = [make(index).frames.shape[1] for index in range(9)]
    assert sides == [32] * 6 + [96] * 3


def test_hands_weigh_ten_and_the_ablation_one():
    clip = next(
        made
        for made in (figure_clip(0, index, 4, 96, 64) for index in range(20))
        if training_clip(made.frames, made.detected, SETTINGS, GRID).weights.max() == 10
    )
    plain = dataclasses.replace(SETTINGS, hand_weight=1.0)
    assert training_clip(clip.frames, clip.detected, plain, GRID).weights.max() == 1


def test_without_confidence_what_is_sure_enough_is_drawn_in_full():
    poses = figure_clip(0, 1, 4, 96, 64).detected
    certain = shown(poses, "threshold")
    assert set(np.unique(certain.scores)) <= {0.0, 1.0}
    np.testing.assert_array_equal(certain.scores == 1, poses.scores > RELIABLE)
    assert isinstance(shown(poses, "luminance"), PoseSequence)
    faint = training_clip(np.zeros((4, 96, 64, 3), np.uint8), poses, SETTINGS, GRID).guidance
    without = dataclasses.replace(SETTINGS, confidence="threshold")
    full = training_clip(np.zeros((4, 96, 64, 3), np.uint8), poses, without, GRID).guidance
    assert full.max(axis=-1).mean() > faint.max(axis=-1).mean()


@pytest.mark.parametrize("frames", [2, 9])
def test_clips_have_the_length_that_is_asked_for(frames):
    assert len(FigureClips(dataclasses.replace(SETTINGS, frames=frames), GRID)(0).frames) == frames
