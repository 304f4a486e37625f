"""The settings: what is refused, and in which words."""

import functools
from collections.abc import Iterator
from typing import Any, get_args

import pytest
from pydantic import BaseModel, ValidationError

from alignment.shared.config import (
    BASELINES,
    CONFIGS,
    PPOConfig,
    RewardConfig,
    SampleConfig,
    SFTConfig,
    Stage,
    StageSettings,
    load_preset,
)
from alignment.shared.validation import explain


def problems(config: type, **values: object) -> dict[str, tuple[str, str]]:
    with pytest.raises(ValidationError) as caught:
        config.model_validate(values)
    return {p.pointer: (p.message, p.value) for p in explain(caught.value, config)}


def test_an_unknown_key_names_the_near_miss() -> None:
    assert problems(PPOConfig, kl_coeff=0.1) == {"/kl_coeff": ("Unknown key 'kl_coeff'. Did you mean 'kl_coef'?", 0.1)}


def test_an_unknown_key_inside_a_part_names_the_parts_own_keys() -> None:
    assert problems(SFTConfig, lora={"rnk": 4})["/lora/rnk"][0] == "Unknown key 'rnk'. Did you mean 'rank'?"


@pytest.mark.parametrize(
    ("layers", "said"),
    [
        (["a", 5], {"/layers/1": "This is no text"}),
        ([], {"/layers": "At least 1 must be given, not 0"}),
        (["a b"], {"/layers/0": "String should match pattern '^[A-Za-z0-9_.]{1,100}$'"}),
        (1.5, {"/layers": "This is no whole number: it has a fraction"}),
        (0, {"/layers": "Input should be greater than or equal to 1"}),
        ({}, {"/layers": "This is no list"}),
    ],
)
def test_a_value_of_several_kinds_is_reported_at_its_field_as_the_kind_that_it_could_be(
    layers: object, said: dict[str, str]
) -> None:
    assert {at: message for at, (message, _) in problems(SFTConfig, method="layers", layers=layers).items()} == said


@pytest.mark.parametrize(("key", "said"), [("batch_size", "This is no whole number"), ("epochs", "This is no number")])
def test_true_is_no_number(key: str, said: str) -> None:
    assert problems(SFTConfig, **{key: True}) == {f"/{key}": (said, True)}


def test_a_key_like_no_other_lists_what_there_is() -> None:
    message, _ = problems(SampleConfig, zzz=1)["/zzz"]
    assert "Known keys: template_refusals, responses_per_prompt," in message


@pytest.mark.parametrize(
    ("config", "name", "value"),
    [
        (SFTConfig, "learning_rate", -1e-5),
        (SFTConfig, "learning_rate", float("nan")),
        (SFTConfig, "epochs", 0),
        (RewardConfig, "heldout_fraction", 1),
        (PPOConfig, "heldout_fraction", 1),
        (PPOConfig, "gamma", -0.1),
        (PPOConfig, "updates", 0),
        (SampleConfig, "temperature", 0),
        (SampleConfig, "top_p", 0),
    ],
)
def test_absurd_numbers_are_refused_by_field(config: type, name: str, value: float) -> None:
    assert set(problems(config, **{name: value})) == {f"/{name}"}


def test_batches_must_divide() -> None:
    message, _ = problems(SFTConfig, batch_size=8, micro_batch_size=3)["/"]
    assert "batch_size (8) must be a multiple of micro_batch_size (3)" in message


@pytest.mark.parametrize("length", [64, 65])
def test_a_response_must_leave_room_for_a_prompt(length: int) -> None:
    message, _ = problems(PPOConfig, max_length=64, max_response_length=length)["/"]
    assert f"max_response_length ({length}) must be below max_length (64)" in message


def test_a_config_does_not_change() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        SFTConfig().epochs = 3.0  # type: ignore[misc]


def test_overrides_stand_above_the_preset() -> None:
    preset, changed = load_preset("toy", Stage.PPO), load_preset("toy", Stage.PPO, {"updates": 7})
    assert isinstance(preset, PPOConfig)
    assert isinstance(changed, PPOConfig)
    assert changed.updates == 7
    assert changed.learning_rate == preset.learning_rate


def test_an_unknown_preset_lists_the_known_ones() -> None:
    with pytest.raises(ValueError, match=r"There is no preset 'tony'\. Presets: .*toy"):
        load_preset("tony", Stage.SFT)


def test_every_stage_has_settings() -> None:
    assert set(CONFIGS) == set(Stage)


def test_draws_of_a_sample() -> None:
    """2 tasks of 4 different responses, 3 draws for each: 24; without choosing, 8."""
    settings = {"responses_per_prompt": 4, "tasks_per_prompt": 2, "oversample": 3}
    assert SampleConfig(**settings).draws == 24
    assert SampleConfig(**settings, distinct=False).draws == 8


def kinds_of(annotation: Any) -> Iterator[Any]:
    """The annotation, and all that it is made of."""
    yield annotation
    for part in get_args(annotation):
        yield from kinds_of(part)


def numbers_of(config: type[BaseModel], *path: str) -> Iterator[tuple[str, ...]]:
    """Where a config, or a part of it, holds a number that may have a fraction."""
    for name, field in config.model_fields.items():
        kinds = list(kinds_of(field.annotation))
        for kind in kinds:
            if isinstance(kind, type) and issubclass(kind, BaseModel):
                yield from numbers_of(kind, *path, name)
        if float in kinds:
            yield (*path, name)


@pytest.mark.parametrize("value", [float("inf"), float("-inf"), "nan"])
@pytest.mark.parametrize("config", [*CONFIGS.values(), *BASELINES.values()], ids=lambda config: config.__name__)
def test_no_number_is_endless(config: type[StageSettings], value: float | str) -> None:
    """Such a setting fits into no JSON: neither into the job's row nor into the name of its checkpoints."""
    for path in numbers_of(config):
        given = functools.reduce(lambda inner, name: {name: inner}, reversed(path), value)
        assert "/".join(("", *path)) in problems(config, **given)
