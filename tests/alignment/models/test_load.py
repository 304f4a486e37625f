"""Model folders: what is loaded, what is refused and in which words, what is written back."""

import json
import math
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from transformers import GPT2Config, GPT2LMHeadModel

from alignment.data import chat
from alignment.models.adapters import add_adapters
from alignment.models.load import PAD, load_causal_lm, load_scorer, load_tokenizer, save_model
from alignment.models.sizes import embedding_rows
from alignment.shared.config import LoRAConfig
from alignment.shared.errors import BadInput, StageError
from alignment.shared.records import Prompt

IDS = torch.tensor([[7, 8, 9, 10]])


@pytest.fixture
def folder(tiny_base: Path, tmp_path: Path) -> Path:
    """A copy of the tiny base, to be damaged."""
    return Path(shutil.copytree(tiny_base, tmp_path / "model"))


def refusal(folder: Path) -> str:
    """What loading the folder as a policy says; it must be a fault of the input."""
    with pytest.raises(BadInput) as caught:
        load_causal_lm(folder, load_tokenizer(folder), trained=False)
    assert str(folder) in str(caught.value)
    return str(caught.value)


def edit(path: Path, **changes: object) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def test_a_frozen_model_cannot_be_trained_and_a_trained_one_can(folder: Path) -> None:
    tokenizer = load_tokenizer(folder)
    frozen = load_causal_lm(folder, tokenizer, trained=False)
    assert not frozen.training
    assert not any(p.requires_grad for p in frozen.parameters())
    trained = load_causal_lm(folder, tokenizer, trained=True)
    assert trained.training
    assert all(p.requires_grad for p in trained.parameters())


def test_missing_folder(tmp_path: Path) -> None:
    assert "There is no model folder" in refusal(tmp_path / "nowhere")


def test_folder_without_a_model(tmp_path: Path) -> None:
    assert "no config.json" in refusal(tmp_path)


def test_damaged_config(folder: Path) -> None:
    (folder / "config.json").write_text("{")
    assert "cannot be read" in refusal(folder)


def test_damaged_weights(folder: Path) -> None:
    (folder / "model.safetensors").write_bytes(b"\xff" * 100)
    assert "not a whole safetensors file" in refusal(folder)


def test_truncated_weights(folder: Path) -> None:
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1000])
    assert "not a whole safetensors file" in refusal(folder)


def test_pickled_weights_are_never_opened(folder: Path) -> None:
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    assert "rankloop models convert" in refusal(folder)


def test_missing_tokenizer(folder: Path) -> None:
    for path in folder.glob("tokenizer*"):
        path.unlink()
    assert "has no tokenizer" in refusal(folder)


def test_missing_eos(folder: Path) -> None:
    edit(folder / "tokenizer_config.json", eos_token=None)
    assert "no EOS token" in refusal(folder)


def test_vocabulary_smaller_than_the_tokenizer(folder: Path) -> None:
    tokenizer = load_tokenizer(folder)
    rows = len(tokenizer)
    tokenizer.add_tokens(["<a>", "<b>"])
    tokenizer.save_pretrained(folder)
    assert f"knows {rows} tokens, its tokenizer {rows + 2}" in refusal(folder)


def test_pad_equal_to_eos_is_replaced_and_the_embedding_grows_by_it(folder: Path, tmp_path: Path) -> None:
    before = len(load_tokenizer(folder))
    edit(folder / "tokenizer_config.json", pad_token="<|end|>")
    (folder / "tokenizer.json").write_text((folder / "tokenizer.json").read_text().replace(PAD, "<|old|>"))
    tokenizer = load_tokenizer(folder)
    assert tokenizer.pad_token == PAD
    assert tokenizer.pad_token_id != tokenizer.eos_token_id
    model = load_causal_lm(folder, tokenizer, trained=False)
    assert embedding_rows(model) == len(tokenizer) == before + 1
    save_model(model, tokenizer, tmp_path / "saved")
    again = load_causal_lm(tmp_path / "saved", load_tokenizer(tmp_path / "saved"), trained=False)
    assert torch.equal(again(IDS).logits, model(IDS).logits)


def test_a_new_head_starts_small_and_is_seeded(folder: Path) -> None:
    tokenizer = load_tokenizer(folder)
    heads = [load_scorer(folder, tokenizer, trained=True, seed=seed).score.weight for seed in (0, 0, 1)]
    assert torch.equal(heads[0], heads[1])
    assert not torch.equal(heads[0], heads[2])
    assert heads[0].shape == (1, 32)
    assert heads[0].std().item() == pytest.approx(1 / math.sqrt(33), rel=0.4)


