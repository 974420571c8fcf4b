import io
import sys

import pytest

from jobs.arguments import OK
from jobs.exit_codes import exit_code


def test_a_name_that_is_no_utf_8_is_told_like_any_other(monkeypatch: pytest.MonkeyPatch) -> None:
    out = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(out, "utf-8"))

    def work() -> int:
        print("done, in /data/run\udcff")
        return OK

    assert exit_code(work) == OK
    sys.stdout.flush()
    assert out.getvalue() == b"done, in /data/run\\udcff\n"
