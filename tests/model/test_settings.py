import dataclasses

import pytest

from model.fusion import FUSIONS, progressive, released
from model.settings import STYLES, AnimationSettings, parse_guidance


def test_defaults_are_those_of_the_released_model():
    settings = AnimationSettings()
    assert (settings.resolution, settings.window, settings.overlap, settings.steps) == ("576", 72, 6, 25)
    assert (settings.guidance, settings.noise_aug_strength, settings.motion_bucket_id) == ("2", 0.0, 127)
    assert (settings.model_fps, settings.decode_chunk, settings.seed, settings.style) == (7, 8, 42, "default")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("window", 1),
        ("window", 1025),
        ("window", 8.0),
        ("window", "8"),
        ("window", None),
        ("overlap", 72),
        ("overlap", -1),
        ("overlap", True),
        ("steps", 0),
        ("steps", 1001),
        ("steps", 2.5),
        ("motion_bucket_id", -1),
        ("motion_bucket_id", 1024),
        ("model_fps", 0),
        ("model_fps", 241),
        ("decode_chunk", 0),
        ("decode_chunk", "8"),
        ("decode_overlap", 8),
        ("decode_overlap", -1),
        ("seed", -1),
        ("seed", 2**63),
        ("noise_aug_strength", float("nan")),
        ("noise_aug_strength", -0.1),
        ("noise_aug_strength", 10.1),
        ("noise_aug_strength", "0.1"),
        ("fusion", "median"),
        ("fusion", ["progressive"]),
        ("style", "Released"),
        ("resolution", "wide"),
        ("resolution", "576x"),
        ("resolution", 576),
        ("guidance", "nan"),
        ("guidance", "1:nan"),
        ("guidance", "inf"),
        ("guidance", "-1"),
        ("guidance", "101"),
        ("guidance", "1:2:3"),
        ("guidance", ""),
        ("guidance", ":"),
        ("guidance", "two"),
        ("guidance", 2.0),
    ],
)
def test_a_setting_that_cannot_be_is_named_with_its_value(name, value):
    with pytest.raises(ValueError, match=f"{name} is ") as caught:
        AnimationSettings(**{name: value})
    assert repr(value) in str(caught.value)
    assert "expected" in str(caught.value)


@pytest.mark.parametrize(
    "choice",
    [
        {"window": 2, "overlap": 0},
        {"overlap": 70},
        {"overlap": 0},
        {"steps": 1},
        {"decode_chunk": 1, "decode_overlap": 0},
        {"decode_overlap": 7},
        {"seed": 2**63 - 1},
        {"seed": 0},
        {"noise_aug_strength": 1},
        {"resolution": "80x100"},
        {"guidance": "0"},
        {"guidance": "3:0.5"},
        *({"fusion": name} for name in FUSIONS),
        *({"style": name} for name in STYLES),
    ],
    ids=str,
)
def test_a_setting_at_its_bounds_is_taken(choice):
    settings = AnimationSettings(**choice)
    assert {name: getattr(settings, name) for name in choice} == choice


def test_replacing_a_setting_checks_again():
    settings = AnimationSettings(window=16, overlap=4)
    assert settings.replace(seed=7) == AnimationSettings(window=16, overlap=4, seed=7)
    with pytest.raises(ValueError, match="overlap is 4, expected a whole number from 0 to"):
        settings.replace(window=4)


def test_every_setting_says_what_it_means():
    assert all(field.metadata["help"] for field in dataclasses.fields(AnimationSettings))


@pytest.mark.parametrize(
    ("text", "meaning"), [("2", (2, 2)), ("1:3", (1, 3)), ("3:0.5", (3, 0.5)), (" 2 ", (2, 2)), ("0:100", (0, 100))]
)
def test_guidance_is_a_number_or_a_ramp(text, meaning):
    assert parse_guidance(text) == meaning


def test_a_plan_has_room_for_the_reference_frame():
    settings = AnimationSettings(window=8, overlap=2)
    assert settings.plans(7)[0].windows == (tuple(range(8)),)
    assert settings.plans(20)[0].windows == progressive(21, 8, 2).windows
    assert settings.replace(fusion="released").plans(20)[0].windows == released(21, 8, 2).windows
