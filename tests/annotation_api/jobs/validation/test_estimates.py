"""What a job would take: sizes read off a model's folder, numbers worked by hand."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from alignment.shared.config import CONFIGS, LoRAConfig, Stage
from alignment.shared.memory import ModelShape
from annotation_api.jobs.schemas import MemoryEstimate
from annotation_api.jobs.validation.estimates import estimate
from annotation_api.jobs.validation.shapes import shape_of
from annotation_api.jobs.validation.validator import ValidatedJob

CONFIG = {"hidden_size": 8, "num_hidden_layers": 2, "vocab_size": 50}
TENSORS = {"embed_tokens.weight": [50, 8], "layers.0.q.weight": [16, 8], "layers.1.q.weight": [16, 8], "norm": [8]}
WEIGHTS = 50 * 8 + 2 * 16 * 8 + 8  # 664
HEAD = 4 * 50 * 8  # its gradient, before it is added


def on_heap(size: int) -> int:
    """On a CPU, whose heap keeps blocks between."""
    return round(1.6 * size)


LINEAR = 2 * (16 + 8)


def folder(path: Path, config: dict[str, Any] = CONFIG, tensors: dict[str, list[int]] = TENSORS) -> Path:
    """A model folder whose weights are only said to be there."""
    path.mkdir()
    (path / "config.json").write_text(json.dumps(config))
    header = json.dumps({"__metadata__": {}} | {name: {"dtype": "F32", "shape": s} for name, s in tensors.items()})
    (path / "model.safetensors").write_bytes(len(header).to_bytes(8, "little") + header.encode() + b"0" * 100)
    return path


@pytest.fixture
def here(tmp_path: Path) -> Path:
    return folder(tmp_path / "model")


def prepared(stage: Stage, folders: dict[str, Path], **config: Any) -> ValidatedJob:
    settings = CONFIGS[stage].model_validate({"batch_size": 4, "micro_batch_size": 2, "max_length": 16} | config)
    return ValidatedJob(stage, settings, {}, set(), 40, folders)


def memory(stage: Stage, folders: dict[str, Path], gpus: float = 0, **config: Any) -> MemoryEstimate:
    found = estimate(prepared(stage, folders, **config), gpus).memory
    assert found is not None
    kept = found.weights + found.optimizer + found.rollout_copy + (0 if gpus else found.host)
    stays = found.cache if gpus else 0  # a small one
    assert found.total == kept + stays + max(found.cache - stays, found.gradients + found.activations + found.logits)
    assert sum(found.roles.values()) == found.weights
    return found


def parts(found: MemoryEstimate) -> tuple[int, int, int]:
    return found.weights, found.gradients, found.optimizer


def test_a_folder_says_how_large_its_model_is(here: Path) -> None:
    assert shape_of(here) == ModelShape(weights=WEIGHTS, linear=LINEAR, width=8, layers=2, vocabulary=50, block=16 * 8)


def test_other_families_use_other_names(tmp_path: Path) -> None:
    found = shape_of(folder(tmp_path / "gpt", {"n_embd": 8, "n_layer": 2, "vocab_size": 50}))
    assert found == ModelShape(WEIGHTS, LINEAR, 8, 2, 50, block=16 * 8)
    nested = {"text_config": CONFIG, "hidden_size": None}
    assert shape_of(folder(tmp_path / "vision", nested)) == ModelShape(WEIGHTS, LINEAR, 8, 2, 50, block=16 * 8)


def spoil_header(path: Path) -> None:
    (path / "model.safetensors").write_bytes(b"\xff" * 8 + b"{}")


def spoil_config(path: Path) -> None:
    (path / "config.json").write_text("[]")


def remove_weights(path: Path) -> None:
    (path / "model.safetensors").unlink()


def cut_header(path: Path) -> None:
    (path / "model.safetensors").write_bytes(b"\x10" + b"\0" * 7 + b'{"a": {')


@pytest.mark.parametrize("spoil", [spoil_header, spoil_config, remove_weights, cut_header])
def test_a_folder_that_does_not_say_is_not_guessed(here: Path, spoil: Any) -> None:
    spoil(here)
    assert shape_of(here) is None
    found = estimate(prepared(Stage.SFT, {"model": here}), 1)
    assert (found.memory, found.checkpoint_bytes, found.disk_bytes, found.steps) == (None, None, None, 20)


def test_trained_weights_carry_a_gradient_and_two_moments(here: Path) -> None:
    found = memory(Stage.SFT, {"model": here})
    assert parts(found) == (4 * WEIGHTS, 4 * WEIGHTS, 8 * WEIGHTS)
    # 2 texts of 16 tokens: 34 bytes a number of width 8 in 2 layers at 2 bytes, twice that at 4; eight blocks of logits
    assert (found.activations, found.logits) == (on_heap(2 * 34 * 32 * 8 * 2), on_heap(8 * 4 * 32 * 50 + HEAD))
    on_gpu = memory(Stage.SFT, {"model": here}, gpus=1)
    assert (on_gpu.activations, on_gpu.logits) == (34 * 32 * 8 * 2, 4 * 32 * 32768 + HEAD)  # a kernel needs one block


def test_a_cpu_has_the_logits_of_a_few_tokens_at_one_time(here: Path) -> None:
    long = memory(Stage.SFT, {"model": here}, max_length=1000)
    assert long.logits == on_heap(8 * 4 * 256 * 50 + HEAD)
    assert memory(Stage.SFT, {"model": here}, gpus=1, max_length=1000).logits == 4 * 2 * 1000 * 32768 + HEAD


def test_the_logits_of_sft_are_those_of_one_block(here: Path, tmp_path: Path) -> None:
    long = {"max_length": 5000, "gpus": 1}
    assert memory(Stage.SFT, {"model": here}, **long).logits == 4 * 4096 * 32768 + HEAD
    assert memory(Stage.SFT, {"model": here}, **long, lora={"rank": 4}).logits == 4 * (4096 * 32768 + 50 * 8)
    assert memory(Stage.SFT, {"model": here}, **long, micro_batch_size=4).logits == 4 * 4096 * 32768  # nothing adds up
    words = TENSORS | {"embed.weight": [40_000, 8]}
    many = folder(tmp_path / "words", CONFIG | {"vocab_size": 40_000}, words)
    assert memory(Stage.SFT, {"model": many}, lora={"rank": 4}).logits == on_heap(8 * 4 * 32 * 32768)


def test_a_gated_feed_forward_keeps_more_and_experts_do_not_count_all(tmp_path: Path) -> None:
    """By what goes into its linear layers and comes out, at 1.25: measured by bench_memory."""
    gated = {f"layers.{n}.{part}.weight": [64, 8] for n in range(2) for part in ("q", "up", "gate")}
    found = memory(Stage.SFT, {"model": folder(tmp_path / "gated", tensors=TENSORS | gated)})
    assert found.activations == on_heap(4 * 32 * 270 * 2)  # 3 layers of 8 + 64, one of them in place of TENSORS' own
    many = {f"layers.{n}.{e}.weight": [64, 8] for n in range(2) for e in range(99)}
    assert memory(Stage.SFT, {"model": folder(tmp_path / "many", tensors=many)}).activations == on_heap(
        4 * 32 * 320 * 2
    )


def test_several_gpus_hold_a_copy_each_or_a_share(here: Path) -> None:
    assert parts(memory(Stage.REWARD, {"model": here}, gpus=2)) == (4 * WEIGHTS, 4 * WEIGHTS, 8 * WEIGHTS)
    shared = memory(Stage.REWARD, {"model": here}, gpus=2, shard_weights=True)
    assert parts(shared) == (2 * WEIGHTS, 2 * WEIGHTS, 4 * WEIGHTS)
    assert parts(memory(Stage.SFT, {"model": here}, gpus=1, shard_weights=True)) == (
        4 * WEIGHTS,
        4 * WEIGHTS,
        8 * WEIGHTS,
    )


def test_adapters_leave_the_base_frozen(here: Path) -> None:
    lora = LoRAConfig(rank=4).model_dump()
    adapters = 4 * LINEAR
    assert parts(memory(Stage.SFT, {"model": here}, lora=lora)) == (
        4 * WEIGHTS + 4 * adapters, 4 * adapters, 8 * adapters,
    )  # fmt: skip
    assert memory(Stage.SFT, {"model": here}, gpus=0.5, lora=lora).weights == 2 * WEIGHTS + 4 * adapters


def test_a_base_in_four_bits_takes_a_half_and_a_64th_of_a_byte_a_number(here: Path) -> None:
    blocks, adapters = 2 * 16 * 8, 4 * LINEAR
    packed = 33 * blocks // 64
    more: dict[str, Any] = {"lora": {"rank": 4, "bits": 4}}
    assert memory(Stage.SFT, {"model": here}, 1, **more).weights == packed + 2 * (WEIGHTS - blocks) + 4 * adapters
    assert memory(Stage.REWARD, {"model": here}, 0, **more).weights == packed + 4 * (WEIGHTS - blocks) + 4 * adapters
    whole = memory(Stage.SFT, {"model": here}, 1, lora={"rank": 4})
    assert whole.instead["lora.bits 4"] == whole.total - 2 * blocks + packed
    assert not any("bits" in said for said in memory(Stage.SFT, {"model": here}, lora={"rank": 4}).instead)


LIGHT: list[tuple[dict[str, Any], int]] = [  # settings, numbers that are trained
    ({"method": "ia3"}, 2 * (4 + 32)),
    ({"method": "houlsby", "bottleneck": 3}, 2 * (2 * 8 * 3 + 3 + 8)),  # this model has no attention output
    ({"method": "bitfit"}, 2 * 4),
    ({"method": "layers", "layers": 1}, 4 * 8 + 4 + 8 * 32),
    ({"method": "layers", "layers": ["v_proj"]}, 50 * 8 + 2 * (4 * 8 + 4 + 8 * 32)),
    ({"lora": {"rank": 4, "dora": True}}, (4 + 1) * 2 * (4 + 8 + 8 + 32)),
    ({"method": "prefix", "virtual_tokens": 5}, 5 * 2 * 2 * 8),
    ({"method": "prompt", "virtual_tokens": 5}, 5 * 8),
    ({"method": "p_tuning", "virtual_tokens": 5}, 5 * 8 + 3 * 8 * 8),
]


@pytest.mark.parametrize(("settings", "trained"), LIGHT)
def test_a_light_method_has_gradients_of_what_it_trains(tmp_path: Path, settings: dict[str, Any], trained: int) -> None:
    tensors = {"embed_tokens.weight": [50, 8]}
    for layer in range(2):
        tensors |= {f"layers.{layer}.v_proj.weight": [4, 8], f"layers.{layer}.v_proj.bias": [4]}
        tensors |= {f"layers.{layer}.mlp.down_proj.weight": [8, 32]}
    found = memory(Stage.SFT, {"model": folder(tmp_path / "model", CONFIG, tensors)}, **settings)
    assert (found.gradients, found.optimizer) == (4 * trained, 8 * trained)
    assert "lora" not in found.instead


def test_ppo_shares_what_a_light_method_leaves_alone(here: Path) -> None:
    both, block = {"model": here, "reward_model": here}, 16 * 8
    found = memory(Stage.PPO, both, gpus=1, max_response_length=8, method="layers", layers=1)
    assert found.roles == {
        "policy": 4 * WEIGHTS, "reference": 4 * block, "critic": 4 * WEIGHTS, "reward_model": 2 * WEIGHTS,
    }  # fmt: skip


def test_a_head_alone_is_as_small_as_the_model_is_wide(here: Path) -> None:
    assert parts(memory(Stage.REWARD, {"model": here}, frozen_trunk=True)) == (4 * WEIGHTS + 4 * 8, 4 * 8, 8 * 8)


def test_ppo_holds_four_models(here: Path, tmp_path: Path) -> None:
    """Policy and critic are trained, reference and judge are not; on a GPU the judge is half as large."""
    judge = folder(tmp_path / "judge", CONFIG, {"layers.0.q.weight": [16, 8]})
    both, small = {"model": here, "reward_model": judge}, 16 * 8
    config = {"max_response_length": 8}
    assert parts(memory(Stage.PPO, both, gpus=1, **config)) == (
        4 * WEIGHTS + 4 * small + 2 * small + 4 * WEIGHTS, 4 * (WEIGHTS + small), 8 * (WEIGHTS + small),
    )  # fmt: skip
    assert estimate(prepared(Stage.PPO, {"model": here}, **config), 1).memory is None  # the judge is still to be made


def test_on_a_cpu_ppo_takes_two_micro_batches_at_a_time(here: Path, tmp_path: Path) -> None:
    folders = {"model": here, "reward_model": folder(tmp_path / "judge")}
    two, one = (
        memory(Stage.PPO, folders, micro_batch_size=size, max_response_length=8) for size in (2, 4)
    )  # 4 is the whole batch
    assert parts(two) == (one.weights, 2 * one.gradients, one.optimizer)
    assert two.activations == pytest.approx(
        one.activations * 5.0 / 3.2, abs=1
    )  # two halves, and what the heap keeps of each between its own and the other's
    assert memory(Stage.PPO, folders, gpus=1, max_response_length=8).gradients == one.gradients


def test_disk_is_the_result_and_three_checkpoints(here: Path) -> None:
    size = (here / "model.safetensors").stat().st_size
    found = estimate(prepared(Stage.REWARD, {"model": here}, members=3), 1)
    assert (found.artifact_bytes, found.checkpoint_bytes) == (3 * size, 12 * WEIGHTS)
    assert found.disk_bytes == 3 * size + 3 * 12 * WEIGHTS  # the third while it is written
    assert found.steps == 3 * 9  # 36 of 40 rankings are trained on, 4 at a time, three times over


def test_a_checkpoint_of_ppo_is_seven_numbers_a_weight_and_so_is_the_copy_that_it_is_written_from(
    here: Path, tmp_path: Path
) -> None:
    """Policy and critic with two moments each, and the kept policy; an average of the policy if there is one."""
    judge = folder(tmp_path / "judge", CONFIG, {"layers.0.q.weight": [16, 8]})
    both, small = {"model": here, "reward_model": judge}, 16 * 8
    whole = 12 * (WEIGHTS + small) + 4 * WEIGHTS
    plain, averaged = ({"max_response_length": 8} | more for more in ({}, {"ema_decay": 0.9}))
    for config, size in ((plain, whole), (averaged, whole + 4 * WEIGHTS)):
        found = estimate(prepared(Stage.PPO, both, **config), 1)
        assert found.checkpoint_bytes == size
        assert memory(Stage.PPO, both, gpus=1, **config).host == size
    shared = memory(Stage.PPO, both, gpus=2, shard_weights=True, **plain)
    assert shared.host == whole / 2
    assert memory(Stage.PPO, both, gpus=1, **averaged).roles["average"] == 4 * WEIGHTS
    assert memory(Stage.SFT, {"model": here}, gpus=1).host == 0


def test_frozen_roles_that_rest_are_in_the_host_but_for_the_one_that_is_asked(here: Path, tmp_path: Path) -> None:
    """The policy's twin, in float32, and the judge, in half of it: 6 bytes a weight less while others learn."""
    both = {"model": here, "reward_model": folder(tmp_path / "judge")}
    plain = memory(Stage.PPO, both, gpus=1, max_response_length=8)
    job = prepared(Stage.PPO, both, max_response_length=8, offload_frozen=True)
    found = estimate(job, 1).memory
    assert found is not None
    assert (found.host - plain.host, plain.total - found.total) == (6 * WEIGHTS, 6 * WEIGHTS)
    assert plain.instead["offload_frozen"] == found.total
    assert "offload_frozen" not in memory(Stage.PPO, both, max_response_length=8).instead


