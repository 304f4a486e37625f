"""The layouts that an import knows, by name; the standard library only, as the command line asks."""

from __future__ import annotations

from enum import StrEnum


class Format(StrEnum):
    """The layouts of rows; `auto` looks at the fields, `csv` also settles that the file is CSV."""

    AUTO = "auto"
    ALPACA = "alpaca"  # instruction, input, output; question and answer; TRL's prompt and completion
    SHAREGPT = "sharegpt"  # conversations of from and value, or messages of role and content
    HH = "hh"  # chosen and rejected are whole dialogues in one text
    TRL = "trl"  # chosen and rejected with a prompt, conversations, or instruction and input
    KTO = "kto"  # one response with a thumb in `label`
    OASST = "oasst"  # Open-Assistant trees, or `output` as a list, best first
    GPT4LLM = "gpt4llm"  # user_input, responses_and_scores
    ALPACA_EVAL = "alpaca_eval"  # output_1, output_2, preference from 1 to 2
    JSONL = "jsonl"  # our own records, as exported
    CSV = "csv"
    LLMZOO = "llmzoo"  # metadata.answers and their ranks in order
    PANDALM = "pandalm"  # response1, response2 and three votes
    TULU = "tulu"  # completion_a, completion_b and a five-step preference
    GRADED = "graded"  # solutions with is_correct
    QUESTIONS = "questions"  # MT-bench turns, Self-Instruct instances
