"""PPO for language models once more, from the papers, in numpy and float64: the second oracle.

Nothing is shared with the project: loops over rows and tokens where those have tensors, gradients by hand where those
have autograd. The model has one layer: token t says tanh(E[t] M); a head on it is the next token's logits (policy) or
the value of the state (critic), so that everything of PPO but attention is in it.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Weights = dict[str, Array]  # embedding (V, H), mix (H, H), head (V or 1, H)


@dataclass(frozen=True)
class Settings:
    learning_rate: float
    updates: int
    warmup: float
    kl_coef: float
    clip: float
    value_clip: float | None
    vf_coef: float
    entropy_coef: float
    gamma: float
    lam: float
    temperature: float
    max_norm: float
    weight_decay: float
    betas: tuple[float, float]
    epsilon: float
    estimator: str  # k1 or k3, in the reward; k2: as a loss
    whiten_rewards: bool
    missing: str  # replace or subtract
    missing_value: float
    score_std: float


@dataclass
class Adam:
    """Kingma & Ba 2015 with the decoupled decay of Loshchilov & Hutter 2019; epsilon beside the corrected root."""

    settings: Settings
    steps: int = 0
    first: Weights = field(default_factory=dict)
    second: Weights = field(default_factory=dict)

    def step(self, weights: Weights, gradient: Weights, rate: float) -> None:
        norm = np.sqrt(sum((g**2).sum() for g in gradient.values()))
        shrink = min(1.0, self.settings.max_norm / (norm + 1e-6))
        self.steps += 1
        b1, b2 = self.settings.betas
        for name, g in gradient.items():
            g = g * shrink
            self.first[name] = b1 * self.first.get(name, np.zeros_like(g)) + (1 - b1) * g
            self.second[name] = b2 * self.second.get(name, np.zeros_like(g)) + (1 - b2) * g * g
            mean, square = self.first[name] / (1 - b1**self.steps), self.second[name] / (1 - b2**self.steps)
            weights[name] *= 1 - rate * self.settings.weight_decay
            weights[name] -= rate * mean / (np.sqrt(square) + self.settings.epsilon)


@dataclass(frozen=True)
class Episode:
    prompt: list[int]
    response: list[int]
    finished: bool

    def states(self) -> list[int]:
        """The token before each response token."""
        return [self.prompt[-1], *self.response[:-1]]


def says(weights: Weights, tokens: list[int]) -> Array:
    """(N, H)."""
    return np.tanh(weights["embedding"][tokens] @ weights["mix"])


def log_softmax(logits: Array) -> Array:
    top = logits.max(axis=1, keepdims=True)
    return logits - top - np.log(np.exp(logits - top).sum(axis=1, keepdims=True))


def logprobs_of(policy: Weights, episode: Episode, temperature: float) -> Array:
    logs = log_softmax(says(policy, episode.states()) @ policy["head"].T / temperature)
    return np.array([logs[t, token] for t, token in enumerate(episode.response)])


def values_of(critic: Weights, episode: Episode) -> Array:
    return (says(critic, episode.states()) @ critic["head"].T)[:, 0]


def score_of(reward_model: Weights, episode: Episode, settings: Settings) -> float:
    last = says(reward_model, [episode.response[-1]])
    score = float((last @ reward_model["head"].T)[0, 0]) / settings.score_std
    if episode.finished:
        return score
    return settings.missing_value if settings.missing == "replace" else score - settings.missing_value


def rewards_of(score: float, logprobs: Array, reference: Array, settings: Settings) -> Array:
    log_ratio = logprobs - reference
    kl = {"k1": log_ratio, "k2": 0.0 * log_ratio, "k3": np.exp(-log_ratio) - 1 + log_ratio}[settings.estimator]
    rewards = -settings.kl_coef * kl
    rewards[-1] += score
    return np.array(rewards)


def whitened(rows: list[Array], keep_mean: bool) -> list[Array]:
    flat = np.concatenate(rows)
    mean, scale = flat.mean(), 1 / np.sqrt(flat.var(ddof=1) + 1e-8)
    return [(row - mean) * scale + (mean if keep_mean else 0.0) for row in rows]


def advantages_of(rewards: Array, values: Array, settings: Settings) -> Array:
    """GAE as a sum: sum over l of (gamma lambda)^l delta (Schulman et al. 2016, eq. 16)."""
    ahead = [*values[1:], 0.0]
    deltas = [r + settings.gamma * n - v for r, n, v in zip(rewards, ahead, values, strict=True)]
    decay = settings.gamma * settings.lam
    return np.array([sum(decay**i * d for i, d in enumerate(deltas[t:])) for t in range(len(deltas))])


def back(weights: Weights, tokens: list[int], head_gradient: Array, gradient: Weights) -> None:
    """Add the gradient of all weights, given that of the head's output (N, V or 1)."""
    hidden = says(weights, tokens)
    gradient["head"] += head_gradient.T @ hidden
    inner = (head_gradient @ weights["head"]) * (1 - hidden**2)
    gradient["mix"] += weights["embedding"][tokens].T @ inner
    for token, row in zip(tokens, inner @ weights["mix"].T, strict=True):
        gradient["embedding"][token] += row


