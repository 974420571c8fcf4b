"""Frames and poses put together as a network learns from them: guidance drawn, hands weighted."""

from __future__ import annotations

import numpy as np

from model.framing import LatentGrid
from model.guidance import canvas_short_side, draw_pose_sequence
from model.keypoints import RELIABLE, PoseSequence
from model.training.batches import TrainingClip
from model.training.hand_regions import hand_weights
from pipeline.training.settings import TrainingSettings


def training_clip(
    frames: np.ndarray, poses: PoseSequence, settings: TrainingSettings, grid: LatentGrid
) -> TrainingClip:
    """``frames`` (F, H, W, 3) uint8, the reference first, and their ``poses`` in the same pixels."""
    height, width = frames.shape[1:3]
    _, rows, columns = grid.shape(height, width)
    size = round(height * grid.guidance_scale), round(width * grid.guidance_scale)
    drawn = draw_pose_sequence(shown(poses, settings.confidence), *size, canvas_short_side(*size))
    weights = hand_weights(poses.keypoints, poses.scores, (height, width), (rows, columns), settings.hand_weight)
    return TrainingClip(frames, np.stack(list(drawn)), weights)


def shown(poses: PoseSequence, confidence: str) -> PoseSequence:
    """What guidance is drawn from: the poses, or with ``threshold`` all that scores above 0.3 as if it were certain."""
    if confidence == "luminance":
        return poses
    scores = (poses.scores > RELIABLE).astype(np.float32)
    return PoseSequence(poses.keypoints, scores, poses.boxes, poses.box_scores, poses.people, poses.width, poses.height)