def test_recomputed_activations_are_few(here: Path) -> None:
    found = memory(Stage.REWARD, {"model": here}, gpus=1, gradient_checkpointing=True)
    assert found.activations == 2 * 64 * 8 * 2 + 34 * 64 * 8  # pairs: 4 texts of 16 tokens; one layer is whole


# ---------------------------------------------------------------- PPO by role


def adapters_on(base: Path, path: Path) -> Path:
    """A reward model of 100 numbers on the model in `base`."""
    folder(path, CONFIG, {"layers.0.q.lora_A.weight": [10, 10]})
    (path / "model.safetensors").rename(path / "adapter_model.safetensors")
    (path / "adapter_config.json").write_text(json.dumps({"base_model_name_or_path": str(base)}))
    return path


@pytest.mark.parametrize("stage", [Stage.SFT, Stage.REWARD, Stage.PPO])
def test_texts_are_no_longer_than_the_model_reads(stage: Stage, here: Path, tmp_path: Path) -> None:
    short = folder(tmp_path / "short", CONFIG | {"max_position_embeddings": 16})
    named = folder(tmp_path / "gpt", {"n_embd": 8, "n_layer": 2, "vocab_size": 50, "n_positions": 16})
    light = {"max_response_length": 8} if stage is Stage.PPO else {}
    long, fits = (
        [memory(stage, {"model": it, "reward_model": here}, max_length=length, **light) for it in (here, short, named)]
        for length in (10_000, 16)
    )
    assert long[1:] == fits[1:]
    assert long[0].activations > 100 * fits[0].activations


