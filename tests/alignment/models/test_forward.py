"""Log-probabilities, values and scores: against the model's own full forward pass, and against padding."""

import pytest
import torch
from transformers import GPT2Config, GPT2LMHeadModel

from alignment.data.batch import Sequences, by_length
from alignment.models import forward
from alignment.models.adapters import add_adapters
from alignment.models.micro_batches import in_micro_batches
from alignment.shared.config import LoRAConfig
from alignment.shared.errors import StageError
from tests.support.alignment import tiny

PROMPTS = [[6, 7, 8], [9], [6, 7, 8, 9, 10]]
RESPONSES = [[11, 12, 2], [13, 14, 15, 16], [2]]


@pytest.fixture
def sequences() -> Sequences:
    return Sequences.join(PROMPTS, RESPONSES, [True, False, True], pad_id=1)


def by_hand(model: torch.nn.Module, prompt: list[int], response: list[int], temperature: float) -> list[float]:
    """One sequence, no padding, the whole vocabulary: the plain definition."""
    logits = model(torch.tensor([prompt + response])).logits[0].detach() / temperature
    table = logits.log_softmax(-1)
    return [float(table[len(prompt) - 1 + t, token]) for t, token in enumerate(response)]


@pytest.mark.parametrize("temperature", [1.0, 0.7])
def test_logprobs_are_those_of_each_sequence_alone(sequences: Sequences, temperature: float) -> None:
    model = tiny.causal()
    found = forward.response_logprobs(model, sequences, temperature)
    assert found.shape == (3, 4)
    for row, (prompt, response) in enumerate(zip(PROMPTS, RESPONSES, strict=True)):
        assert found[row, : len(response)].tolist() == pytest.approx(
            by_hand(model, prompt, response, temperature), abs=1e-5
        )
        assert not found[row, len(response) :].any()


def test_log_probabilities_and_their_gradient_are_those_of_cross_entropy() -> None:
    torch.manual_seed(0)
    logits, weights = torch.randn(5, 7, dtype=torch.double), torch.randn(5, dtype=torch.double)
    targets = torch.tensor([0, 6, 3, 3, 1])
    found = []
    for logprobs in (forward._logprob, lambda x, t: -torch.nn.functional.cross_entropy(x, t, reduction="none")[None]):
        given = logits.clone().requires_grad_()
        out = logprobs(given, targets)
        (out[0] * weights).sum().backward()
        found.append((out.detach(), given.grad))
    for ours, theirs in zip(*found, strict=True):
        torch.testing.assert_close(ours, theirs)


