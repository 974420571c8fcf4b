"""Which decoder reads a transparent WebM, in this process."""

import av
import pytest

from pipeline.decoding.with_pyav import decoded_frames, open_container
from tests.pipeline.clips import ffmpeg


@pytest.mark.parametrize(("available", "pixels"), [(av.codecs_available, "yuva420p"), (set(), "yuv420p")])
def test_without_libvpx_the_picture_is_read_and_its_transparency_left_away(tmp_path, monkeypatch, available, pixels):
    path = tmp_path / "clear.webm"
    clear = ("-c:v", "libvpx", "-pix_fmt", "yuva420p", "-auto-alt-ref", "0")
    ffmpeg("-f", "lavfi", "-i", "color=red@0.5:s=32x24:r=5:d=1,format=yuva420p", *clear, path)
    monkeypatch.setattr(av, "codecs_available", available)
    request = {"path": str(path), "container": "matroska", "max_pixels": 1 << 20}

    with open_container(request) as container:
        formats = [frame.format.name for frame in decoded_frames(container, container.streams.video[0], request)]

    assert formats == [pixels] * 5
