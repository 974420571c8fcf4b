"""What a run would do and cost, found out without doing it."""

from __future__ import annotations

from dataclasses import dataclass

from model.embedded_config import EMBEDDED, PARAMETERS, UNET
from model.framing import LATENT_FACTOR, NETWORK_MULTIPLE, parse_resolution, picture_size
from model.images import read_image
from model.pose_features import CAPACITY_BYTES
from model.settings import DTYPES, parse_guidance
from model.weight_files import fetch_weights, read_config
from pipeline.inputs import local_copy
from pipeline.job import Plan, Request
from pipeline.pose_table import read_pose_table
from pipeline.poses import at_rate, is_pose_table
from pipeline.report import table
from pipeline.tasks import Task
from pipeline.video import probe_video

# Activations of one pass over a window, in copies of the UNet's widest feature map. Set so that the released model at
# 576x1024 with 72 frames in float16 comes to the 16 GB that its authors state.
_ACTIVATIONS = 26


@dataclass(frozen=True)
class Cost:
    """One row's work: driving frames, windows, UNet calls, and an estimate of one worker's memory in bytes."""

    frames: int
    windows: int
    unet_calls: int
    memory: int


def cost(task: Task, request: Request) -> Cost:
    """Raises what reading the row's inputs raises."""
    settings = task.row.settings
    animation = settings.animation
    with local_copy(task.driving.uri) as path:
        if is_pose_table(task.driving.uri):
            frames = len(at_rate(read_pose_table(path), settings.fps).people)
        else:
            frames = max(1, round(probe_video(path).duration_s * settings.fps))
    with local_copy(task.reference.uri) as path:
        height, width = picture_size(parse_resolution(animation.resolution), *read_image(path).shape[:2])
    plans = animation.plans(frames)
    passes = 2 if max(parse_guidance(animation.guidance)) > 1 else 1

    weights, channels = _network_size(request)
    precision = DTYPES[request.model.dtype].itemsize
    cells = (-(-height // NETWORK_MULTIPLE) * -(-width // NETWORK_MULTIPLE)) * (NETWORK_MULTIPLE // LATENT_FACTOR) ** 2
    window = max(len(members) for plan in plans for members in plan.windows)
    memory = (
        weights * precision
        + _ACTIVATIONS * window * cells * channels * precision
        + min((frames + 1) * cells * channels * precision, CAPACITY_BYTES)  # pose features
    )
    windows = [len(plan.windows) for plan in plans]
    return Cost(frames, max(windows), sum(windows) * passes, memory)


def _network_size(request: Request) -> tuple[int, int]:
    """Parameters of all networks, and channels of the UNet's first feature map."""
    if request.model.model == EMBEDDED:
        return PARAMETERS, UNET["block_out_channels"][0]
    assert request.model.checkpoint is not None  # the plan has been made with it
    files = fetch_weights(request.model.model, request.model.checkpoint)
    parameters = sum(path.stat().st_size for path in (files.checkpoint, files.vae, files.image_encoder)) // 2
    return parameters, read_config(files.unet_config)["block_out_channels"][0]


def describe(planned: Plan, request: Request) -> str:
    """A table of every row: what would be made at what cost, what is done, what cannot be and why."""
    rows: list[tuple[object, ...]] = []
    for task in planned.tasks:
        try:
            row = cost(task, request)
            memory = f"{row.memory / 2**30:.2f} GiB"
            shown: tuple[object, ...] = (row.frames, row.windows, row.unet_calls, memory, "make")
        except ValueError as error:
            shown = ("?", "?", "?", "?", f"quarantine: {error}")
        rows.append((task.row.id, *shown))
    for row_id, record in planned.done.items():
        rows.append((row_id, record["output"]["frames"], record["windows"], 0, "", "skip, made already"))
    for entry in planned.failed:
        rows.append((entry.id or f"row {entry.line}", "", "", "", "", f"quarantine: {entry.message}"))
    return table(("id", "frames", "windows", "UNet calls", "memory", "would"), rows)
