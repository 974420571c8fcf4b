"""An inspection as files: the page, and beside it the contact sheets and overlay videos of a few videos."""

from __future__ import annotations

import io
import re
from collections.abc import Sequence
from typing import Any

import numpy as np
from PIL import Image

from pipeline.inspection import Inspection, inspect, is_called
from pipeline.inspection_page import Picture, page
from pipeline.pose_pictures import sheet, write_overlay
from pipeline.pose_reader import open_pose_file
from pipeline.pose_sources import PoseSource, posed_video
from pipeline.pose_table import PoseTableError
from pipeline.progress_line import Tally, shown
from pipeline.scratch import scratch
from pipeline.storage import Storage, StorageError

PAGE = "index.html"

# Of each: the least and the most sure.
_SHOWN = 2
_JPEG_QUALITY = 88


def write_report(source: PoseSource, output: str, wanted: Sequence[str], most_rows: int, overlays: bool) -> Inspection:
    """Look through the tables and write what was found into a folder, the page last.

    Shows the videos that are ``wanted``, else the least and the most sure. Raises ``ValueError`` when one that is
    wanted is not there, and ``StorageError``. A video that cannot be shown is named in ``Inspection.failed``.
    """
    tally = Tally("rows")
    with shown(tally.line):
        found = inspect(source, wanted, most_rows, tally.reach)
    chosen = _chosen(found, wanted)
    storage, pictures = Storage(output), []
    for number, row in enumerate(chosen, start=1):
        # A name of our own: the id is the table's, and may be anything.
        name = f"{number:02}-{re.sub(r'[^A-Za-z0-9]', '_', row['video_id'])[:16]}"
        try:
            pictures.append(_picture(source, row, storage, name, overlays))
        except StorageError:
            raise
        except PoseTableError as error:
            found.failed.append((row["uri"], str(error)))
        except Exception as error:  # the others and the page are worth having, whatever this one ran into
            found.failed.append((row["uri"], f"cannot be pictured ({type(error).__name__}: {error})"))
    where = source.folder if source.summed_up or len(source.files) > 1 else source.uri(source.files[0])
    storage.write(PAGE, page(where, found, pictures).encode(errors="replace"))
    return found


def _chosen(found: Inspection, wanted: Sequence[str]) -> list[dict[str, Any]]:
    for name in wanted:
        if not any(is_called(row, name) for row in found.chosen):
            raise ValueError(f"video {name!r} is not in these tables; give its id, the first letters of it, or its URI")
    shown = found.chosen if wanted else [*found.worst[:_SHOWN], *reversed(found.best[:_SHOWN])]
    return list({row["video_id"]: row for row in shown}.values())


def _picture(source: PoseSource, row: dict[str, Any], storage: Storage, name: str, overlays: bool) -> Picture:
    overlay = None
    with open_pose_file(source.uri(row["table"])) as file:
        video = posed_video(source, row, file)
        drawn, trouble = sheet(file, video, [f"{row['uri']}  ({row['video_id'][:12]})"])
        storage.write(f"{name}.png", _encoded(drawn, "PNG"))
        if overlays:
            overlay, tally = f"{name}.mp4", Tally(f"frames of {name}.mp4", len(video.pts_s))
            with scratch() as folder, shown(tally.line):
                write_overlay(file, video, folder / overlay, tally.count)
                storage.put(folder / overlay, overlay)
    return Picture(_encoded(drawn, "JPEG"), row["uri"], trouble, overlay)


def _encoded(picture: np.ndarray, kind: str) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, kind, quality=_JPEG_QUALITY)
    return buffer.getvalue()
