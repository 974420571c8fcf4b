"""What makes a run another one, which does not go on from the first one's state."""

from __future__ import annotations

import dataclasses

from pipeline.training.loop import Pace
from pipeline.training.run import Request
from pipeline.training.settings import TrainingSettings


def fingerprint(settings: TrainingSettings) -> str:
    return Request(settings, "out", "model", None, None, (), None, None, 1, 1, "cpu", False, Pace()).fingerprint


def longer(settings: TrainingSettings) -> TrainingSettings:
    return dataclasses.replace(settings, steps=2 * settings.steps)


def test_a_run_at_a_constant_rate_may_be_given_more_steps():
    settings = TrainingSettings(schedule="constant")
    assert fingerprint(settings) == fingerprint(longer(settings))


def test_more_steps_make_another_run_where_they_say_what_a_step_learns():
    for settings in (TrainingSettings(schedule="cosine"), TrainingSettings(schedule="constant", crop=32)):
        assert fingerprint(settings) != fingerprint(longer(settings))
