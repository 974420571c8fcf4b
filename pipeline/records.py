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

_OF_INPUT = "uri", "version", "sha256"
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
    return record if isinstance(record, dict) and record.get("schema") == SCHEMA and _is_whole(record) else None


def _is_whole(record: Mapping[str, Any]) -> bool:
    """Whether all is there that a later run asks of it."""
    output, inputs = record.get("output"), record.get("inputs")
    if not isinstance(output, dict) or not isinstance(inputs, dict) or not isinstance(record.get("windows"), int):
        return False
    made = isinstance(output.get("video"), str) and all(isinstance(output.get(of), int) for of in ("bytes", "frames"))
    facts = [entry.get(name) if isinstance(entry, dict) else None for entry in inputs.values() for name in _OF_INPUT]
    return made and all(isinstance(fact, str) for fact in facts)


def is_done(storage: Storage, record: Mapping[str, Any] | None, wanted: str) -> bool:
    """Whether the record is of this very request and its video is there, whole."""
    if record is None or record.get("fingerprint") != wanted:
        return False
    return storage.size(record["output"]["video"]) == record["output"]["bytes"]


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