def test_a_saved_reward_model_keeps_its_head(folder: Path, tmp_path: Path) -> None:
    tokenizer = load_tokenizer(folder)
    scorer = load_scorer(folder, tokenizer, trained=False, seed=3)
    save_model(scorer, tokenizer, tmp_path / "reward")
    again = load_scorer(tmp_path / "reward", tokenizer, trained=False, seed=4)
    assert torch.equal(again(IDS).logits, scorer(IDS).logits)
    assert "is a reward model" in refusal(tmp_path / "reward")


def test_a_classifier_of_several_labels_is_no_reward_model(folder: Path) -> None:
    edit(
        folder / "config.json",
        architectures=["LlamaForSequenceClassification"],
        id2label={"0": "a", "1": "b", "2": "c"},
        label2id={"a": 0, "b": 1, "c": 2},
    )
    with pytest.raises(StageError, match="classifier of 3 labels"):
        load_scorer(folder, load_tokenizer(folder), trained=False)


@pytest.mark.parametrize("kind", ["policy", "reward"])
def test_adapters_are_all_that_trains_and_are_merged_when_saved(folder: Path, tmp_path: Path, kind: str) -> None:
    tokenizer = load_tokenizer(folder)
    load = load_causal_lm if kind == "policy" else load_scorer
    model = load(folder, tokenizer, trained=True, light=LoRAConfig(rank=4))
    trained = {name for name, p in model.named_parameters() if p.requires_grad}
    assert trained
    assert all("lora_" in name or "score" in name for name in trained)
    heads = [name for name in trained if "score" in name]
    assert len(heads) == (kind == "reward")  # one whole weight, no adapter on it
    assert not any("lora_" in name for name in heads)
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if name in trained:
                weight.add_(0.1 * torch.randn_like(weight))
    model.eval()
    expected = model(IDS).logits
    save_model(model, tokenizer, tmp_path / "merged")
    again = load(tmp_path / "merged", tokenizer, trained=False)
    torch.testing.assert_close(again(IDS).logits, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("load", [load_causal_lm, load_scorer])
def test_adapters_begin_as_their_seed_says(folder: Path, load: Callable[..., torch.nn.Module]) -> None:
    tokenizer = load_tokenizer(folder)

    def start(seed: int) -> torch.Tensor:
        torch.rand(1)  # whatever drew before
        model = load(folder, tokenizer, trained=True, light=LoRAConfig(rank=4), seed=seed)
        return torch.cat([p.detach().flatten() for name, p in model.named_parameters() if "lora_A" in name])

    first, again, other = start(0), start(0), start(1)
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_under_adapters_all_that_trains_is_float32_on_a_bfloat16_base(folder: Path) -> None:
    tokenizer = load_tokenizer(folder)
    scorer = load_scorer(folder, tokenizer, trained=False).bfloat16()
    adapted = add_adapters(scorer, LoRAConfig(rank=4), "SEQ_CLS", seed=0)
    trained = {name: p.dtype for name, p in adapted.named_parameters() if p.requires_grad}
    assert any("score" in name for name in trained)
    assert set(trained.values()) == {torch.float32}
    assert {p.dtype for p in adapted.parameters() if not p.requires_grad} == {torch.bfloat16}


def test_dropout_is_off_unless_asked_for(folder: Path, tmp_path: Path) -> None:
    """With dropout, the same tokens get another probability each time, and PPO's ratio does not start at 1."""
    tokenizer = load_tokenizer(folder)
    shape = GPT2Config(vocab_size=len(tokenizer), n_embd=32, n_layer=2, n_head=2, n_positions=64)
    GPT2LMHeadModel(shape).save_pretrained(tmp_path / "gpt2")
    tokenizer.save_pretrained(tmp_path / "gpt2")
    still = load_causal_lm(tmp_path / "gpt2", tokenizer, trained=True)
    assert torch.equal(still(IDS).logits, still(IDS).logits)
    noisy = load_causal_lm(tmp_path / "gpt2", tokenizer, trained=True, dropout=True)
    assert not torch.equal(noisy(IDS).logits, noisy(IDS).logits)


def test_the_stop_of_the_model_is_the_tokenizers(folder: Path) -> None:
    tokenizer = load_tokenizer(folder)
    model = load_causal_lm(folder, tokenizer, trained=False)
    assert model.config.eos_token_id == tokenizer.eos_token_id
    assert chat.encode(tokenizer, Prompt.from_text("Hi?"), "Ho.").ids[-1] == model.config.eos_token_id
