"""Recipes: strict reading, and what the bundled ones say."""

from pathlib import Path

import pytest

from training.errors import RecipeError
from training.recipe import bundled_recipes, load_recipe, recipe_name

MINIMAL = """
[network]
backbone = "resnet18"
image_size = [64, 32]
num_patterns = 2
[batch]
persons = 4
images_per_person = 4
[optimizer]
learning_rate = 1e-3
[schedule]
epochs = 2
"""


def _write(folder: Path, text: str) -> str:
    path = folder / "mine.toml"
    path.write_text(text)
    return str(path)


def test_every_bundled_recipe_reads() -> None:
    assert set(bundled_recipes()) == {
        "demo", "mpanet", "mpanet-llcm", "mpanet-plus", "mpanet-regdb", "mpanet-sysu",
    }  # fmt: skip
    for name in bundled_recipes():
        load_recipe(name)


@pytest.mark.parametrize("name", ["mpanet", "mpanet-sysu", "mpanet-llcm"])
def test_recipe_mpanet_is_what_the_reference_runs(name: str) -> None:
    """configs/SYSU.yml and configs/default, commit f57fd5c, and every slip of its code."""
    config = load_recipe(name)
    losses = config.losses
    assert (config.network.backbone, config.network.image_size) == ("resnet50", (384, 128))
    assert (config.batch.persons, config.batch.images_per_person) == (16, 8)
    assert (config.optimizer.learning_rate, config.optimizer.weight_decay) == (3.5e-4, 5e-4)
    assert (config.schedule.epochs, config.schedule.milestones) == (140, (80, 120))
    assert losses.modality_identity_twice
    assert losses.mutual_own_is_target
    assert losses.mean_rate_decays
    assert (losses.mutual, losses.modality_identity, losses.separation) == (2.5, 0.5, 0.5)
    assert (losses.center_margin, losses.mean_rate) == (0.7, 0.2)
    assert losses.mean_moves_first
    assert losses.separation_sums_pixels
    assert losses.center_every_kth_row
    assert (losses.contrast, losses.label_smoothing) == (0, 0)
    assert config.batch.sampling == "reference"
    assert config.initialise == "imagenet"
    assert config.drop_incomplete_identities
    assert config.train_on_validation
    assert (config.schedule.warmup_epochs, config.schedule.average_decay) == (0, 0)
    assert (config.augmentation.visible_grey, config.augmentation.visible_channel) == (0, 0)


def test_recipe_for_regdb_differs_where_the_authors_settings_do() -> None:
    """configs/RegDB.yml, commit f57fd5c."""
    sysu, regdb = load_recipe("mpanet-sysu"), load_recipe("mpanet-regdb")
    assert regdb.network.image_size == (256, 128)
    assert (regdb.batch.persons, regdb.batch.images_per_person) == (12, 10)
    assert regdb.schedule.milestones == (110,)
    assert regdb.losses == sysu.losses
    assert regdb.augmentation == sysu.augmentation
    assert regdb.optimizer == sysu.optimizer


def test_recipe_plus_has_none_of_the_slips() -> None:
    losses = load_recipe("mpanet-plus").losses
    assert not losses.modality_identity_twice
    assert not losses.center_every_kth_row
    assert not losses.mutual_own_is_target


def test_a_recipe_says_only_what_differs_from_the_one_it_extends(tmp_path: Path) -> None:
    text = 'extends = "mpanet"\n[losses]\nmutual = 1.0\n[schedule]\nmilestones = [3]\n'
    found, base = load_recipe(_write(tmp_path, text)), load_recipe("mpanet")
    assert (found.losses.mutual, found.schedule.milestones) == (1.0, (3,))
    assert found.losses.separation == base.losses.separation
    assert found.network == base.network


@pytest.mark.parametrize("base", ['"mpanet-pluss"', "3", '"mine.toml"'])
def test_only_a_bundled_recipe_is_extended(base: str, tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=r"mine\.toml: extends: expected one of demo, mpanet"):
        load_recipe(_write(tmp_path, f"extends = {base}\n"))


def test_a_projection_belongs_to_an_artifact(tmp_path: Path) -> None:
    text = MINIMAL.replace("num_patterns = 2", "num_patterns = 2\nprojected_dim = 8")
    with pytest.raises(RecipeError, match="projected_dim"):
        load_recipe(_write(tmp_path, text))


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ("warmup = 3\n", "schedule.warmup: unknown key"),
        ("[losses]\ncenter_claster = 1.0\n", "losses.center_claster: unknown key"),
        ('[augmentation]\nflip = "often"\n', "augmentation.flip: "),
        ("[augmentation]\nflip = 1.5\n", "augmentation.flip: "),
        ('decay = "cosine"\nmilestones = [1]\n', "milestones belong to decay"),
        ("epochs = ", "not TOML"),
        ("warmup_epochs = inf\n", r"schedule\.warmup_epochs: .* finite number, got inf"),
        ("milestones = [0]\n", r"schedule\.milestones\.0: .*, got 0"),
        ("[augmentation]\nerase_area = [0.4, 0.1]\n", r"augmentation\.erase_area: .*got \(0\.4, "),
        ("[losses.mutual]\nweight = 1\n", r"losses\.mutual: .*number, got a table"),
    ],
)
def test_a_bad_recipe_is_refused_with_file_and_key(tmp_path: Path, more: str, message: str) -> None:
    with pytest.raises(RecipeError, match=message) as caught:
        load_recipe(_write(tmp_path, MINIMAL + more))
    assert "mine.toml" in str(caught.value)


@pytest.mark.parametrize(
    ("right", "wrong", "message"),
    [
        ("epochs = 2", 'epochs = "2"', r"schedule\.epochs: .* integer, got '2'"),
        ("epochs = 2", "epochs = true", r"schedule\.epochs: .* integer, got True"),
        ("1e-3", '"1e-3"', r"optimizer\.learning_rate: .* number, got '1e-3'"),
        ("[64, 32]", '["64", 32]', r"network\.image_size\.0: .* integer, got '64'"),
        ("[schedule]", "[preprocessing]\nmean = [true, 0, 0]\n[schedule]", "preprocessing.mean.0:"),
    ],
)
def test_a_value_of_another_type_is_refused_though_it_could_be_converted(
    right: str, wrong: str, message: str, tmp_path: Path
) -> None:
    with pytest.raises(RecipeError, match=message):
        load_recipe(_write(tmp_path, MINIMAL.replace(right, wrong)))


def test_a_recipe_may_start_with_a_byte_order_mark(tmp_path: Path) -> None:
    assert load_recipe(_write(tmp_path, "\ufeff" + MINIMAL)).schedule.epochs == 2


def test_odd_images_per_person_are_refused(tmp_path: Path) -> None:
    text = MINIMAL.replace("images_per_person = 4", "images_per_person = 5")
    with pytest.raises(RecipeError, match=r"batch\.images_per_person"):
        load_recipe(_write(tmp_path, text))


def test_an_unknown_name_lists_the_recipes() -> None:
    with pytest.raises(RecipeError, match=r"no recipe 'demonstration'.*demo, mpanet"):
        load_recipe("demonstration")


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=r"absent\.toml: cannot be read"):
        load_recipe(str(tmp_path / "absent.toml"))


def test_a_recipe_is_called_by_its_stem(tmp_path: Path) -> None:
    assert recipe_name(str(tmp_path / "mine.toml")) == recipe_name("mine") == "mine"
