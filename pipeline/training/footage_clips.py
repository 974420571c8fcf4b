"""Training clips of real footage: a table of clips, the poses beside it, and the videos wherever they are.

Nothing is copied: a clip's frames are decoded when it is wanted, and its poses read from the rows that hold them.
"""

from __future__ import annotations

import dataclasses
import logging
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from model.artifacts import join
from model.estimators.tracking import box_areas
from model.framing import CoverFit, LatentGrid
from model.keypoints import NUM_KEYPOINTS, PoseSequence
from model.mirroring import mirrored
from model.training.batches import TrainingClip
from pipeline.inputs import InputError, InputOutage, posed_video
from pipeline.pose_measures import quality
from pipeline.pose_reader import PoseRows, join_rows, open_pose_file
from pipeline.pose_table import PoseTableError, PoseTableOutage
from pipeline.training.footage_index import FootageIndex, Video, epoch_order, footage_index
from pipeline.training.guided_clip import training_clip
from pipeline.training.settings import TrainingSettings
from pipeline.video import read_frames
from pipeline.video_summaries import NAME as VIDEOS
from pipeline.video_summaries import OUTDATED, fits

log = logging.getLogger(__name__)

_TRIES = 20


@dataclass(frozen=True)
class FootageClips:
    """What makes clips. ``table`` is a clips.parquet, ``poses`` the folder that extract_poses wrote, as URIs.

    Clips come in another order every epoch, mirrored half of the time. A video belongs to the ``held_out`` ones by its
    contents, whatever else is in the table. To a VAE the frames of a clip follow each other: its decoder looks along
    time; else the first one is the clip's reference.
    """

    settings: TrainingSettings
    grid: LatentGrid
    table: str
    poses: str
    held_out: bool = False

    def __call__(self, index: int) -> TrainingClip:
        """Raises ``InputError`` when twenty clips in a row cannot be had, ``InputOutage`` or ``PoseTableOutage`` where
        their store does not answer, and ``PoseTableError`` for what is wrong with the tables of clips and videos.
        """
        # Before any clip: what is wrong with a table is wrong with all of them.
        clips = self._index
        epoch, place = divmod(index, len(clips))
        order = epoch_order(self.settings.seed, epoch, len(clips))
        failure = None
        for attempt in range(_TRIES):
            row, video = clips.clip(int(order[(place + attempt) % len(clips)]))
            try:
                return self._clip(row, video, np.random.default_rng([self.settings.seed, index, 79]))
            except (InputOutage, PoseTableOutage):
                # Another clip in its place would make what is learnt depend on the network.
                raise
            except ValueError as error:  # whatever is wrong with a file, its poses or its times is one
                failure = error
                log.warning("clip at frame %d of %s left out: %s", row["start"], row["uri"], error)
        raise InputError(f"{_TRIES} clips in a row cannot be used; the last one: {failure}")

    @property
    def _consecutive(self) -> int:
        """Frames of a clip that follow each other: all but the reference."""
        return self.settings.frames - (self.settings.objective == "denoising")

    @cached_property
    def _index(self) -> FootageIndex:
        return footage_index(self.table, self.poses, self._consecutive, self.held_out)

    def __getstate__(self) -> dict[str, Any]:
        # What was read here is read there: it would go with every task.
        return {name: value for name, value in vars(self).items() if name != "_index"}

    def _clip(self, row: dict[str, Any], video: Video | None, rng: np.random.Generator) -> TrainingClip:
        settings = self.settings
        alone = settings.objective == "autoencoding"
        first = row["start"] + int(rng.integers(row["frames"] - self._consecutive + 1))
        frames = [*([] if alone else [row["reference"]]), *range(first, first + self._consecutive)]
        if video is None:
            raise PoseTableError(f"{join(self.poses, VIDEOS)}: without video {row['video_id']}")
        self._check_times(row, video, frames)
        poses = self._poses_of(row, video, frames)
        fit, reference = _around(poses, settings.height, settings.width)
        shown = [0 if alone else reference, *range(1, settings.frames)]
        poses = poses[shown]
        pictures = self._pictures(row, video, [frames[place] for place in shown])
        fitted = np.stack([fit.image(picture, antialias=True) for picture in pictures])
        moved = poses.moved(
            lambda points: fit.points(points, poses.height, poses.width), settings.width, settings.height
        )
        if rng.random() < 0.5:
            fitted, moved = np.ascontiguousarray(fitted[:, :, ::-1]), mirrored(moved)
        return training_clip(fitted, moved, settings, self.grid)

    def _check_times(self, row: dict[str, Any], video: Video, frames: list[int]) -> None:
        """Raises ``PoseTableError`` unless the clip was selected among the frames that its video's row tells of."""
        times = video.pts_s
        if max(frames) >= len(times) or times[row["start"]] != row["start_s"]:
            raise PoseTableError(
                f"{row['uri']}: {self.table} was selected from poses of other frames; select the clips again"
            )

    def _poses_of(self, row: dict[str, Any], video: Video, frames: list[int]) -> PoseSequence:
        rows: PoseRows | None = None
        with open_pose_file(join(self.poses, video.table)) as file:
            # Tables are put in place before videos.parquet is, whose times are then those of other frames.
            if not fits(vars(video), file.fingerprints):
                raise PoseTableError(f"{row['uri']}: {OUTDATED.format(video.table)}, and select the clips again")
            for batch in file.video(row["video_id"]):
                piece = file.rows(batch)
                piece = piece[np.isin(piece.frame, frames) & (piece.person == row["person_id"])]
                rows = piece if rows is None else join_rows(rows, piece)
        if rows is None or set(rows.frame.tolist()) != set(frames):
            raise PoseTableError(f"{row['uri']}: its poses are no longer those that the clip was selected from")
        at = {frame: place for place, frame in enumerate(rows.frame.tolist())}
        index = np.array([at[frame] for frame in frames])
        count = len(frames)
        return PoseSequence(
            rows.keypoints[index].reshape(count, NUM_KEYPOINTS, 2),
            rows.scores[index],
            rows.boxes[index],
            np.ones(count, np.float32),
            np.ones(count, np.int32),
            rows.width,
            rows.height,
        )

    def _pictures(self, row: dict[str, Any], video: Video, frames: list[int]) -> list[np.ndarray]:
        """The pictures of these frames, of the very file that the poses were found in."""
        wanted = sorted(set(frames))
        times = video.pts_s[wanted].tolist()
        with posed_video(row["uri"], row["video_id"]) as path, read_frames(path, at_s=times) as reader:
            found = {frame: picture.pixels for frame, picture in zip(wanted, reader, strict=False)}
        if len(found) < len(wanted):
            raise InputError(f"{row['uri']}: ends before frame {wanted[len(found)]}")
        return [found[frame] for frame in frames]


