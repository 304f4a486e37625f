"""Tokenizers as folders really hold them: tokenizer.model alone (LLaMA, Baichuan's shape, Chinese-Alpaca)."""

import io
import json
from pathlib import Path

import pytest
import sentencepiece

from alignment.data import chat
from alignment.models.load import load_tokenizer
from alignment.shared.records import Prompt
from tests.support.alignment import tiny

TEXTS = ["Milo is red and the fox sleeps.", "小白住在森林里，喜欢蓝色。", "A cat and a dog went to the mill."] * 20


def trained(kind: str) -> bytes:
    file = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(TEXTS), model_writer=file, vocab_size=120, model_type=kind, byte_fallback=False,
        hard_vocab_limit=False, character_coverage=1.0, minloglevel=2,
    )  # fmt: skip
    return file.getvalue()


@pytest.mark.parametrize("kind", ["bpe", "unigram"])
def test_a_sentencepiece_file_alone_is_a_tokenizer(kind: str, tmp_path: Path) -> None:
    data = trained(kind)
    pieces = sentencepiece.SentencePieceProcessor(model_proto=data)
    tiny.causal(vocab_size=pieces.get_piece_size()).save_pretrained(tmp_path)
    (tmp_path / "tokenizer.model").write_bytes(data)
    settings = {"tokenizer_class": "LlamaTokenizer", "bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"}
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(settings))
    tokenizer = load_tokenizer(tmp_path)
    for text in ("Milo is red.", "小白喜欢蓝色。"):
        assert chat.decode(tokenizer, chat.response_ids(tokenizer, text)) == text
        assert chat.response_ids(tokenizer, text)[:-1] == pieces.encode(text)
    chat.install_template(tokenizer)
    ids = chat.prompt_ids(tokenizer, Prompt.from_text("The </s> fox"))
    assert tokenizer.eos_token_id not in ids
