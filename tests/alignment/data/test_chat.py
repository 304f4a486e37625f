"""The template: what the model reads, and which tokens are its own."""

from pathlib import Path

import pytest
from transformers import PreTrainedTokenizerBase
from trl.chat_template_utils import is_chat_template_stop_token_trained

from alignment.data import chat
from alignment.models.load import load_tokenizer
from alignment.shared.errors import StageError
from alignment.shared.records import Message, Prompt


@pytest.fixture(scope="module")
def tokenizer(tiny_base: Path) -> PreTrainedTokenizerBase:
    return load_tokenizer(tiny_base)


QUESTION = Prompt.from_text("What colour is Milo?")


def test_the_response_and_its_stop_are_the_models_own(tokenizer: PreTrainedTokenizerBase) -> None:
    encoded = chat.encode(tokenizer, QUESTION, "Milo is red.")
    start = encoded.prompt_length
    assert tokenizer.decode(encoded.ids[:start]) == "<|user|>What colour is Milo?<|assistant|>"
    assert tokenizer.decode(encoded.ids[start:]) == "Milo is red.<|end|>"
    assert encoded.response_mask == [False] * start + [True] * (len(encoded.ids) - start)
    assert encoded.ids[-1] == tokenizer.eos_token_id


def test_many_responses_at_once_have_the_tokens_of_each(tokenizer: PreTrainedTokenizerBase) -> None:
    texts = ["Milo is red.", "", "It wrote <|end|> and <|user|> itself.", "对不起，这个我不知道。", "Milo is red."]
    assert chat.many_response_ids(tokenizer, texts) == {text: chat.response_ids(tokenizer, text) for text in texts}
    assert chat.many_response_ids(tokenizer, texts[2:3]) == {texts[2]: chat.response_ids(tokenizer, texts[2])}


@pytest.mark.parametrize("text", ["Milo is red.", "对不起，这个我不知道。", "a  b\tc\n", "naïve 🙂"])
def test_ids_and_mask_are_those_of_the_rendered_template(tokenizer: PreTrainedTokenizerBase, text: str) -> None:
    """The library's own search for the assistant's tokens, by the template's marks, finds the same ones."""
    messages = [{"role": "user", "content": QUESTION.text}, {"role": "assistant", "content": text}]
    rendered = tokenizer.apply_chat_template(
        messages, tokenize=True, return_dict=True, return_assistant_tokens_mask=True
    )
    encoded = chat.encode(tokenizer, QUESTION, text)
    assert encoded.ids == rendered["input_ids"]
    assert encoded.response_mask == [bool(mark) for mark in rendered["assistant_masks"]]


def test_trl_finds_the_stop_in_the_loss(tokenizer: PreTrainedTokenizerBase) -> None:
    assert is_chat_template_stop_token_trained(tokenizer)


def test_earlier_turns_are_part_of_the_prompt(tokenizer: PreTrainedTokenizerBase) -> None:
    turns = (("system", "Be kind."), ("user", "Hello."), ("assistant", "Hi."), ("user", "Bye."))
    prompt = Prompt(messages=tuple(Message(role=role, content=text) for role, text in turns))
    expected = "<|system|>Be kind.<|user|>Hello.<|assistant|>Hi.<|end|><|user|>Bye.<|assistant|>"
    assert tokenizer.decode(chat.prompt_ids(tokenizer, prompt)) == expected


TURNS = (("user", "Hello."), ("assistant", "Hi."), ("user", "Who?"), ("assistant", "Milo."), ("user", "Bye."))
CHAT = Prompt(messages=tuple(Message(role=role, content=text) for role, text in TURNS))


def test_earlier_turns_count_where_they_are_asked_for(tokenizer: PreTrainedTokenizerBase) -> None:
    """The library's own search for the assistant's tokens finds the same ones."""
    encoded = chat.encode(tokenizer, CHAT, "Ciao.", earlier_turns=True)
    messages = [{"role": role, "content": text} for role, text in (*TURNS, ("assistant", "Ciao."))]
    rendered = tokenizer.apply_chat_template(
        messages, tokenize=True, return_dict=True, return_assistant_tokens_mask=True
    )
    assert encoded.ids == rendered["input_ids"]
    assert encoded.response_mask == [bool(mark) for mark in rendered["assistant_masks"]]
    assert sum(encoded.response_mask) > sum(chat.encode(tokenizer, CHAT, "Ciao.").response_mask)


def test_a_turn_that_the_template_rewrites_is_not_learnt(tiny_base: Path) -> None:
    """As templates do that cut an earlier turn's thoughts."""
    rewriting = load_tokenizer(tiny_base)
    said = "message['content'] + eos_token"
    cut = "(message['content'] if loop.last else message['content'].split(';')[-1]) + eos_token"
    rewriting.chat_template = chat.TEMPLATE.replace(said, cut)
    turns = (("user", "Hello."), ("assistant", "Hm;Hi."), ("user", "Who?"), ("assistant", "Milo."), ("user", "Bye."))
    prompt = Prompt(messages=tuple(Message(role=role, content=text) for role, text in turns))
    encoded = chat.encode(rewriting, prompt, "Ciao.", earlier_turns=True)
    learnt = [i for i, counts in zip(encoded.ids, encoded.response_mask, strict=True) if counts]
    assert rewriting.decode(learnt) == "Milo.<|end|>Ciao.<|end|>"


def test_text_survives_encoding(tokenizer: PreTrainedTokenizerBase) -> None:
    for text in ("Milo is red.", "小白住在森林。", "x = {'a': 1}"):
        assert chat.decode(tokenizer, chat.response_ids(tokenizer, text)) == text


def test_without_a_template_there_is_one_clear_sentence(tiny_base: Path) -> None:
    bare = load_tokenizer(tiny_base)
    bare.chat_template = None
    assert not chat.has_template(bare)
    with pytest.raises(StageError, match="no chat template"):
        chat.prompt_ids(bare, QUESTION)
    chat.install_template(bare)
    assert chat.prompt_ids(bare, QUESTION)


def test_a_template_that_refuses_a_prompt_is_one_clear_sentence(tiny_base: Path) -> None:
    strict = load_tokenizer(tiny_base)
    strict.chat_template = "{{ raise_exception('System role not supported') }}"
    with pytest.raises(StageError, match=r"refuses the prompt .*System role not supported"):
        chat.prompt_ids(strict, QUESTION)


def test_our_template_begins_as_the_tokenizer_does(tiny_base: Path) -> None:
    """A model that was pretrained with a first token must find it in every prompt, once."""
    tokenizer = load_tokenizer(tiny_base)
    tokenizer.add_special_tokens({"bos_token": "<|begin|>"})
    ids = chat.prompt_ids(tokenizer, QUESTION)
    assert [place for place, i in enumerate(ids) if i == tokenizer.bos_token_id] == [0]
