"""The engine of a worker, whichever of its threads calls it."""

import ctypes
import threading
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from model.framing import LatentGrid
from model.messages import Assembly
from model.segments import SegmentEngine

GRID = LatentGrid(4, 8, 16)


@pytest.fixture
def openmp():
    found = sorted((Path(torch.__file__).parent / "lib").glob("libgomp*.so*"))
    if not found:
        pytest.skip("this PyTorch brings no OpenMP of its own")
    library = ctypes.CDLL(str(found[0]))
    before = torch.get_num_threads()
    yield library
    torch.set_num_threads(before)


def test_every_thread_that_calls_it_computes_with_as_many(openmp):
    torch.set_num_threads(3)
    networks = SimpleNamespace(pose_net=None, device=torch.device("cpu"), dtype=torch.float32, grid=GRID)
    engine = SegmentEngine(SimpleNamespace(networks=networks))  # type: ignore[arg-type]
    engine._staged["video"] = SimpleNamespace(dtype=torch.float32)  # type: ignore[assignment]
    found = []

    def call() -> None:
        openmp.omp_set_num_threads(1)
        engine.assemble("video", Assembly(0, (0,), ()), (), np.zeros((4, 2, 2), np.float32))
        found.append(openmp.omp_get_max_threads())

    thread = threading.Thread(target=call)
    thread.start()
    thread.join()
    assert found == [3]
