"""What a run needs to go on: the state after some step, and the metrics of the steps up to it. Both or neither."""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from model.artifacts import is_local
from pipeline.scratch import scratch
from pipeline.storage import Storage

log = logging.getLogger(__name__)

_POINTER = "state/latest.json"
_KEPT = 2


class RunStateError(ValueError):
    """A state that cannot be gone on from."""


def save_state(storage: Storage, step: int, state: dict[str, Any], metrics: list[dict[str, Any]]) -> None:
    """Publish the state after ``step`` steps and the metrics of those since the last one.

    The pointer is written last, in one step: killed before that, the run goes on from the state before, and writes
    these files again.
    """
    if metrics:
        lines = "".join(json.dumps(row) + "\n" for row in metrics)
        storage.write(f"metrics/{metrics[0]['step']:07}-{step:07}.jsonl", lines.encode())
    buffer = io.BytesIO()
    torch.save(state, buffer)
    storage.write(_name(step), buffer.getvalue())
    storage.write(_POINTER, json.dumps({"step": step, "fingerprint": state["fingerprint"]}).encode())
    states = sorted(name for name in storage.sizes("state") if name.endswith(".pt"))
    # What is numbered above was left by a kill before the pointer, and is no state of this run any more.
    kept = [name for name in states if name <= _name(step)][-_KEPT:]
    for name in states:
        if name not in kept:
            storage.remove(name)


def load_state(storage: Storage, fingerprint: str) -> dict[str, Any] | None:
    """The last state, ``None`` when there is none yet. Its tensors lie in a file until they are used.

    One that is damaged gives way to the one before it. Raises ``RunStateError`` when it is of another recipe, or none
    can be read.
    """
    latest = _latest(storage)
    if latest is None:
        return None
    # Before gigabytes are fetched. Earlier versions named the step alone.
    _check(storage, latest.get("fingerprint", fingerprint), fingerprint)
    last = _name(latest["step"])
    before = sorted(name for name in storage.sizes("state") if name.endswith(".pt") and name < last)
    state = _first_whole(storage, [last, *reversed(before)])
    _check(storage, state["fingerprint"], fingerprint)
    return state


def _first_whole(storage: Storage, names: Sequence[str]) -> dict[str, Any]:
    name, *others = names
    try:
        return _load(storage, name)
    except RunStateError as error:
        if not others:
            raise RunStateError(f"{error}; remove {storage.path('state')} to begin anew") from error
        log.warning("%s: going on from %s", error, others[0])
    return _first_whole(storage, others)


def _latest(storage: Storage) -> dict[str, Any] | None:
    pointer = storage.read(_POINTER)
    if pointer is None:
        return None
    try:
        latest = json.loads(pointer)
        if isinstance(latest["step"], int):
            return dict(latest)
    except (ValueError, KeyError, TypeError):
        pass
    raise RunStateError(
        f"{storage.path(_POINTER)}: does not say which state is the last, {pointer[:40]!r}; write "
        f'{{"step": N}} into it for {storage.path("state")}/N.pt, or remove that folder to begin anew'
    )


def _load(storage: Storage, name: str) -> dict[str, Any]:
    with _local(storage, name) as path:
        try:
            # Read into memory, each worker would hold it beside networks, moments and averages.
            state = torch.load(path, map_location="cpu", mmap=True, weights_only=True)
        except Exception as error:  # a broken file makes PyTorch's reader raise whatever it runs into
            reason = str(error).partition("\n")[0]
            raise RunStateError(f"{storage.path(name)}: cannot be read ({type(error).__name__}: {reason})") from error
    return dict(state)


def _check(storage: Storage, found: str, fingerprint: str) -> None:
    if found != fingerprint:
        raise RunStateError(
            f"{storage.uri} holds a run with other settings, data or starting weights, other paths to them, or another "
            "number of workers; give another output, or what it was begun with"
        )


@contextmanager
def _local(storage: Storage, name: str) -> Iterator[Path]:
    """A state where it lies, or fetched; what is mapped of it stays there when the block ends and the file goes."""
    if not storage.exists(name):
        raise RunStateError(f"{storage.path(name)}: is gone, though {_POINTER} names it")
    if is_local(storage.uri):
        yield Path(storage.path(name))
        return
    with scratch() as folder:
        target = folder / "state.pt"
        storage.get(name, target)
        yield target


def read_metrics(storage: Storage) -> list[dict[str, Any]]:
    """The metrics of all steps that the last state has behind it, in order."""
    latest = _latest(storage)
    if latest is None:
        return []
    last = latest["step"]
    rows: dict[int, dict[str, Any]] = {}
    for name in sorted(storage.sizes("metrics")):
        for line in (storage.read(name) or b"").splitlines():
            row = json.loads(line)
            if row["step"] < last:
                rows[row["step"]] = row
    return [rows[step] for step in sorted(rows)]


def _name(step: int) -> str:
    return f"state/{step:07}.pt"