def _around(poses: PoseSequence, height: int, width: int) -> tuple[CoverFit, int]:
    """The picture scaled to cover ``height`` x ``width``, cropped where the person is, and which frame comes first.

    That is the reference, frame 0, unless the person is too far away in it for one crop to hold it with the others:
    then the one which shows most of the person, and of those alike the surest. A reference without the person would
    teach the network to make up looks, or to take poses for an empty room.
    """
    fit = CoverFit.of(poses.height, poses.width, height, width)
    boxes = fit.points(poses.boxes.reshape(-1, 2, 2), poses.height, poses.width) + np.array([fit.left, fit.top])
    crop = np.array([width, height])
    own = boxes
    if len(boxes) > 1 and bool((np.ptp(boxes.reshape(-1, 2), axis=0) > crop).any()):
        own = boxes[1:]
    corners = own.reshape(-1, 2)
    x, y = 0.5 * (corners.min(axis=0) + corners.max(axis=0))
    left = int(np.clip(round(float(x) - width / 2), 0, fit.scaled_width - width))
    top = int(np.clip(round(float(y) - height / 2), 0, fit.scaled_height - height))
    fit = dataclasses.replace(fit, left=left, top=top)
    if own is boxes:
        return fit, 0
    inside = np.clip(boxes, [left, top], [left + width, top + height])
    share = box_areas(inside.reshape(-1, 4)) / np.maximum(box_areas(boxes.reshape(-1, 4)), 1.0)
    sure = quality(poses.scores)
    return fit, max(range(len(poses)), key=lambda frame: (share[frame], frame == 0, sure[frame]))
