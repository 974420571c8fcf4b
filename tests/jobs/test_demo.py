"""The demo on a machine that cannot fetch what it needs."""

from __future__ import annotations

import runpy

import pytest

from jobs.arguments import WRONG_REQUEST
from model.estimators import holistic_weights


def test_what_cannot_be_fetched_is_one_line(tmp_path, monkeypatch, capsys):
    def offline() -> None:
        raise RuntimeError("`pip download` ended with status 1: no network")

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(holistic_weights, "holistic_weights", offline)
    with pytest.raises(SystemExit) as ended:
        runpy.run_module("jobs.demo", run_name="__main__")
    assert ended.value.code == WRONG_REQUEST
    assert capsys.readouterr().err.splitlines()[-1] == "error: `pip download` ended with status 1: no network"
