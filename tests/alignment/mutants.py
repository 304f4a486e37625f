"""Does a test fail when a formula is broken? Thirty-odd formulas, each broken in a copy of the project.

    python -m tests.alignment.mutants [NAME ...]

Prints a line for each and ends with 1 if one survives. Too slow for the test suite: about five seconds each.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[2]


class Mutant(NamedTuple):
    """One line of source, broken."""

    name: str
    file: str  # below alignment/
    right: str  # stands once in the file
    wrong: str
    tests: tuple[str, ...]  # files below tests/alignment/ of which one test must fail


MUTANTS = (
    Mutant(
        "what a reply tells of its prompt",
        "ppo/evaluation.py",
        "own - among.logsumexp(dim=0)",
        "own - among.mean(dim=0)",
        ("ppo/test_evaluation.py",),
    ),
    Mutant(
        "when replies tell too little",
        "ppo/evaluation.py",
        "change < -SURE * error",
        "change < SURE * error",
        ("ppo/test_evaluation.py",),
    ),
    Mutant(
        "replies to one prompt as independent",
        "ppo/evaluation.py",
        "values.view(-1, self.prompts).mean(dim=0)",
        "values",
        ("ppo/test_evaluation.py",),
    ),
    Mutant(
        "masked mean",
        "maths/advantages.py",
        "total = torch.where(mask, x, 0.0).sum()",
        "total = x.sum()",
        ("maths/test_advantages.py",),
    ),
    Mutant(
        "unbiased variance",
        "maths/advantages.py",
        "(count - 1).clamp(min=1)",
        "count.clamp(min=1)",
        ("maths/test_advantages.py",),
    ),
    Mutant(
        "whitening", "maths/advantages.py", "centred = (x - mean) *", "centred = x *", ("maths/test_advantages.py",)
    ),
    Mutant(
        "k1's sign",
        "maths/advantages.py",
        "log_ratio = logprobs - ref_logprobs",
        "log_ratio = ref_logprobs - logprobs",
        ("maths/test_advantages.py",),
    ),
    Mutant(
        "k2's half",
        "maths/advantages.py",
        "return 0.5 * log_ratio**2",
        "return log_ratio**2",
        ("maths/test_advantages.py",),
    ),
    Mutant(
        "k3",
        "maths/advantages.py",
        "reverse.exp() - 1.0 - reverse",
        "reverse.exp() - 1.0 + reverse",
        ("maths/test_advantages.py",),
    ),
    Mutant(
        "the price of the KL",
        "maths/advantages.py",
        "torch.where(mask, -kl_coef * kl, 0.0)",
        "torch.where(mask, kl_coef * kl, 0.0)",
        ("maths/test_advantages.py",),
    ),
    Mutant(
        "where the score lands",
        "maths/advantages.py",
        "last = torch.where(mask, positions, -1).argmax",
        "last = torch.where(mask, positions, -1).argmin",
        ("maths/test_advantages.py",),
    ),
    Mutant(
        "where a token stands behind padding on the left, on a fixed cache",
        "rollout/fixed_decoding.py",
        "self.mask[:size, :length], self.places[:size] = mask, places[:, -1:]",
        "self.mask[:size, :length], self.places[:size] = mask, length - 1",
        ("rollout/test_fixed_decoding.py",),
    ),
    Mutant(
        "which rows go on when steps become narrow",
        "rollout/fixed_decoding.py",
        "argsort(descending=True, stable=True)",
        "argsort(descending=False, stable=True)",
        ("rollout/test_fixed_decoding.py",),
    ),
    Mutant(
        "the cap of importance weights",
        "maths/losses.py",
        ".exp().clamp(max=cap)",
        ".exp()",
        ("rollout/test_engines.py",),
    ),
    Mutant(
        "which way importance weights go",
        "maths/losses.py",
        "torch.where(mask, logprobs - sampled_logprobs, 0.0).exp()",
        "torch.where(mask, sampled_logprobs - logprobs, 0.0).exp()",
        ("rollout/test_engines.py",),
    ),
    Mutant(
        "packed sequences see only themselves",
        "cpu/packing.py",
        "row_lengths=[*rows, spare] if spare else rows,",
        "row_lengths=[sum(rows) + spare],",
        ("cpu/test_packing.py",),
    ),
    Mutant(
        "GAE's error",
        "maths/advantages.py",
        "delta = rewards[:, t] + gamma * next_value - values[:, t]",
        "delta = rewards[:, t] + next_value - values[:, t]",
        ("maths/test_advantages.py",),
    ),
    Mutant(
        "GAE's decay",
        "maths/advantages.py",
        "delta + gamma * gae_lambda * next_advantage",
        "delta + gae_lambda * next_advantage",
        ("maths/test_advantages.py",),
    ),
    Mutant(
        "returns",
        "maths/advantages.py",
        "torch.where(mask, advantages + values, 0.0)",
        "torch.where(mask, advantages, 0.0)",
        ("maths/test_advantages.py",),
    ),
    Mutant(
        "leave one out",
        "maths/advantages.py",
        "- groups) / (k - 1)",
        "- groups) / k",
        ("ppo/baselines/test_baselines.py",),
    ),
    Mutant(
        "clipped surrogate",
        "maths/losses.py",
        "each = torch.maximum(plain, clipped)",
        "each = torch.minimum(plain, clipped)",
        ("maths/test_losses.py",),
    ),
    Mutant(
        "the ratio's clip",
        "maths/losses.py",
        "ratio.clamp(1.0 - clip_range, 1.0 + (clip_range_high or clip_range))",
        "ratio.clamp(1.0, 1.0 + (clip_range_high or clip_range))",
        ("maths/test_losses.py",),
    ),
    Mutant(
        "clipped values",
        "maths/losses.py",
        "0.5 * masked_mean(torch.maximum(plain, clipped), mask, denominator)",
        "0.5 * masked_mean(clipped, mask, denominator)",
        ("maths/test_losses.py",),
    ),
    Mutant(
        "straight-through",
        "maths/losses.py",
        "value = right + (value - right).detach()",
        "value = right.detach() + (value - right)",
        ("ppo/test_settings.py",),
    ),
    Mutant(
        "temperature",
        "models/forward.py",
        "logits if temperature == 1.0 else logits / temperature",
        "logits",
        ("models/test_forward.py", "rollout/test_generation.py", "ppo/test_learning.py"),
    ),
    Mutant(
        "the state before the token",
        "models/forward.py",
        "return hidden[starts[:, None] + sequences.positions() - 1]",
        "return hidden[starts[:, None] + sequences.positions()]",
        ("models/test_forward.py",),
    ),
    Mutant(
        "the reward model's mean",
        "models/forward.py",
        "return scores - score_mean(reward_model)",
        "return scores",
        ("models/test_forward.py",),
    ),
    Mutant(
        "the gradient of a log-probability",
        "models/forward.py",
        "logs.exp_().mul_(-grad[:, None])",
        "logs.exp_().mul_(grad[:, None])",
        ("models/test_forward.py",),
    ),
    Mutant(
        "the other lane's gradients",
        "models/micro_batches.py",
        "weight.grad.add_(gradient)",
        "weight.grad",
        ("models/test_micro_batches.py",),
    ),
    Mutant(
        "a product's gradient",
        "cpu/linear.py",
        "_product(filled.T, _filled(input, rows).T, None, filled.shape[1])",
        "_product(filled.T, _filled(input, rows).T, None, filled.shape[1]) / 2",
        ("cpu/test_linear.py",),
    ),
    Mutant(
        "entropy",
        "models/forward.py",
        "-(logs.exp() * logs).sum(dim=1)",
        "(logs.exp() * logs).sum(dim=1)",
        ("ppo/test_learning.py",),
    ),
    Mutant(
        "missing stop",
        "ppo/score_shaping.py",
        "torch.where(sequences.finished, scores, config.missing_eos_score)",
        "torch.where(sequences.finished, config.missing_eos_score, scores)",
        ("ppo/test_score_shaping.py",),
    ),
    Mutant(
        "score scale",
        "ppo/score_shaping.py",
        "scores = (raw - mean) / std",
        "scores = raw / std - mean",
        ("ppo/test_score_shaping.py",),
    ),
    Mutant(
        "adaptive coefficient",
        "ppo/controllers.py",
        "kl / self.target - 1.0",
        "1.0 - kl / self.target",
        ("ppo/test_controllers.py",),
    ),
    Mutant(
        "the average's decay",
        "ppo/learner.py",
        "lerp_(weight, 1.0 - self.decay)",
        "lerp_(weight, self.decay)",
        ("ppo/test_controllers.py",),
    ),
    Mutant(
        "the tokens of the whole step",
        "ppo/update.py",
        "tokens = rollout.mask[rows].sum()",
        "tokens = rollout.mask[rows].sum() / config.micro_batch_size",
        ("ppo/test_stage.py", "ppo/test_oracle_numpy.py"),
    ),
    Mutant(
        "Adam's epsilon",
        "ppo/learner.py",
        "eps=config.adam_epsilon",
        "eps=1e-8",
        ("ppo/test_learning.py", "ppo/test_oracle_numpy.py"),
    ),
    Mutant(
        "linear decay",
        "ppo/learner.py",
        "left = max(0.0, 1.0 - update / updates)",
        "left = 1.0",
        ("ppo/test_stage.py",),
    ),
    Mutant(
        "the weight of the mix",
        "ppo/ptx.py",
        "(coef * loss).backward()",
        "loss.backward()",
        ("ppo/test_learning.py",),
    ),
    Mutant(
        "the rule beyond the noise",
        "ppo/evaluation.py",
        "return within and gain > error",
        "return within and gain > 0",
        ("ppo/test_evaluation.py",),
    ),
)


def lost(mutant: Mutant) -> str | None:
    """Why it cannot be tried: its line or its tests are not where it says; None: it can."""
    times = (ROOT / "alignment" / mutant.file).read_text().count(mutant.right)
    if times != 1:
        return f"{mutant.name}: the line stands {times} times in {mutant.file}: {mutant.right}"
    gone = [name for name in mutant.tests if not (ROOT / "tests" / "alignment" / name).is_file()]
    return f"{mutant.name}: there is no {', '.join(gone)} any more" if gone else None


def survives(mutant: Mutant, copy: Path) -> bool:
    """Break the line in the copy, run its tests, mend it again; True where all of them pass."""
    if fault := lost(mutant):
        raise SystemExit(fault)
    file = copy / "alignment" / mutant.file
    source = file.read_text()
    file.write_text(source.replace(mutant.right, mutant.wrong))
    command = [sys.executable, "-m", "pytest", "-x", "-m", "", *(f"tests/alignment/{name}" for name in mutant.tests)]
    found = subprocess.run(
        command, cwd=copy, env={**os.environ, "PYTHONPATH": str(copy)}, capture_output=True, text=True, check=False
    )
    file.write_text(source)
    if found.returncode not in (0, 1):
        raise SystemExit(f"{mutant.name}: the tests could not run\n{found.stdout[-2000:]}")
    return found.returncode == 0


def main() -> int:
    chosen = [mutant for mutant in MUTANTS if not sys.argv[1:] or mutant.name in sys.argv[1:]]
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder)
        for name in ("alignment", "annotation_api", "workers", "tests"):
            shutil.copytree(ROOT / name, copy / name, ignore=shutil.ignore_patterns("__pycache__"))
        shutil.copy(ROOT / "pyproject.toml", copy)
        alive = [mutant for mutant in chosen if _said(mutant, survives(mutant, copy))]
    print(f"{len(chosen) - len(alive)} of {len(chosen)} broken formulas fail a test")
    return 1 if alive else 0


def _said(mutant: Mutant, alive: bool) -> bool:
    print(f"{'SURVIVES' if alive else 'fails'}: {mutant.name} ({mutant.file})", flush=True)
    return alive


if __name__ == "__main__":
    sys.exit(main())
