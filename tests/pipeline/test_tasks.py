"""What is done in a row's name."""

import gc

import pytest

from pipeline.tasks import ModelChoice


def test_garbage_is_looked_for_again_when_the_networks_are_imported():
    choice = ModelChoice("embedded", None, "cpu", "float32", "nonsense")
    with pytest.raises(ValueError, match="attention is 'nonsense'"):
        choice.engine(1)
    assert gc.isenabled()
