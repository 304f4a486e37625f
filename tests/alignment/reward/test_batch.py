"""A prompt read once gives what K copies give; and the order in which examples come."""

import torch

from alignment.data.batch import pad_right
from alignment.models.adapters import add_adapters
from alignment.models.forward import end_scores
from alignment.reward import forward
from alignment.reward.batch import StepSampler, collate_rankings, pack, sees, sharing_pays
from alignment.reward.examples import Example, PairTarget, Vote
from alignment.reward.step import batch_loss
from alignment.shared.config import LoRAConfig, RewardConfig
from tests.support.alignment import tiny

PAD = 1


def example(prompt: int, *responses: int, weight: float = 1.0) -> Example:
    """Tokens of the given lengths, each response better than the next, none a padding token."""
    generator = torch.Generator().manual_seed(prompt + 10 * sum(responses))

    def tokens(n: int) -> list[int]:
        return torch.randint(4, 26, (n,), generator=generator).tolist()

    pairs = [(i, j) for i in range(len(responses)) for j in range(i + 1, len(responses))]
    made = tuple(PairTarget(i, j, 1.0, 0.0, weight / len(pairs)) for i, j in pairs)
    votes = (Vote(tuple(range(len(responses))), weight),)
    return Example(tokens(prompt), [tokens(n) for n in responses], made, votes, ((0, 1.0, 0.1),), weight, (0,))


EXAMPLES = [example(12, 5, 3, 9), example(7, 4, 4), example(20, 2, 6, 1, 3, weight=0.5)]


def test_a_shared_row_by_hand() -> None:
    """Prompt 5 6, responses 7 and 8 9: each response stands where it would stand alone and sees the prompt."""
    made = Example([5, 6], [[7], [8, 9]], (), (), (), 1.0, (0,))
    packed = pack([made], PAD, share=True)
    assert packed.input_ids.tolist() == [[5, 6, 7, 8, 9]]
    assert packed.position_ids.tolist() == [[0, 1, 2, 2, 3]]
    assert packed.segments.tolist() == [[0, 0, 1, 2, 2]]
    assert packed.ends.tolist() == [2, 4]
    assert sees(packed.segments)[0, 0].int().tolist() == [
        [1, 0, 0, 0, 0],
        [1, 1, 0, 0, 0],
        [1, 1, 1, 0, 0],
        [1, 1, 0, 1, 0],
        [1, 1, 0, 1, 1],
    ]


def test_a_batch_keeps_a_prompts_responses_together() -> None:
    batch = collate_rankings(EXAMPLES, PAD)
    assert batch.input_ids.shape == (9, 26)
    pairs = list(zip(batch.better.tolist(), batch.worse.tolist(), strict=True))
    assert pairs == [(0, 1), (0, 2), (1, 2), (3, 4), (5, 6), (5, 7), (5, 8), (6, 7), (6, 8), (7, 8)]
    torch.testing.assert_close(batch.weights.sum(), torch.tensor(2.5))
    assert batch.members.tolist() == [[0, 1, 2, 0], [3, 4, 0, 0], [5, 6, 7, 8]]
    assert batch.ranks.tolist() == [[0, 1, 2, -1], [0, 1, -1, -1], [0, 1, 2, 3]]
    assert batch.label_rows.tolist() == [0, 3, 5]


def test_sharing_changes_no_score_and_no_gradient() -> None:
    """Against the model's own forward pass on every response alone, without any padding."""
    model = tiny.scorer()
    alone = torch.cat([model(torch.tensor([ids])).logits.flatten() for e in EXAMPLES for ids in e.sequences])
    weights = torch.randn(9, generator=torch.Generator().manual_seed(1))
    (alone * weights).sum().backward()
    expected = {name: p.grad.clone() for name, p in model.named_parameters()}
    for share in (False, True):
        model.zero_grad()
        scores = forward.packed_scores(model, pack(EXAMPLES, PAD, share=share))
        torch.testing.assert_close(scores, alone, atol=1e-5, rtol=1e-4)
        (scores * weights).sum().backward()
        for name, p in model.named_parameters():
            torch.testing.assert_close(p.grad, expected[name], atol=1e-4, rtol=1e-3)


