"""What was made, from what, with what: one JSON file a video, written last. A row is done when its record says so."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from pipeline.catalog import VideoSettings
from pipeline.storage import Storage

SCHEMA = 1
"""Raise it when the same request would give another result: every row is then made anew."""


STATE = "state"
"""The folder of what is half done, in the output."""


def record_name(row_id: str) -> str:
    return f"records/{row_id}.json"


def video_name(row_id: str) -> str:
    return f"videos/{row_id}.mp4"


def settings_dict(settings: VideoSettings) -> dict[str, Any]:
    """All that a person chose, flat."""
    flat = asdict(settings)
    return {**flat.pop("animation"), **flat}


def fingerprint(
    reference_sha256: str, driving_sha256: str, settings: VideoSettings, weights: str, estimator: str, dtype: str
) -> str:
    """A hash of everything that decides the result: contents of the inputs, settings, weights, precision, schema."""
    facts = {
        "schema": SCHEMA,
        "reference": reference_sha256,
        "driving": driving_sha256,
        "settings": settings_dict(settings),
        "weights": weights,
        "estimator": estimator,
        "dtype": dtype,
    }
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()


def read_record(storage: Storage, row_id: str) -> dict[str, Any] | None:
    """A row's record, ``None`` when there is none or it cannot be read (then the row is made again)."""
    contents = storage.read(record_name(row_id))
    if contents is None:
        return None
    try:
        record = json.loads(contents)
    except (UnicodeDecodeError, json.JSONDecodeError):
        return None
    return record if isinstance(record, dict) and record.get("schema") == SCHEMA else None


def is_done(storage: Storage, record: Mapping[str, Any] | None, wanted: str) -> bool:
    """Whether the record is of this very request and its video is there, whole."""
    if record is None or record.get("fingerprint") != wanted:
        return False
    output = record.get("output", {})
    return bool(output) and storage.size(output["video"]) == output["bytes"]


def write_record(storage: Storage, row_id: str, record: Mapping[str, Any]) -> None:
    storage.write(record_name(row_id), json.dumps({"schema": SCHEMA, **record}, indent=2, default=str).encode())


def known_digests(records: Mapping[str, Mapping[str, Any] | None]) -> dict[tuple[str, str], str]:
    """(uri, version) to digest of every input that a record has seen: unchanged files need not be read again."""
    return {
        (entry["uri"], entry["version"]): entry["sha256"]
        for record in records.values()
        if record is not None
        for entry in record.get("inputs", {}).values()
    }
