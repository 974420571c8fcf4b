"""What a run would do and cost, found out without doing it."""

from __future__ import annotations

from dataclasses import dataclass

from model.embedded import weights_of
from model.framing import LatentGrid, parse_resolution, picture_size
from model.images import read_image
from model.settings import DTYPES, parse_guidance
from model.weight_files import fetch_weights, read_config
from pipeline.inputs import local_copy
from pipeline.job import Plan, Request
from pipeline.pose_table import read_pose_table
from pipeline.poses import at_rate, is_pose_table
from pipeline.progress_line import Tally, shown
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
    # Not above: it takes two seconds of a core, in jobs that are no dry runs too.
    from model.pose_features import CAPACITY_BYTES

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

    weights, channels, grid = _network_size(request)
    precision = DTYPES[request.model.dtype]
    _, rows, columns = grid.shape(height, width)
    cells = rows * columns
    window = max(len(members) for plan in plans for members in plan.windows)
    memory = (
        weights * precision
        + _ACTIVATIONS * window * cells * channels * precision
        + min((frames + 1) * cells * channels * precision, CAPACITY_BYTES)  # pose features
    )
    windows = [len(plan.windows) for plan in plans]
    return Cost(frames, max(windows), sum(windows) * passes, memory)


def _network_size(request: Request) -> tuple[int, int, LatentGrid]:
    """Parameters of all networks, channels of the UNet's first feature map, and how pictures lie in latents."""
    files = fetch_weights(*weights_of(request.model.model, request.model.checkpoint))
    parameters = sum(path.stat().st_size for path in (files.checkpoint, files.vae, files.image_encoder)) // 2
    unet = read_config(files.unet_config)
    return parameters, unet["block_out_channels"][0], LatentGrid.of(read_config(files.vae_config), unet)


def _estimate(task: Task, request: Request) -> tuple[object, ...]:
    """What a table says of a row that is to be made."""
    try:
        found = cost(task, request)
    except ValueError as error:
        return "?", "?", "?", "?", f"quarantine: {error}"
    return found.frames, found.windows, found.unet_calls, f"{found.memory / 2**30:.2f} GiB", "make"


def describe(planned: Plan, request: Request) -> str:
    """A table of every row: what would be made at what cost, what is done, what cannot be and why."""
    rows: list[tuple[object, ...]] = []
    tally = Tally("rows estimated", len(planned.tasks))
    with shown(tally.line):
        # One after another: of each, a whole video may have to be fetched.
        for task in planned.tasks:
            rows.append((task.row.id, *_estimate(task, request)))
            tally.count()
    for row_id, record in planned.done.items():
        rows.append((row_id, record["output"]["frames"], record["windows"], 0, "", "skip, made already"))
    for entry in planned.failed:
        rows.append((entry.id or f"row {entry.line}", "", "", "", "", f"quarantine: {entry.message}"))
    return table(("id", "frames", "windows", "UNet calls", "memory", "would"), rows)
