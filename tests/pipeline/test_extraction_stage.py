from __future__ import annotations

import pytest

from pipeline.extraction_stage import ExtractPoses
from pipeline.inputs import InputError
from pipeline.listing import Video


def test_a_file_that_cannot_be_read_is_an_input_error_since_its_poses_are_not_to_blame(tmp_path):
    # Root may read every file, but no folder.
    stage = ExtractPoses.__new__(ExtractPoses)
    with pytest.raises(InputError, match=r"/clips/a.mp4 cannot be read \(Is a directory\)"):
        stage._finished(Video("/clips/a.mp4", "1", 1, {}), tmp_path)
