"""The catalog: which person in which picture is to move like whom. Parquet, CSV or JSON lines, one row a video."""

from __future__ import annotations

import dataclasses
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from model.settings import AnimationSettings
from pipeline.catalog_file import CatalogError, RowError, is_text, read_rows, resolve
from pipeline.quarantine import Quarantined

__all__ = ["CatalogError", "CatalogRow", "RowError", "VideoSettings", "read_catalog"]

REQUIRED = ("id", "reference", "driving")
OVERRIDES = ("seed", "steps", "guidance", "fps", "resolution", "fusion", "person")

_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")


@dataclass(frozen=True)
class VideoSettings:
    """What is made of a row: how it is animated, and what the file looks like.

    ``fps`` of the video; ``layout`` ``result`` or ``side-by-side``; ``person`` of the driving video who is followed,
    from 1, the largest and longest in view first. Raises ``ValueError`` naming the setting.
    """

    animation: AnimationSettings
    fps: float = field(
        default=15.0, metadata={"help": "frames a second of the video; its length is the driving video's"}
    )
    layout: str = field(default="result", metadata={"help": "result, or side-by-side: reference | guidance | result"})
    person: int = field(
        default=1, metadata={"help": "who is followed in the driving video, the largest and longest in view first"}
    )

    def __post_init__(self) -> None:
        if not (isinstance(self.fps, (int, float)) and math.isfinite(self.fps) and 0.1 <= self.fps <= 240):
            raise ValueError(f"fps is {self.fps!r}, expected 0.1 to 240")
        if self.layout not in ("result", "side-by-side"):
            raise ValueError(f"layout is {self.layout!r}, expected result or side-by-side")
        if not (isinstance(self.person, int) and 1 <= self.person <= 100):
            raise ValueError(f"person is {self.person!r}, expected a whole number from 1")


@dataclass(frozen=True)
class CatalogRow:
    """One wanted video. ``line`` counts rows from 1; ``row`` is everything the catalog says, unknown columns too."""

    id: str
    line: int
    reference: str
    driving: str
    settings: VideoSettings
    row: Mapping[str, Any]


def read_catalog(uri: str, defaults: VideoSettings) -> tuple[list[CatalogRow], list[Quarantined]]:
    """The rows that can be made, and those that cannot, each with its reason.

    Relative paths in a row are relative to the catalog. Of rows with one id, the first counts. Raises
    ``CatalogError`` when the file cannot be read as a catalog: not there, no such format, a column missing, no rows.
    """
    rows, columns = read_rows(uri)
    missing = [name for name in REQUIRED if name not in columns]
    if missing:
        raise CatalogError(
            f"catalog {uri} has no column {', '.join(missing)}; it has {', '.join(columns) or 'none'}, "
            f"and needs {', '.join(REQUIRED)}"
        )

    made: list[CatalogRow] = []
    bad: list[Quarantined] = []
    seen: dict[str, int] = {}
    for line, row in enumerate(rows, start=1):
        try:
            if isinstance(row, RowError):
                raise row
            # A table of numbered rows means their numbers. One with a gap has them as 1.0, 2.0 and so on.
            number = row.get("id")
            if isinstance(number, float) and number.is_integer():
                number = int(number)
            if isinstance(number, int) and not isinstance(number, bool):
                row["id"] = str(number)
            # Where a row is kept, in a record or in the quarantine, its paths must still lead somewhere.
            row.update(
                (name, resolve(row[name].strip(), uri)) for name in ("reference", "driving") if is_text(row, name)
            )
            parsed = _row(row, line, defaults)
            # File systems that ignore case would let one video overwrite the other.
            first = seen.setdefault(parsed.id.lower(), line)
            if first != line:
                raise RowError(f"row {line}: id {parsed.id!r} is already used by row {first}; give each row its own")
            made.append(parsed)
        except RowError as error:
            raw: Mapping[str, Any] = {} if isinstance(row, RowError) else row
            bad.append(Quarantined.of(error, "catalog", str(raw.get("id") or ""), line, raw))
    return made, bad


def _row(row: Mapping[str, Any], line: int, defaults: VideoSettings) -> CatalogRow:
    for name in REQUIRED:
        if not is_text(row, name):
            raise RowError(f"row {line}: {name} is {row.get(name)!r}, expected text")
    row_id = row["id"].strip()
    if not _ID.fullmatch(row_id) or ".." in row_id:
        raise RowError(
            f"row {line}: id {row_id!r} cannot name a file; use letters, digits, '.', '_' and '-', "
            "beginning with a letter or digit, at most 128"
        )
    try:
        settings = _settings(row, defaults)
    except ValueError as error:
        raise RowError(f"row {line} ({row_id}): {error}") from error
    return CatalogRow(row_id, line, row["reference"], row["driving"], settings, row)


def _settings(row: Mapping[str, Any], defaults: VideoSettings) -> VideoSettings:
    animation: dict[str, Any] = {}
    video: dict[str, Any] = {}
    for name in OVERRIDES:
        value = row.get(name)
        if value is None or value == "":
            continue
        if isinstance(value, float) and math.isnan(value):
            raise ValueError(f"{name} is NaN; leave it empty for the default")
        if name in ("seed", "steps", "person"):
            target = video if name == "person" else animation
            target[name] = _whole(name, value)
        elif name == "fps":
            video["fps"] = _number(name, value)
        else:
            # A column of numbers reads 576.0 for 576 once one of its cells is empty.
            whole = isinstance(value, float) and value.is_integer()
            animation[name] = str(int(value)) if whole else str(value).strip()
    changed = defaults.animation.replace(**animation) if animation else defaults.animation
    return dataclasses.replace(defaults, animation=changed, **video)


def _number(name: str, value: Any) -> float:
    try:
        return float(value)
    except (TypeError, ValueError, OverflowError):
        raise ValueError(f"{name} is {value!r}, expected a number") from None


def _whole(name: str, value: Any) -> int:
    try:
        # Not through float: a seed may need all of its 63 bits.
        return int(value) if isinstance(value, (int, str)) and not isinstance(value, bool) else int(str(value), 10)
    except ValueError:
        number = _number(name, value)
    if not math.isfinite(number) or not number.is_integer():
        raise ValueError(f"{name} is {value!r}, expected a whole number")
    return int(number)
