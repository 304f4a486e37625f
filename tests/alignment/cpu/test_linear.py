"""oneDNN's linear against PyTorch's own: numbers, gradients, names; reward models and PPO on it."""

from pathlib import Path

import pytest
import torch

from alignment.cpu import linear as cpu_linear
from alignment.cpu.linear import CPULinear, rounded, speed_up
from alignment.ppo.update import update
from alignment.reward.examples import Example, PairTarget
from alignment.reward.trainer import fit
from alignment.shared.config import RewardConfig
from alignment.shared.events import NullReporter
from tests.support.alignment import small_ppo, tiny

pytestmark = pytest.mark.skipif(not torch.backends.mkldnn.is_available(), reason="this PyTorch has no oneDNN")


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("shape", [(64, 128), (4, 32, 128), (1, 192, 128), (5, 23, 128), (7, 9, 128), (1, 128)])
def test_numbers_and_gradients_are_those_of_the_plain_layer(shape: tuple[int, ...], bias: bool) -> None:
    torch.manual_seed(0)
    plain = torch.nn.Linear(128, 256, bias=bias)
    quick = torch.nn.Linear(128, 256, bias=bias)
    quick.load_state_dict(plain.state_dict())
    speed_up(quick)
    assert isinstance(quick, CPULinear)
    inputs = torch.randn(shape)
    found = []
    for layer in (plain, quick):
        x = inputs.clone().requires_grad_()
        out = layer(x)
        out += 1.0  # as some models do to it; forbidden to a view
        out.sin().sum().backward()
        found.append((out.detach(), x.grad, *(weight.grad for weight in layer.parameters())))
    for theirs, ours in zip(*found, strict=True):
        torch.testing.assert_close(ours, theirs, atol=1e-4, rtol=1e-4)


def test_only_large_float32_layers_and_rows_that_need_little_filling_go_there() -> None:
    weight = torch.empty(128, 128)
    assert cpu_linear._worth_it(torch.empty(2, 32, 128), weight)
    assert cpu_linear._worth_it(torch.empty(43, 128), weight)
    assert not cpu_linear._worth_it(torch.empty(42, 128), weight)  # 64 rows for 42
    assert not cpu_linear._worth_it(torch.empty(85, 128), weight)  # 128 rows for 85
    assert cpu_linear._worth_it(torch.empty(86, 128), weight)
    assert not cpu_linear._worth_it(torch.empty(0, 128), weight)
    assert not cpu_linear._worth_it(torch.empty(2, 32, 32), torch.empty(32, 32))
    assert not cpu_linear._worth_it(torch.empty(64, 128).bfloat16(), weight.bfloat16())


def test_rows_are_filled_up_to_round_numbers(monkeypatch: pytest.MonkeyPatch) -> None:
    """oneDNN keeps a kernel for each shape that it sees."""
    seen, filled = set(), cpu_linear._filled
    monkeypatch.setattr(cpu_linear, "_filled", lambda x, rows: seen.add(rows) or filled(x, rows))
    layer = torch.nn.Linear(128, 128)
    speed_up(layer)
    for rows in range(43, 400):
        layer(torch.randn(rows, 128)).sum().backward()
    assert seen == {64, 128, 192, 256, 320, 384, 448}


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("rows", [1, 16, 27, 63])
def test_the_rows_of_a_decoding_step(rows: int, bias: bool) -> None:
    torch.manual_seed(0)
    plain, quick = (torch.nn.Linear(256, 512, bias=bias) for _ in range(2))
    quick.load_state_dict(plain.state_dict())
    speed_up(quick)
    inputs = torch.randn(rows, 1, 256)
    with torch.no_grad():
        assert cpu_linear._is_decoding(inputs, quick.weight)
        torch.testing.assert_close(quick(inputs), plain(inputs), atol=1e-4, rtol=1e-4)
        assert not cpu_linear._is_decoding(torch.empty(64, 256), quick.weight)
        assert not cpu_linear._is_decoding(inputs, torch.empty(256, 256))
    assert not cpu_linear._is_decoding(inputs, quick.weight)


def test_rounding_by_hand() -> None:
    assert [rounded(n) for n in (1, 64, 65, 128)] == [64, 64, 128, 128]
    assert [rounded(n, rows=8) for n in (1, 8, 9)] == [8, 8, 16]  # 8 rows of 8 are 64
    assert [rounded(n, rows=6) for n in (1, 33)] == [32, 64]  # 6 shares a 2 with 64: lengths come in 32s
    assert [rounded(n, rows=128) for n in (1, 5)] == [1, 5]


def test_large_numbers_of_rows_take_few_values() -> None:
    assert [rounded(n) for n in (1000, 1030, 2050, 5000)] == [1024, 1152, 2304, 5120]  # steps of 64, 128, 256, 512
    assert len({rounded(n) for n in range(1, 65_537)}) < 80
    assert all(n <= rounded(n) <= 1.13 * n for n in range(512, 65_537))


def test_names_and_adapters_stay() -> None:
    model = tiny.causal()
    before = list(model.state_dict())
    speed_up(model)
    assert list(model.state_dict()) == before


def test_a_reward_model_trained_on_it_has_the_weights_of_one_trained_without(monkeypatch: pytest.MonkeyPatch) -> None:
    drawn = torch.Generator().manual_seed(0)
    prompt, *responses = (torch.randint(4, 26, (n,), generator=drawn).tolist() for n in (20, 9, 14, 11))
    better = (PairTarget(0, 1, 1.0, 0.0, 0.5), PairTarget(1, 2, 1.0, 0.0, 0.5))
    examples = [Example(prompt, responses, better, (), (), 1.0, (row,)) for row in range(3)]
    trained, multiplied = [], []
    product = cpu_linear._product
    monkeypatch.setattr(cpu_linear, "_product", lambda x, *rest: multiplied.append(len(x)) or product(x, *rest))
    for least in (2**30, 1):
        monkeypatch.setattr(cpu_linear, "LEAST_WEIGHTS", least)
        model = tiny.scorer().train()
        multiplied.clear()
        config = RewardConfig(learning_rate=1e-3, batch_size=1, micro_batch_size=1)
        fit(model, tiny.tokenizer(), examples, config, NullReporter())
        assert bool(multiplied) == (least == 1)
        trained.append([weight.detach().clone() for weight in model.parameters()])
    for plain, quick in zip(*trained, strict=True):
        torch.testing.assert_close(quick, plain, atol=1e-4, rtol=1e-3)


def test_ppo_on_it_moves_the_weights_as_without(folders: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    moved = []
    for least in (2**30, 1):
        monkeypatch.setattr(cpu_linear, "LEAST_WEIGHTS", least)
        cast, config = small_ppo.cast_of(folders, learning_rate=1e-3, inner_epochs=1)
        policy, critic = small_ppo.learners(cast, config)
        rollout = small_ppo.rollout_of(cast, config)
        metrics = update(cast, policy, critic, rollout, config, torch.Generator().manual_seed(0))
        assert metrics["ratio"] == pytest.approx(1.0, abs=1e-5)
        moved.append([weight.detach().clone() for weight in cast.critic.parameters()])
    for plain, quick in zip(*moved, strict=True):
        torch.testing.assert_close(quick, plain, atol=1e-4, rtol=1e-3)
