"""Stage 1: a language model learns from demonstrations, on TRL's SFTTrainer.

The loss falls on the response and its stop token, nowhere else. Demonstrations that do not fit are
left out, counted and named: cutting one would train a response that never stops.

    python -m alignment sft config.toml
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import torch
from accelerate.utils import is_peft_model
from datasets import Dataset
from transformers import PreTrainedTokenizerBase, PrinterCallback
from trl.trainer.sft_config import SFTConfig as TrainerConfig
from trl.trainer.sft_trainer import SFTTrainer
from trl.trainer.utils import add_fused_lm_head

from alignment.cpu.tiles import use_small_tiles
from alignment.data import chat
from alignment.data.mixture import by_source, mixed
from alignment.data.screening import screen, shown_as
from alignment.data.stops import turn_end
from alignment.models.device import pick_device
from alignment.models.load import context_length, load_causal_lm, load_tokenizer, save_adapter, save_model, saved_type
from alignment.shared.config import SFTConfig, Stage
from alignment.shared.errors import BadInput
from alignment.shared.events import Reporter, StageResult
from alignment.shared.records import NO_SOURCE, Demonstration, read_jsonl
from alignment.shared.sentence import Sentence, counted
from alignment.shared.stages import SFTInputs
from alignment.training.checkpoints import Checkpoints
from alignment.training.packed import require_packing
from alignment.training.trainer import (
    CheckpointCallback,
    ReporterCallback,
    ResumingTrainer,
    common_arguments,
    load_to_train,
    model_to_train,
    place_to_save,
    writes,
)

if TYPE_CHECKING:
    from peft import PeftModel

IGNORED = -100  # the label that no loss falls on


def train(config: SFTConfig, inputs: SFTInputs, out_dir: Path, reporter: Reporter) -> StageResult:
    """Tune `inputs.model` on the demonstrations and save it into `out_dir`.

    Raises BadInput for unusable data or model, Cancelled at a step border; Paused there when asked.
    """
    torch.manual_seed(config.seed)  # a padding token's new row is drawn
    demonstrations = _read(inputs.demonstrations)
    tokenizer = load_tokenizer(inputs.model)
    if not chat.has_template(tokenizer):
        chat.install_template(tokenizer)
        english = "The tokenizer has no chat template; the project's own was installed and is saved with the model."
        reporter.note(Sentence("template-installed", english))
    more: dict[str, Any] = {
        "trained": True,
        "dropout": True if config.dropout is None else config.dropout,
        "light": config.light,
        "seed": config.seed,
    }
    model = load_to_train(lambda device: load_causal_lm(inputs.model, tokenizer, device=device, **more), config)
    limit = min(config.max_length, context_length(model) or config.max_length)
    screened = screen(tokenizer, [(row.prompt, [row.reply]) for row in demonstrations], config.template_refusals)
    screened.note(Sentence("screened-demonstrations", "demonstrations"), reporter)
    read = [shown_as(d, p) for d, p in zip(demonstrations, screened.prompts, strict=True) if p]
    learnt = mixed(read, config.source_weights, config.source_cap, config.seed)
    rows, too_long = encode_rows(tokenizer, learnt, limit, config.train_on)
    counts = {"demonstrations": len(demonstrations), "used": len(rows), "too_long": too_long, **screened.counts()}
    sources = {name: [count, by_source(learnt).get(name, 0)] for name, count in by_source(read).items()}
    _report(counts, limit, reporter)
    if config.packing and writes():  # where each has a share, the first has the whole
        require_packing(model)
    checkpoints = Checkpoints.of(Stage.SFT, config, inputs, reporter)
    curve = _fit(model, tokenizer, rows, config, checkpoints)
    if writes():
        if config.save_adapter:
            save_adapter(cast("PeftModel", model), tokenizer, out_dir, str(inputs.model.resolve()))
        else:
            save_model(model, tokenizer, out_dir, saved_type(config.save_dtype, inputs.model))
    metrics = {"loss": curve[-1]["loss"], "first_loss": curve[0]["loss"], "used": float(len(rows))}
    told = {"sources": sources} if set(sources) != {NO_SOURCE} else {}  # of each: given, learnt in a pass
    return StageResult("sft", metrics, {"counts": counts, "max_length": limit, "curve": curve, **told})


def encode_rows(
    tokenizer: PreTrainedTokenizerBase, demonstrations: list[Demonstration], limit: int, train_on: str = "last_turn"
) -> tuple[list[dict[str, list[int]]], int]:
    """Token ids and labels of what fits into `limit` tokens, and the number that does not."""
    rows = []
    for item in demonstrations:
        earlier = train_on == "assistant_turns"
        encoded = chat.encode(tokenizer, item.prompt, item.reply, earlier_turns=earlier, but=item.not_learnt)
        if len(encoded.ids) <= limit:
            labels = [i if counts else IGNORED for i, counts in zip(encoded.ids, encoded.response_mask, strict=True)]
            assert labels[-1] == turn_end(tokenizer), "the stop token must be trained"
            rows.append({"input_ids": encoded.ids, "labels": labels})
    return rows, len(demonstrations) - len(rows)


class DemonstrationTrainer(ResumingTrainer, SFTTrainer):
    """TRL's trainer, with checkpoints that appear whole, and the loss of a mixture of experts apart.

    What routers pay for uneven load is trained on, but it is no loss on demonstrations: it is logged as `aux_loss`.
    """

    def __init__(self, *args: Any, **more: Any) -> None:
        super().__init__(*args, **more)
        head_in_float32(self.model)

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        if "loss" in logs and (aux := self._metrics["train"].get("aux_loss")):
            logs = {**logs, "loss": logs["loss"] - self.router_aux_loss_coef * sum(aux) / len(aux)}
        super().log(logs, start_time)


def head_in_float32(model: Any) -> None:
    """TRL's head once more, in place of its own, which runs in bfloat16 under autocast."""
    whole = model.get_base_model() if is_peft_model(model) else model
    add_fused_lm_head(whole, cast_lm_head_to_fp32=True, outputs=("log_probs", "entropy", "is_top1"))


