"""What killed processes leave on a disk does not stay there."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from pipeline import scratch as module
from pipeline.scratch import scratch

HOLD = """
import sys, time
from pipeline.scratch import scratch
with scratch() as folder:
    (folder / "copy.mp4").write_bytes(b"gigabytes")
    print(folder, flush=True)
    time.sleep(60)
"""


@pytest.fixture(autouse=True)
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr(tempfile, "tempdir", None)
    module._sweep.cache_clear()
    yield tmp_path
    module._sweep.cache_clear()


def held() -> tuple[subprocess.Popen[str], Path]:
    process = subprocess.Popen([sys.executable, "-c", HOLD], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    return process, Path(process.stdout.readline().strip())


def test_what_a_killed_process_left_is_removed_and_what_others_hold_is_not(monkeypatch):
    dead, left = held()
    alive, kept = held()
    dead.send_signal(signal.SIGKILL)
    dead.wait()
    with scratch() as folder:
        # It may be about to be locked.
        assert left.is_dir()
        assert folder.parent == left.parent
    module._sweep.cache_clear()
    for old in (left, kept):
        os.utime(old, (0, 0))
    with scratch():
        assert not left.exists()
        assert (kept / "copy.mp4").is_file()
    alive.kill()
    alive.wait()


def test_it_goes_when_the_block_ends_and_is_nobody_elses(temporary):
    with scratch() as folder:
        (folder / "file").write_text("")
        assert temporary in folder.parents
        assert folder.parent.stat().st_mode & 0o077 == 0
    assert not folder.exists()


def test_a_folder_of_its_name_that_leads_elsewhere_is_not_used(temporary):
    (temporary / "elsewhere").mkdir()
    (temporary / f"mimicmotion-scratch-{os.getuid()}").symlink_to(temporary / "elsewhere")
    with scratch() as folder:
        assert folder.parent == temporary