def test_adapters_are_as_large_as_the_model_under_them(here: Path, tmp_path: Path) -> None:
    found = shape_of(adapters_on(here, tmp_path / "judge"))
    assert found == ModelShape(WEIGHTS, LINEAR, 8, 2, 50, adapters=100, block=16 * 8)


def test_with_adapters_the_roles_stand_on_one_base_or_on_two(here: Path, tmp_path: Path) -> None:
    config: dict[str, Any] = {"lora": {"rank": 4}, "max_response_length": 8}
    judges = {"one": adapters_on(here, tmp_path / "judge"), "two": folder(tmp_path / "whole")}
    found = {
        name: memory(Stage.PPO, {"model": here, "reward_model": judge}, gpus=1, **config)
        for name, judge in judges.items()
    }
    adapter = 4 * 4 * LINEAR
    assert found["one"].roles == {
        "base": 2 * WEIGHTS, "policy": adapter, "critic": adapter, "reward_model": 4 * 100
    }  # fmt: skip
    assert found["two"].roles["reward_model"] == 2 * WEIGHTS  # what another base costs
    assert (found["one"].judge_apart, found["two"].judge_apart) == (0, 2 * WEIGHTS)
    assert found["one"].rollout_copy == 0  # it decodes on the base
    packed = config | {"lora": {"rank": 4, "bits": 4}}
    assert memory(Stage.PPO, {"model": here, "reward_model": judges["one"]}, gpus=1, **packed).judge_apart
    (judges["one"] / "config.json").write_text(json.dumps(CONFIG | {"trained_in_bits": 4}))
    assert not memory(Stage.PPO, {"model": here, "reward_model": judges["one"]}, gpus=1, **packed).judge_apart