@dataclass
class Trainer:
    """Policy and critic through updates; `losses` has policy and value loss of each step."""

    policy: Weights
    reference: Weights
    reward_model: Weights
    critic: Weights
    settings: Settings
    losses: list[tuple[float, float]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.adams = {"policy": Adam(self.settings), "critic": Adam(self.settings)}

    def rollout(self, episodes: list[Episode]) -> dict[str, list[Array]]:
        """Everything that is fixed during an update, one array a row."""
        s = self.settings
        old = [logprobs_of(self.policy, e, s.temperature) for e in episodes]
        reference = [logprobs_of(self.reference, e, s.temperature) for e in episodes]
        values = [values_of(self.critic, e) for e in episodes]
        scores = [score_of(self.reward_model, e, s) for e in episodes]
        rewards = [rewards_of(x, o, r, s) for x, o, r in zip(scores, old, reference, strict=True)]
        if s.whiten_rewards:
            rewards = whitened(rewards, keep_mean=True)
        plain = [advantages_of(r, v, s) for r, v in zip(rewards, values, strict=True)]
        return {
            "old_logprobs": old,
            "ref_logprobs": reference,
            "values": values,
            "scores": [np.array([x]) for x in scores],
            "kl": [o - r for o, r in zip(old, reference, strict=True)],
            "rewards": rewards,
            "returns": [a + v for a, v in zip(plain, values, strict=True)],
            "advantages": whitened(plain, keep_mean=False),
        }

    def update(self, episodes: list[Episode], batches: list[list[int]], number: int) -> None:
        """One step for each batch of row numbers; `number` counts updates from 0."""
        fixed = self.rollout(episodes)
        rise = min(1.0, (number + 1) / self.settings.warmup) if self.settings.warmup >= 1 else 1.0
        rate = self.settings.learning_rate * rise * (1 - number / self.settings.updates)
        for rows in batches:
            gradients = {n: {k: np.zeros_like(w) for k, w in getattr(self, n).items()} for n in self.adams}
            tokens = sum(len(episodes[i].response) for i in rows)
            acted = sum(self.act(episodes[i], fixed, i, tokens, gradients["policy"]) for i in rows)
            judged = sum(self.judge(episodes[i], fixed, i, tokens, gradients["critic"]) for i in rows)
            self.losses.append((acted, judged))
            for name, adam in self.adams.items():
                adam.step(getattr(self, name), gradients[name], rate)

    def act(self, e: Episode, fixed: dict[str, list[Array]], i: int, tokens: int, gradient: Weights) -> float:
        s = self.settings
        logs = log_softmax(says(self.policy, e.states()) @ self.policy["head"].T / s.temperature)
        total, outward = 0.0, np.zeros_like(logs)
        for t, token in enumerate(e.response):
            advantage, ratio = fixed["advantages"][i][t], np.exp(logs[t, token] - fixed["old_logprobs"][i][t])
            bounded = min(max(ratio, 1 - s.clip), 1 + s.clip)
            total += max(-advantage * ratio, -advantage * bounded) / tokens
            moves = ratio == bounded or -advantage * ratio > -advantage * bounded
            slope = -advantage * ratio if moves else 0.0
            if s.estimator == "k2":
                slope += s.kl_coef * (logs[t, token] - fixed["ref_logprobs"][i][t])
            shares = np.exp(logs[t])
            outward[t] = slope * ((np.arange(len(shares)) == token) - shares)
            entropy = -(shares * logs[t]).sum()
            outward[t] += s.entropy_coef * shares * (logs[t] + entropy)
        back(self.policy, e.states(), outward / tokens / s.temperature, gradient)
        return total

    def judge(self, e: Episode, fixed: dict[str, list[Array]], i: int, tokens: int, gradient: Weights) -> float:
        s, values = self.settings, values_of(self.critic, e)
        total, outward = 0.0, np.zeros((len(values), 1))
        for t, value in enumerate(values):
            old, goal = fixed["values"][i][t], fixed["returns"][i][t]
            near = value if s.value_clip is None else old + min(max(value - old, -s.value_clip), s.value_clip)
            total += 0.5 * max((value - goal) ** 2, (near - goal) ** 2) / tokens
            moves = near == value or abs(value - old) <= s.value_clip or (value - goal) ** 2 > (near - goal) ** 2
            outward[t, 0] = s.vf_coef * (value - goal) if moves else 0.0
        back(self.critic, e.states(), outward / tokens, gradient)
        return total