def test_chunks_and_micro_batches_change_neither_numbers_nor_gradients(
    sequences: Sequences, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = tiny.causal().train()

    def gradient() -> tuple[torch.Tensor, torch.Tensor]:
        model.zero_grad()
        out = forward.response_logprobs(model, sequences, 0.9)
        out.sum().backward()
        return out.detach(), model.model.embed_tokens.weight.grad.clone()

    plain = gradient()
    monkeypatch.setattr(forward, "LOGIT_CHUNK", 3)  # eight response tokens: three chunks, recomputed
    chunked = gradient()
    for before, after in zip(plain, chunked, strict=True):
        torch.testing.assert_close(before, after, atol=1e-6, rtol=1e-5)
    pieces = in_micro_batches(lambda s: forward.response_logprobs(model, s, 0.9), sequences, 1)
    torch.testing.assert_close(pieces, plain[0], atol=1e-6, rtol=1e-5)


def test_a_value_belongs_to_the_state_before_its_token(sequences: Sequences) -> None:
    critic = tiny.scorer()
    critic.config.score_mean = 0.25
    found = forward.response_values(critic, sequences)
    hidden = critic.model(torch.tensor([PROMPTS[1] + RESPONSES[1]])).last_hidden_state
    expected = critic.score(hidden)[0, 0:4, 0] - 0.25  # states after 1, 2, 3, 4 tokens; never after the last
    torch.testing.assert_close(found[1], expected, atol=1e-5, rtol=1e-5)
    assert not found[2, 1:].any()  # a response of one token has one value


@pytest.mark.parametrize("amount", [0, 1, 7])
def test_the_score_is_read_at_the_last_real_token(amount: int) -> None:
    """Also when that token is one that pads elsewhere (a tokenizer may pad with its stop token)."""
    model = tiny.scorer()
    ids = [6, 7, 8, 1]
    alone = model.score(model.model(torch.tensor([ids])).last_hidden_state)[0, -1, 0]
    found = forward.end_scores(model, torch.tensor([ids + [1] * amount]), torch.tensor([len(ids)]))
    torch.testing.assert_close(found[0], alone, atol=1e-5, rtol=1e-5)


def test_many_rows_are_scored_in_their_order_less_the_stored_mean() -> None:
    model = tiny.scorer()
    rows = [[6, 7], [8, 9, 10, 11, 12], [13]]
    alone = [float(forward.end_scores(model, torch.tensor([r]), torch.tensor([len(r)]))) for r in rows]
    model.config.score_mean = 0.5
    assert forward.score_rows(model, rows, 1, batch_size=2).tolist() == pytest.approx(
        [s - 0.5 for s in alone], abs=1e-5
    )


def test_adapters_are_part_of_the_forward_pass(sequences: Sequences) -> None:
    model = tiny.causal()
    plain = forward.response_logprobs(model, sequences, 1.0)
    adapted = add_adapters(model, LoRAConfig(rank=2), "CAUSAL_LM", seed=0)
    for name, weight in adapted.named_parameters():
        if "lora_B" in name:
            torch.nn.init.ones_(weight)
    assert not torch.allclose(forward.response_logprobs(adapted, sequences, 1.0), plain, atol=1e-3)
    with adapted.disable_adapter():
        torch.testing.assert_close(forward.response_logprobs(adapted, sequences, 1.0), plain, atol=1e-6, rtol=1e-5)


def test_another_architecture_has_its_own_names() -> None:
    config = GPT2Config(vocab_size=26, n_embd=16, n_layer=1, n_head=2, n_positions=32, resid_pdrop=0, embd_pdrop=0)
    torch.manual_seed(0)
    model = GPT2LMHeadModel(config).eval()
    forward.check_head(model, [5, 6, 7])
    sequences = Sequences.join(PROMPTS, RESPONSES, [True] * 3, 1)
    found = forward.response_logprobs(model, sequences, 1.0)
    assert found[1].tolist() == pytest.approx(by_hand(model, PROMPTS[1], RESPONSES[1], 1.0), abs=1e-5)


def test_a_model_that_caps_its_logits_is_refused() -> None:
    model = tiny.causal()
    plain_forward = model.forward

    def capped(*args: object, **kwargs: object) -> object:
        out = plain_forward(*args, **kwargs)
        out.logits = torch.tanh(out.logits * 5) / 5
        return out

    model.forward = capped
    with pytest.raises(StageError, match="changes its logits after the output layer"):
        forward.check_head(model, [5, 6, 7])


def test_joining_refuses_an_empty_response() -> None:
    with pytest.raises(ValueError, match="row 1: 1 prompt and 0 response tokens"):
        Sequences.join([[5], [5]], [[6], []], [True, True], 1)


def test_selecting_rows_drops_padding_only_others_needed(sequences: Sequences) -> None:
    short = sequences.select(torch.tensor([0]))
    assert short.input_ids.tolist() == [PROMPTS[0] + RESPONSES[0]]
    assert short.response_mask.tolist() == [[True] * 3]


def test_groups_by_length_hold_each_row_once_longest_first() -> None:
    groups = [g.tolist() for g in by_length([3, 9, 1, 7, 5], 2)]
    assert groups == [[1, 3], [4, 0], [2]]