def test_full_ppo_on_a_gpu_decodes_with_a_copy_of_half_the_bytes(here: Path, tmp_path: Path) -> None:
    folders = {"model": here, "reward_model": folder(tmp_path / "judge")}
    found = memory(Stage.PPO, folders, gpus=1, max_response_length=8)
    assert found.rollout_copy == 2 * WEIGHTS
    # keys and values, 4 texts of 16 tokens, 2 layers of width 8; 50 words while 4 tokens are drawn
    assert found.cache == 2 * 2 * 4 * 16 * 8 * 2 + 4 * 72 * 50
    assert found.logits == 2 * 4 * 50 * 2 * 8
    assert memory(Stage.PPO, folders, max_response_length=8).rollout_copy == 0


def test_a_small_part_of_what_decoding_takes_stays_on_a_gpu_while_an_update_runs(
    here: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("alignment.shared.memory.KEPT_FOR_DECODING", 100)
    folders = {"model": here, "reward_model": folder(tmp_path / "judge")}
    found = estimate(prepared(Stage.PPO, folders, max_response_length=8), 1).memory
    assert found is not None
    assert found.cache > 100
    kept = found.weights + found.optimizer + found.rollout_copy
    assert found.total == kept + max(found.cache, 100 + found.gradients + found.activations + found.logits)


def test_what_would_take_less_is_told_with_what_it_takes(here: Path) -> None:
    found = memory(Stage.SFT, {"model": here}, gpus=1)
    assert set(found.instead) == {
        "lora", "gradient_checkpointing", "micro_batch_size 1", "gpus 2 with shard_weights"
    } - ({"lora"} if found.instead.get("lora") is None else set())  # fmt: skip
    assert found.instead["micro_batch_size 1"] == found.total - (found.activations + found.logits - HEAD) // 2
    assert all(total < found.total for total in found.instead.values())


def test_what_a_job_with_adapters_leaves_is_adapters(here: Path) -> None:
    found = estimate(prepared(Stage.REWARD, {"model": here}, lora={"rank": 4}), 1)
    assert found.artifact_bytes == 4 * 4 * LINEAR
    whole = estimate(prepared(Stage.REWARD, {"model": here}, lora={"rank": 4}, save_adapter=False), 1)
    assert whole.artifact_bytes == (here / "model.safetensors").stat().st_size
