"""Footage becomes motion that figures can be driven with, cut where learning and measuring part."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from jobs import figure_motions
from jobs.arguments import OK
from model.keypoints import NUM_KEYPOINTS
from tests.conftest import ffmpeg


@pytest.mark.usefixtures("local_ray")
def test_a_dance_is_parted_and_everything_else_held_out(tmp_path, dance, monkeypatch):
    other = tmp_path / "cam01.mp4"
    ffmpeg("-i", dance, "-t", "0.4", "-an", other)
    # A cache may be named from the folder one is in, and an earlier one be gone.
    monkeypatch.chdir(dance.parent)
    monkeypatch.setattr(figure_motions, "dancer_clip", lambda: Path(dance.name))
    (tmp_path / "motions" / "videos").mkdir(parents=True)
    (tmp_path / "motions" / "videos" / "cam01.mp4").symlink_to(tmp_path / "gone.mp4")
    monkeypatch.setattr(figure_motions, "balancer_clips", lambda: [other])
    monkeypatch.setattr(figure_motions, "LEARNT_FROM", 15)
    monkeypatch.setattr(figure_motions, "_GAP", 6)

    assert figure_motions.main([str(tmp_path / "motions")]) == OK

    motions = {
        str(file.relative_to(tmp_path / "motions")): np.load(file) for file in (tmp_path / "motions").glob("*/*.npy")
    }
    assert {name: len(motion) for name, motion in motions.items()} == {
        "train/dance-0.npy": 4, "train/dance-1.npy": 3, "train/dance-2.npy": 3,
        "held-out/dance.npy": 3, "held-out/cam01.npy": 5,
    }  # fmt: skip
    for motion in motions.values():
        assert motion.shape[1:] == (NUM_KEYPOINTS, 2)
        assert np.isfinite(motion).all()
