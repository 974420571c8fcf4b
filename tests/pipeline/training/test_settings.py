import pytest

from pipeline.training.settings import TrainingSettings, read_recipe


def test_a_recipe_is_read_and_what_is_given_comes_first(tmp_path):
    path = tmp_path / "recipe.toml"
    path.write_text('objective = "autoencoding"\nlearn = ["vae"]\nsteps = 5\nlearning_rate = 1\n')
    settings = read_recipe(str(path), {"steps": 7})
    assert (settings.objective, settings.learn, settings.steps, settings.learning_rate) == (
        "autoencoding",
        ("vae",),
        7,
        1,
    )


@pytest.mark.parametrize(
    ("recipe", "message"),
    [
        ("steps = 0", "steps is 0, expected a whole number from 1"),
        ("steps = 1.5", r"steps is 1.5, expected a whole number"),
        ('objective = "drawing"', "objective is 'drawing', expected one of denoising, autoencoding"),
        ("dropout = 2", "dropout is 2, expected a number from 0 to 1"),
        ("learning_rate = true", "learning_rate is True, expected a number"),
        ("learn = 3", "learn is 3, expected a list of some of pose_net"),
        ('learn = "unet"', "learn is 'unet', expected a list of some of pose_net"),
        ("learn = []", r"learn is \(\), expected a list of some of pose_net"),
        ("frames = 1", "frames is 1, objective 'denoising': expected at least 2"),
        ("crop = 64", "crop is 64, objective 'denoising': expected 0"),
        ("crop = 640", "crop is 640, pictures are 576x1024: expected at most their shorter side"),
        ('learn = ["unet", "vae"]', "learn is unet, vae, objective 'denoising': leave out vae"),
        ('learn = ["vae_images"]', "objective 'denoising': leave out vae_images"),
        ('objective = "autoencoding"', "learn is pose_net, unet, objective 'autoencoding': expected vae or vae_images"),
        (
            'objective = "autoencoding"\nlearn = ["vae", "lora"]\nlora_rank = 4',
            "learn is vae, lora, objective 'autoencoding': expected vae or vae_images, without lora",
        ),
        (
            'objective = "autoencoding"\nlearn = ["vae"]\ncheckpointing = true',
            "checkpointing is on, objective 'autoencoding': expected it off",
        ),
        ('checkpointing = "no"', "checkpointing is 'no', expected true or false"),
        ("checkpointing = 1", "checkpointing is 1, expected true or false"),
        ("stepps = 3", "unknown setting stepps; known are"),
        ("steps =", "cannot be read as a recipe in TOML"),
    ],
)
def test_what_cannot_be_is_named_with_its_file(tmp_path, recipe, message):
    path = tmp_path / "recipe.toml"
    path.write_text(recipe)
    with pytest.raises(ValueError, match=f"recipe.toml: .*{message}|recipe.toml: {message}"):
        read_recipe(str(path), {})


def test_a_recipe_that_is_not_there_is_named(tmp_path):
    with pytest.raises(ValueError, match=r"nothing\.toml: cannot be read"):
        read_recipe(str(tmp_path / "nothing.toml"), {})


def test_the_defaults_are_those_of_the_paper_where_it_says():
    settings = TrainingSettings()
    assert (settings.learning_rate, settings.hand_weight, settings.frames) == (1e-5, 10.0, 16)
