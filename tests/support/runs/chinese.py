"""Three stages on Chinese data, through the command line: a tiny GLM-4 and a tiny Qwen2 with tokenizers of that data.

    python -m tests.support.runs.chinese FOLDER [--only glm4]

FOLDER holds sft_alpaca_gpt4_zh.jsonl.gz and rank_oasst_zh.jsonl.gz (Alpaca's layout; answers from best to worst). Each
base model is a folder as its makers leave it: byte-level BPE, their marks and chat template, bfloat16, stops and
sampling in generation_config.json. A real service checks, imports, trains and samples; a JSON line a family.
"""

from __future__ import annotations

import argparse
import gzip
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

os.environ.setdefault("HF_HUB_OFFLINE", "1")

from annotation_api.settings import Settings
from annotation_api.up import Service

DEMONSTRATIONS, RANKINGS = "sft_alpaca_gpt4_zh.jsonl.gz", "rank_oasst_zh.jsonl.gz"
TOKENS, CONTEXT = 6000, 512
WORDS_OF_QWEN = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
MARKS = {
    "qwen2": ["<|endoftext|>", "<|im_start|>", "<|im_end|>"],
    "glm4": ["<|endoftext|>", "[gMASK]", "<sop>", "<|system|>", "<|user|>", "<|assistant|>", "<|observation|>"],
}
STOPS = {"qwen2": ["<|im_end|>", "<|endoftext|>"], "glm4": ["<|endoftext|>", "<|user|>", "<|observation|>"]}
TEMPLATES = {
    "qwen2": "{% for m in messages %}{{ '<|im_start|>' + m.role + '\n' + m.content + '<|im_end|>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}",
    "glm4": "[gMASK]<sop>{% for m in messages %}{{ '<|' + m.role + '|>\n' + m.content }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|assistant|>\n' }}{% endif %}",
}
SHAPE: dict[str, Any] = {
    "hidden_size": 128, "intermediate_size": 344, "num_hidden_layers": 4, "num_attention_heads": 4,
    "num_key_value_heads": 2, "max_position_embeddings": CONTEXT,
}  # fmt: skip
COMMON = {"batch_size": 16, "micro_batch_size": 8, "learning_rate": 1e-3}
WHY = "A model of a million weights on 600 rankings: the run shows that the way is open, not a policy."
SETTINGS: dict[str, dict[str, Any]] = {
    "sft": COMMON | {"epochs": 3, "max_length": 384},
    "reward": COMMON | {"epochs": 2, "max_length": CONTEXT, "learning_rate": 3e-4},
    "ppo": COMMON
    | {"updates": 8, "evaluate_every": 4, "max_length": CONTEXT, "max_response_length": 48, "learning_rate": 1e-4}
    | {"accept_reward_model": WHY, "max_kl": 1e6, "missing_eos": "keep"},
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--only", choices=MARKS)
    args = parser.parse_args()
    families = [args.only] if args.only else list(MARKS)
    with tempfile.TemporaryDirectory(prefix="chinese-") as scratch:
        work = Path(scratch)
        work.chmod(0o755)  # the database server may run under another account
        texts = list(_texts(args.folder))
        for family in families:
            _write(family, texts, work / "models" / family)
        settings = Settings.from_environment().model_copy(
            update={"home": work / "home", "model_roots": (work / "models",)}
        )
        with Service(settings, "127.0.0.1", 0, say=lambda _: None) as service:
            line = CommandLine(service)
            data = {"demonstrations": DEMONSTRATIONS, "rankings": RANKINGS}
            given = {kind: line.says("import", args.folder / name, "--as", kind) for kind, name in data.items()}
            print(json.dumps({"imported": given}, ensure_ascii=False), flush=True)
            found = {family: _run(line, work / "models" / family, given, texts) for family in families}
    sys.exit(any(row["state"] != "succeeded" for row in found.values()))


class CommandLine:
    """`rankloop`, against one service."""

    def __init__(self, service: Service) -> None:
        self.service = service
        self.environment = os.environ | {"RANKLOOP_URL": service.url, "RANKLOOP_API_KEY": service.api_key}

    def says(self, *words: object) -> dict[str, Any]:
        """What one command prints as JSON; the service is tended to while it runs."""
        command = [sys.executable, "-m", "annotation_api.cli", *map(str, words), "--json"]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=self.environment) as process:
            while process.poll() is None:
                self.service.tend()
                time.sleep(0.2)
            assert process.stdout is not None
            found: dict[str, Any] = json.loads(process.stdout.read())
        return found


