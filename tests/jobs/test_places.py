"""The same job elsewhere: with object storage, and submitted to a cluster."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pandas as pd
import pytest

from model.estimators.holistic_weights import holistic_weights
from tests.jobs.conftest import s3_client
from tests.jobs.test_animate_catalog import SMALL
from tests.jobs.toy_estimator import make_toy_dwpose
from tests.processes import kill_with_descendants

ROOT = Path(__file__).parents[2]
SCRIPTS = Path(sys.executable).parent
HEADER = "id,reference,driving\n"


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


@pytest.mark.soak
def test_catalog_inputs_weights_and_output_in_s3(s3, dance, dancer_picture, tmp_path):
    client = s3_client(s3)
    client.upload_file(str(dance), "data", "in/dance.mp4")
    client.upload_file(str(dancer_picture), "data", "in/one.png")
    catalog = (
        HEADER + "one,one.png,dance.mp4\ntwo,s3://data/in/one.png,s3://data/in/dance.mp4\ngone,none.png,dance.mp4\n"
    )
    client.put_object(Bucket="data", Key="in/catalog.csv", Body=catalog.encode())
    golden = ROOT / "tests" / "golden" / "mimicmotion-tiny"
    for path in [*(golden / "base").rglob("*"), golden / "MimicMotion_tiny.pth"]:
        if path.is_file():
            client.upload_file(str(path), "data", f"weights/{path.relative_to(golden)}")

    def run() -> subprocess.CompletedProcess[str]:
        command = [
            sys.executable, "jobs/animate_catalog.py", "--catalog", "s3://data/in/catalog.csv",
            "--output", "s3://data/out", "--model", "s3://data/weights/base",
            "--checkpoint", "s3://data/weights/MimicMotion_tiny.pth", *SMALL,
        ]  # fmt: skip
        # A cache of this test's own: the network's weights come from the server. The pose weights are the usual ones.
        poses = ["--pose-weights", str(holistic_weights())]
        environment = {**os.environ, **s3, "MIMICMOTION_CACHE": str(tmp_path / "cache"), "PYTHONPATH": str(ROOT)}
        # A Ray of its own, whatever cluster runs on this machine.
        environment["RAY_ADDRESS"] = "local"
        return subprocess.run([*command, *poses], cwd=ROOT, env=environment, capture_output=True, text=True)

    first = run()
    assert first.returncode == 3, first.stderr[-3000:]
    assert "2 made, 0 kept, 1 quarantined, in s3://data/out" in first.stdout
    keys = {entry["Key"] for entry in client.list_objects_v2(Bucket="data", Prefix="out/")["Contents"]}
    assert {key for key in keys if not key.startswith("out/poses/")} == {
        "out/videos/one.mp4", "out/videos/two.mp4", "out/records/one.json", "out/records/two.json",
        "out/manifest.parquet", "out/quarantine.parquet",
    }  # fmt: skip
    record = json.loads(client.get_object(Bucket="data", Key="out/records/one.json")["Body"].read())
    assert record["inputs"]["driving"]["uri"] == "s3://data/in/dance.mp4"
    assert record["output"]["frames"] == 5

    second = run()
    assert second.returncode == 3, second.stderr[-3000:]
    assert "0 made, 2 kept, 1 quarantined" in second.stdout


@contextlib.contextmanager
def cluster(home: Path) -> Iterator[tuple[str, dict[str, str]]]:
    """A Ray head of its own, as an operator starts it, with token authentication: its job address, the environment."""
    port, dashboard = free_port(), free_port()
    environment = {**os.environ, "HOME": str(home), "RAY_AUTH_MODE": "token", "RAY_TMPDIR": str(home)}
    environment.pop("RAY_ADDRESS", None)
    # As in an activated virtual environment: a job's `python` is the cluster's.
    environment["PATH"] = f"{SCRIPTS}{os.pathsep}{environment['PATH']}"
    # The cache is the user's own, wherever HOME leads now.
    environment.setdefault("MIMICMOTION_CACHE", str(Path.home() / ".cache" / "mimicmotion"))
    ray = str(SCRIPTS / "ray")
    subprocess.run([ray, "get-auth-token", "--generate"], env=environment, check=True, capture_output=True)
    # Every port is its own: the tests' other Ray has the usual ones.
    ports = {
        "port": port,
        "dashboard-port": dashboard,
        "dashboard-agent-listen-port": free_port(),
        "dashboard-agent-grpc-port": free_port(),
        "ray-client-server-port": free_port(),
    }
    head = subprocess.Popen(
        [
            ray, "start", "--head", "--block", "--num-cpus", "2", "--temp-dir", str(home / "ray"),
            *(f"--{name}={number}" for name, number in ports.items()),
        ],
        env=environment, start_new_session=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        deadline = time.monotonic() + 90
        # Who comes later finds it by the file.
        current = home / "ray" / "ray_current_cluster"
        while socket.socket().connect_ex(("127.0.0.1", dashboard)) != 0 or not current.is_file():
            assert head.poll() is None, "the cluster did not start"
            assert time.monotonic() < deadline
            time.sleep(0.2)
        yield f"http://127.0.0.1:{dashboard}", environment
    finally:
        # Asked to end, it takes more than 20 s.
        kill_with_descendants(head.pid)
        head.wait()


@pytest.fixture(scope="module")
def head() -> Iterator[tuple[str, dict[str, str]]]:
    """A cluster: its job address, the environment of its machine."""
    # Ray puts sockets under here, whose paths must be short.
    home = Path(tempfile.mkdtemp(prefix="r", dir="/tmp"))
    try:
        with cluster(home) as (address, environment):
            yield address, environment
    finally:
        shutil.rmtree(home, ignore_errors=True)


@pytest.fixture(scope="module")
def submitted(head: tuple[str, dict[str, str]]) -> Callable[..., str]:
    """Submit a job to a cluster with a copy of the code, as an operator does: what it has said when it has ended."""
    address, environment = head
    code = Path(environment["HOME"]) / "code"
    for folder in ("jobs", "pipeline", "model", "cluster"):
        shutil.copytree(ROOT / folder, code / folder, ignore=shutil.ignore_patterns("__pycache__"))

    def submit(*job: str | Path) -> str:
        command = [str(SCRIPTS / "ray"), "job", "submit", "--address", address, "--working-dir", str(code)]
        deadline = time.monotonic() + 60
        while True:
            done = subprocess.run(
                [*command, "--", "python", *map(str, job)],
                env=environment, capture_output=True, text=True, timeout=240,
            )  # fmt: skip
            # The head answers before its node can take a job.
            if "No available agent" not in done.stderr or time.monotonic() > deadline:
                break
            time.sleep(1)
        assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
        return done.stdout

    return submit


def test_animation_is_submitted_to_a_cluster_with_token_authentication(submitted, tmp_path, dance, dancer_picture):
    shutil.copy(dance, tmp_path / "dance.mp4")
    shutil.copy(dancer_picture, tmp_path / "one.png")
    (tmp_path / "catalog.csv").write_text(HEADER + "one,one.png,dance.mp4\n")
    where = ("--catalog", tmp_path / "catalog.csv", "--output", tmp_path / "out")
    assert "1 made, 0 kept, 0 quarantined" in submitted("jobs/animate_catalog.py", *where, *SMALL)
    assert (tmp_path / "out" / "videos" / "one.mp4").is_file()


@pytest.mark.soak
def test_extraction_is_submitted_to_a_cluster(submitted, tmp_path, dance):
    (tmp_path / "clips").mkdir()
    shutil.copy(dance, tmp_path / "clips" / "dance.mp4")
    toy = ("--pose-estimator", "dwpose", "--pose-weights", make_toy_dwpose(tmp_path))
    where = ("--videos", tmp_path / "clips", "--output", tmp_path / "out")
    assert "1 done, 0 kept, 0 quarantined" in submitted("jobs/extract_poses.py", *where, "--fps", "5", *toy)
    assert len(pd.read_parquet(tmp_path / "out" / "poses")) == 5


def test_a_job_on_a_machine_of_a_cluster_joins_it_without_being_told(head):
    _, environment = head
    script = "import ray; from pipeline import ray_data as r; r.connect(); print(ray.get_runtime_context().gcs_address)"
    done = subprocess.run(
        [sys.executable, "-c", script],
        env=environment | {"PYTHONPATH": str(ROOT)}, capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    at = (Path(environment["HOME"]) / "ray" / "ray_current_cluster").read_text()
    assert done.stdout.strip() == at.strip()
