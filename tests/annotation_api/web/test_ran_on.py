"""What a job's settings are shown beside: the preset that it was made with."""

from __future__ import annotations

from alignment.shared.config import CONFIGS, Stage, load_preset
from annotation_api.db.kinds import DEFAULTS
from annotation_api.db.tables import Job
from annotation_api.web.runs.ran_on import unlike_preset

CHANGED = {"learning_rate": 9e-6, "seed": 3}


def made(preset: str | None) -> Job:
    """With the defaults, but for two settings."""
    config = CONFIGS[Stage.SFT]().model_dump(mode="json") | CHANGED
    return Job(stage=Stage.SFT, config=config, preset=preset)


def test_settings_stand_beside_the_preset_that_was_chosen_though_another_is_nearer() -> None:
    name, found = unlike_preset(made("toy"))
    toy = load_preset("toy", Stage.SFT).model_dump(mode="json")
    assert name == "toy"
    assert {"learning_rate", "seed", "batch_size"} <= {each.name for each in found}
    assert next(each.values for each in found if each.name == "seed") == (toy["seed"], 3)


def test_of_an_older_job_it_is_the_nearest_and_so_where_the_preset_is_gone() -> None:
    for preset in (None, "gone", DEFAULTS):
        name, found = unlike_preset(made(preset))
        assert (name, [each.name for each in found]) == (DEFAULTS, ["learning_rate", "seed"])
