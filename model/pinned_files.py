"""Files out of published packages, by pinned digest: how they are fetched, checked and put in place."""

from __future__ import annotations

import os
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path

FETCH_TIMEOUT_S = 900  # a package of 60 MB over a 1 Mbit/s line


def check_sha256(what: str, actual: str, expected: str) -> None:
    """Raises ``ValueError`` naming ``what`` unless the two digests agree."""
    if actual != expected:
        raise ValueError(f"{what} has SHA-256 {actual}, expected {expected}")


def place(path: Path, data: bytes) -> None:
    """Write a file whole or not at all; of processes that race, each leaves the same whole file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor, partial = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
        os.chmod(partial, 0o644)  # mkstemp makes it 0600, which a shared cache's other users cannot read
        os.replace(partial, path)
    except BaseException:
        os.unlink(partial)
        raise


def fetch_with(command: Sequence[str], folder: Path) -> None:
    """Run a package client in ``folder``.

    Raises ``RuntimeError`` with the command and the end of what it said when it cannot start, fails or hangs.
    """
    shown = " ".join(command)
    try:
        done = subprocess.run(
            command, cwd=folder, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=FETCH_TIMEOUT_S
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise RuntimeError(f"`{shown}` failed: {error}") from error
    if done.returncode:
        said = (done.stderr or done.stdout).strip()[-1000:]
        raise RuntimeError(f"`{shown}` ended with status {done.returncode}: {said}")