def _fit(
    model: Any,
    tokenizer: PreTrainedTokenizerBase,
    rows: list[dict[str, list[int]]],
    config: SFTConfig,
    checkpoints: Checkpoints,
) -> list[dict[str, float]]:
    """Run the trainer; return the loss curve, one point an optimizer step, those before a kill included."""
    if pick_device().type == "cpu":
        use_small_tiles()
    with place_to_save(checkpoints) as folder, model_to_train(model, config) as trained:
        trainer = DemonstrationTrainer(
            model=trained,
            args=TrainerConfig(max_length=None, padding_free=config.packing, **common_arguments(config, folder)),
            train_dataset=Dataset.from_list(rows),
            processing_class=tokenizer,
            callbacks=[ReporterCallback(checkpoints.reporter, "train"), CheckpointCallback(checkpoints)],
        )
        trainer.checkpoints = checkpoints
        trainer.remove_callback(PrinterCallback)
        return trainer.go_on()


def _read(path: Path) -> list[Demonstration]:
    try:
        demonstrations = list(read_jsonl(path, Demonstration))
    except (ValueError, OSError) as error:
        raise BadInput(
            str(error), Sentence("line-is-demonstration", "Each line must be one demonstration record.")
        ) from error
    if not demonstrations:
        raise BadInput(
            Sentence("no-demonstrations", "%(path)s holds no demonstrations.", path=path),
            Sentence("give-one", "Give at least one."),
        )
    return demonstrations


def _report(counts: dict[str, int], limit: int, reporter: Reporter) -> None:
    too_long, total = counts["too_long"], counts["demonstrations"]
    if not counts["used"]:
        refused = counts.get("template_refused", 0)
        told = Sentence(
            "no-demonstration-fits",
            "None of %(total)s demonstrations fits into %(limit)s tokens.",
            total=total,
            limit=limit,
        )
        if refused == total:
            told = Sentence(
                "template-refuses-all-demonstrations",
                "The model's chat template refuses all %(total)s demonstrations.",
                total=total,
            )
        raise BadInput(told, chat.REFUSED_HOW if refused else Sentence("raise-max-length", "Raise max_length."))
    if too_long:
        left_out = counted(
            "demonstrations-left-out",
            "%(n)s of %(total)s demonstrations exceeds %(limit)s tokens and was left out.",
            "%(n)s of %(total)s demonstrations exceed %(limit)s tokens and were left out.",
            n=too_long,
            total=total,
            limit=limit,
        )
        reporter.note(left_out, level="warning")