def test_padded_rows_give_the_packed_scores() -> None:
    model = tiny.scorer()
    rows = [ids for e in EXAMPLES for ids in e.sequences]
    packed = forward.packed_scores(model, pack(EXAMPLES, PAD, share=True))
    lengths = torch.tensor([len(row) for row in rows])
    torch.testing.assert_close(end_scores(model, pad_right(rows, PAD), lengths), packed, atol=1e-5, rtol=1e-4)


def test_the_loss_does_not_know_how_a_batch_is_cut_or_packed() -> None:
    model = tiny.scorer()
    for settings in ({}, {"loss": "plackett_luce", "ties": "soft"}):
        config = RewardConfig(**settings)
        total = 2.5
        losses = []
        for parts in ([EXAMPLES], [[e] for e in EXAMPLES], [EXAMPLES[1:], EXAMPLES[:1]]):
            for width in (None, 1024):
                batches = [collate_rankings(part, PAD, width) for part in parts]
                scored = [(forward.packed_scores(model, b), b) for b in batches]
                losses.append(sum(float(batch_loss(s, b, config, total).loss.detach()) for s, b in scored))
        assert max(losses) - min(losses) < 1e-6


def test_the_trainers_model_call_is_the_same_under_adapters_and_without() -> None:
    batch = collate_rankings(EXAMPLES, PAD, 1024)
    call = {name: getattr(batch, name) for name in ("input_ids", "segments", "position_ids", "ends")}
    plain = tiny.scorer()
    for model in (plain, add_adapters(tiny.scorer(), LoRAConfig(rank=2), "SEQ_CLS", 0)):
        expected = forward.packed_scores(model, batch)
        with forward.ranking_forward(model):
            torch.testing.assert_close(model(**call), expected)
    assert plain(batch.input_ids[:, :5]).logits.shape == (3, 1)  # its own forward pass is back


def test_sharing_is_tried_out_before_it_is_used() -> None:
    """Eager attention adds a mask instead of choosing by it: such a model reads each response alone."""
    assert forward.can_share(tiny.scorer(), EXAMPLES, PAD)
    assert not forward.can_share(tiny.scorer(attn_implementation="eager"), EXAMPLES, PAD)
    broken = tiny.scorer()
    broken.base_model.register_forward_pre_hook(_drop_mask, with_kwargs=True)
    assert not forward.can_share(broken, EXAMPLES, PAD)


def _drop_mask(module: object, args: tuple[()], kwargs: dict[str, object]) -> tuple[tuple[()], dict[str, object]]:
    return args, kwargs | {"attention_mask": None}


def test_sharing_pays_for_long_prompts_and_not_for_long_responses_of_a_narrow_model() -> None:
    assert sharing_pays([example(40, 5, 5, 5)], 32)
    assert not sharing_pays([example(2, 400, 400, 400)], 32)
    assert sharing_pays([example(200, 400, 400, 400)], 4096)


def test_a_step_holds_like_lengths_and_an_epoch_each_example_once() -> None:
    lengths = torch.randint(10, 500, (83,), generator=torch.Generator().manual_seed(0)).tolist()
    sampler = StepSampler(lengths, 8, seed=5)
    first, again = list(sampler), list(sampler)
    assert first == again
    assert sorted(first) == list(range(83))
    sampler.set_epoch(1)
    assert list(sampler) != first
    spans = [max(part) - min(part) for part in ([lengths[i] for i in first[s : s + 8]] for s in range(0, 80, 8))]
    shuffled = [max(part) - min(part) for part in (lengths[s : s + 8] for s in range(0, 80, 8))]
    assert sum(spans) < 0.3 * sum(shuffled)