def _texts(folder: Path) -> Iterator[str]:
    for name in (DEMONSTRATIONS, RANKINGS):
        with gzip.open(folder / name, "rt", encoding="utf-8") as lines:
            for row in map(json.loads, lines):
                said = row["output"]
                yield from (row["instruction"], row["input"], *([said] if isinstance(said, str) else said))


def _write(family: str, texts: list[str], folder: Path) -> None:
    """A base model with random weights."""
    import torch
    from transformers import AutoModelForCausalLM, GenerationConfig
    from transformers.models.auto.configuration_auto import CONFIG_MAPPING

    words = _tokenizer(family, texts)
    stops = words.convert_tokens_to_ids(STOPS[family])
    ids = {"vocab_size": len(words), "pad_token_id": words.pad_token_id, "eos_token_id": stops, "bos_token_id": None}
    more = {"head_dim": 32} if family == "glm4" else {}
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(CONFIG_MAPPING[family](**SHAPE, **more, **ids)).to(torch.bfloat16)
    model.generation_config = GenerationConfig(  # type: ignore[no-untyped-call]
        do_sample=True, temperature=0.8, top_p=0.8, eos_token_id=stops, pad_token_id=words.pad_token_id
    )
    model.save_pretrained(folder)
    words.save_pretrained(folder)


def _tokenizer(family: str, texts: list[str]) -> Any:
    from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    made = Tokenizer(models.BPE())
    if family == "qwen2":
        made.normalizer = normalizers.NFC()
    parts = [pre_tokenizers.Split(Regex(WORDS_OF_QWEN), "isolated"), pre_tokenizers.ByteLevel(False, use_regex=False)]
    made.pre_tokenizer, made.decoder = pre_tokenizers.Sequence(parts), decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    learner = trainers.BpeTrainer(
        vocab_size=TOKENS, special_tokens=MARKS[family], initial_alphabet=alphabet, show_progress=False
    )
    made.train_from_iterator(texts, learner)
    words = PreTrainedTokenizerFast(
        tokenizer_object=made, eos_token=STOPS[family][0], pad_token="<|endoftext|>", extra_special_tokens=MARKS[family]
    )
    words.chat_template = TEMPLATES[family]
    return words


def _run(line: CommandLine, base: Path, given: dict[str, Any], texts: list[str]) -> dict[str, Any]:
    """What the three stages gave."""
    began = time.monotonic()
    checked = line.says("models", "check", base)
    sets = [f"--set={stage}.{key}={json.dumps(value)}" for stage, own in SETTINGS.items() for key, value in own.items()]
    data = {kind: given[name]["dataset"] for kind, name in (("demonstrations",) * 2, ("preferences", "rankings"))}
    inputs = [f"--{kind}={number}" for kind, number in data.items()]
    pipeline = line.says("pipeline", "run", "--base", base, *inputs, "--gpus", 0, "--name", base.name, *sets)
    jobs = {row["stage"]: line.says("jobs", "show", row["job"]) for row in pipeline["stages"]}
    row = {
        "family": base.name,
        "state": pipeline["state"],
        "seconds": round(time.monotonic() - began),
        "load": round(os.getloadavg()[0], 2),
        **_words(base, texts),
        "checked": checked,
        "stages": {stage: (job["result"] or {}).get("metrics") or job["error"] for stage, job in jobs.items()},
    }
    print(json.dumps(row, ensure_ascii=False), flush=True)
    return row


def _words(base: Path, texts: list[str]) -> dict[str, Any]:
    """How the tokenizer reads the data, and what the base's replies stop at."""
    from transformers import AutoTokenizer

    words = AutoTokenizer.from_pretrained(base)
    encoded = words(texts, add_special_tokens=False)["input_ids"]
    normal = sum(words.decode(ids) == text for ids, text in zip(encoded, texts, strict=True))
    tokens = sum(map(len, encoded))
    return {"tokens": len(words), "characters_a_token": round(sum(map(len, texts)) / tokens, 2), "exact": normal}


if __name__ == "__main__":
    main()
