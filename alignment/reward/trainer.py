"""The training loop of a reward model: TRL's RewardTrainer on K-wise batches.

From TRL and accelerate come the loop, accumulation, schedule, logging, checkpoints and several processes.
Ours are the batches (the K responses of a prompt go through the model once, together, instead of once for each
of up to K(K-1)/2 pairs), the losses, and what makes a killed run go on as if nothing had happened.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import torch
from datasets import Dataset
from torch import Tensor
from transformers import PreTrainedTokenizerBase, PrinterCallback
from trl.trainer.reward_config import RewardConfig as TRLRewardConfig
from trl.trainer.reward_trainer import RewardTrainer

from alignment.cpu.linear import speed_up
from alignment.models.forward import Model
from alignment.reward.batch import RankingBatch, StepSampler, collate_rankings
from alignment.reward.examples import Example
from alignment.reward.forward import ranking_forward, width_for_sharing
from alignment.reward.step import batch_loss
from alignment.shared.config import RewardConfig
from alignment.shared.events import Reporter
from alignment.shared.stages import ResumableInputs
from alignment.training.checkpoints import Checkpoints
from alignment.training.trainer import (
    CheckpointCallback,
    ReporterCallback,
    ResumingTrainer,
    common_arguments,
    model_to_train,
    place_to_save,
)


class RankingTrainer(ResumingTrainer, RewardTrainer):
    """TRL's trainer on K-wise batches. `compute_loss` sees a `RankingBatch` as a dict."""

    # Every loss is already divided by the weight of the whole optimizer step, not of one micro-batch.
    loss_is_scaled_for_ga = True

    def __init__(self, settings: RewardConfig, examples: Sequence[Example], width: int | None, **trainer: Any) -> None:
        self.settings, self.examples = settings, examples
        pad_id: int = trainer["processing_class"].pad_token_id
        super().__init__(
            # The loader draws numbers; the examples themselves stay as they are.
            train_dataset=Dataset.from_dict({"example": list(range(len(examples)))}),
            data_collator=lambda rows: collate_rankings(
                [examples[row["example"]] for row in rows], pad_id, width
            ).as_inputs(),
            **trainer,
        )

    def _prepare_dataset(self, dataset: Dataset, *_: Any) -> Dataset:
        return dataset  # encoded and counted by `reward.data.prepare`

    def _set_signature_columns_if_needed(self) -> None:
        self._signature_columns = ["example"]  # type: ignore[assignment]

    def _get_train_sampler(self, *_: Any) -> StepSampler:
        return StepSampler([e.tokens for e in self.examples], self.settings.batch_size, self.settings.seed)

    def _get_num_items_in_batch(self, batch_samples: list[dict[str, Tensor]], device: torch.device) -> Tensor:
        """The weight of this optimizer step's examples, on all processes."""
        return self._everywhere(
            torch.stack([batch["example_weights"].sum() for batch in batch_samples]).sum().to(device)
        )

    def compute_loss(
        self,
        model: torch.nn.Module,
        inputs: dict[str, Tensor | Any],
        return_outputs: bool = False,
        num_items_in_batch: Tensor | int | None = None,
    ) -> Tensor:
        """The loss of the rankings in this micro-batch, as its share of the optimizer step."""
        batch = RankingBatch(**inputs)
        scores: Tensor = model(
            input_ids=batch.input_ids, segments=batch.segments, position_ids=batch.position_ids, ends=batch.ends
        )
        total = batch.example_weights.sum() if num_items_in_batch is None else torch.as_tensor(num_items_in_batch)
        out = batch_loss(scores, batch, self.settings, total.clamp(min=1e-12))
        parts = self.current_gradient_accumulation_steps  # the log averages shares; make them sum
        self._metrics["train"]["accuracy"].append(float(self._everywhere(out.accuracy)) * parts)
        self._metrics["train"]["margin"].append(float(self._everywhere(out.margin)) * parts)
        return cast(Tensor, out.loss * self.accelerator.num_processes)  # whose gradients are averaged

    def _everywhere(self, share: Tensor) -> Tensor:
        """The sum of every process's share."""
        if self.accelerator.num_processes == 1:
            return share
        return torch.as_tensor(self.accelerator.gather(share)).sum()


def fit(
    model: Model,
    tokenizer: PreTrainedTokenizerBase,
    examples: Sequence[Example],
    config: RewardConfig,
    reporter: Reporter,
    checkpoints: Checkpoints | None = None,
) -> dict[str, float]:
    """Train in place; return the last step's loss, accuracy and margin.

    It goes on from the newest of `checkpoints`, and the weights at the end are those of a run that was never stopped.
    """
    checkpoints = checkpoints or Checkpoints("", config, ResumableInputs(), reporter)
    speed_up(model)
    width = width_for_sharing(model, examples, tokenizer.pad_token_id, config.share_prompt)
    with (
        place_to_save(checkpoints) as folder,
        model_to_train(model, config) as trained,
        ranking_forward(trained),
    ):
        trainer = RankingTrainer(
            config,
            examples,
            width,
            model=trained,
            args=TRLRewardConfig(**common_arguments(config, folder), max_length=None),
            processing_class=tokenizer,
            callbacks=[ReporterCallback(reporter, "train"), CheckpointCallback(checkpoints)],
        )
        trainer.checkpoints = checkpoints
        trainer.remove_callback(PrinterCallback)
        steps = trainer.go_on()
    return {f"train_{name}": float(steps[-1][name]) for name in ("loss", "accuracy", "margin")}
