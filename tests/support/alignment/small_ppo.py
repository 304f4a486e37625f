"""PPO on models of a few thousand weights: settings, folders, a cast, a rollout."""

from dataclasses import dataclass
from pathlib import Path

import torch

from alignment.data.batch import Rollout, Sequences
from alignment.models.load import load_scorer, save_adapter
from alignment.ppo import roles
from alignment.ppo.learner import Learner
from alignment.shared import stages
from alignment.shared.config import LoRAConfig, PPOConfig, RLOOConfig
from alignment.shared.events import NullReporter
from alignment.shared.records import Prompt, write_jsonl
from alignment.shared.sentence import Sentence
from tests.support.alignment import tiny

SETTINGS = {
    "learning_rate": 5e-3,
    "batch_size": 32,
    "micro_batch_size": 16,
    "updates": 12,
    "evaluate_every": 4,
    "evaluate_replies": 64,
    "max_response_length": 8,
    "max_length": 64,
    "heldout_fraction": 0.3,
    "kl_coef": 0.01,
}
PROMPTS = [Prompt.from_text(f"w{i} w{j}") for i in range(8) for j in range(8)]
FAVOURITE = tiny.tokenizer().convert_tokens_to_ids("w3")


def favouring(word: int) -> torch.nn.Module:
    """A reward model, by construction: with all layers off, the score is the share of the last token's embedding.

    The last token is the stop, so attention must carry the favourite there: the value path sums, over
    all tokens, a dimension that only the favourite's embedding has.
    """
    model = tiny.scorer(num_hidden_layers=1, num_attention_heads=1, num_key_value_heads=1)
    with torch.no_grad():
        for weight in model.parameters():
            weight.zero_()
        embeddings = model.model.embed_tokens.weight
        embeddings[:, 0] = 1.0  # keeps the norm's scale about constant
        embeddings[word, 1] = 1.0
        layer = model.model.layers[0]
        for norm in (layer.input_layernorm, layer.post_attention_layernorm, model.model.norm):
            norm.weight.fill_(1.0)
        layer.self_attn.v_proj.weight[2, 1] = 1.0  # queries and keys are 0: attention is the mean over tokens
        layer.self_attn.o_proj.weight[2, 2] = 1.0
        model.score.weight[0, 2] = 2.0
    return model


class EvaluationRecorder(NullReporter):
    def __init__(self) -> None:
        self.notes: list[str] = []
        self.steps: list[dict[str, float]] = []
        self.texts: list[dict[str, object]] = []
        self.evaluations: list[tuple[int, list[dict[str, object]]]] = []

    def note(self, message: Sentence, *, level: str = "info") -> None:
        self.notes.append(message)

    def progress(self, progress) -> None:  # type: ignore[no-untyped-def]
        self.steps.append(dict(progress.metrics))

    def samples(self, step: int, rows) -> None:  # type: ignore[no-untyped-def]
        self.texts += rows

    def evaluation(self, update: int, rows) -> None:  # type: ignore[no-untyped-def]
        self.evaluations.append((update, list(rows)))


def inputs_of(folder: Path) -> dict[str, Path]:
    return {"model": folder / "sft", "reward_model": folder / "reward", "prompts": folder / "prompts.jsonl"}


def run(folder: Path, reporter: NullReporter | None = None, **settings: object) -> stages.StageResult:
    return stages.run(
        stages.Stage.PPO, SETTINGS | settings, inputs_of(folder), folder / "out", reporter or NullReporter()
    )


@dataclass(frozen=True)
class Finished:
    """A run that is over."""

    folder: Path
    reported: EvaluationRecorder
    result: stages.StageResult


def finish(folder: Path, **settings: object) -> Finished:
    reported = EvaluationRecorder()
    return Finished(folder, reported, run(folder, reported, **settings))


def cast_of(folder: Path, **settings: object) -> tuple[roles.ActorCritic, PPOConfig]:
    config = PPOConfig.model_validate(SETTINGS | settings)
    return roles.load_roles(config, stages.PPOInputs.model_validate(inputs_of(folder))), config


def replies(cast: roles.Roles, config: PPOConfig | RLOOConfig) -> Sequences:
    generator = torch.Generator().manual_seed(0)
    prompts = [[3, 10, 11], [4, 12], [3, 13, 14, 15]] * (config.batch_size // 3 + 1)
    return roles.reply(cast, prompts[: config.batch_size], config, generator).sequences


def rollout_of(cast: roles.ActorCritic, config: PPOConfig) -> Rollout:
    return roles.record(cast, replies(cast, config), config)


def learners(cast: roles.ActorCritic, config: PPOConfig) -> tuple[Learner, Learner]:
    return Learner.of(cast.policy, config.learning_rate, config), Learner.of(cast.critic, config.learning_rate, config)


def judge_on_base(folder: Path) -> Path:
    """The reward model is adapters on the policy's base; the whole one lies beside, as `whole`."""
    tokenizer = tiny.tokenizer()
    model = load_scorer(folder / "sft", tokenizer, trained=True, light=LoRAConfig(rank=2), seed=3)
    torch.manual_seed(2)
    for name, weight in model.named_parameters():
        if "lora_B" in name:
            weight.data.normal_(std=0.05)
    model.config.score_mean = 0.25
    save_adapter(model, tokenizer, folder / "adapters", str(folder / "sft"))
    (folder / "reward").rename(folder / "whole")
    (folder / "adapters").rename(folder / "reward")
    return folder


def write(folder: Path) -> Path:
    """Policy, reward model and prompts."""
    tiny.save(tiny.causal(), folder / "sft")
    tiny.save(favouring(FAVOURITE), folder / "reward")
    write_jsonl(folder / "prompts.jsonl", PROMPTS)
    return folder
