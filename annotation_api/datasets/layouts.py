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
    BESIDE = "beside"  # rejected_response or rejected_messages beside a chat or an answer
    KTO = "kto"  # one response with a thumb in `label`
    OASST = "oasst"  # Open-Assistant trees, or `output` as a list, best first
    GPT4LLM = "gpt4llm"  # user_input, responses_and_scores
    ALPACA_EVAL = "alpaca_eval"  # output_1, output_2, preference from 1 to 2
    JSONL = "jsonl"  # our own records, as exported
    RECORDS = "records"  # our own records as columns, as records-parquet has them
    CSV = "csv"
    LLMZOO = "llmzoo"  # metadata.answers and their ranks in order
    PANDALM = "pandalm"  # response1, response2 and three votes
    TULU = "tulu"  # completion_a, completion_b and a five-step preference
    GRADED = "graded"  # solutions with is_correct
    QUESTIONS = "questions"  # MT-bench turns, Self-Instruct instances
    HELPSTEER = "helpsteer"  # response_1, response_2 and preference_strength from -3 to 3
    HELPSTEER3 = "helpsteer3"  # context, response1, response2 and overall_preference
    BATTLES = "battles"  # Chatbot Arena: conversation_a, conversation_b, winner
    ARENA = "arena"  # Chatbot Arena's tables: response_a, response_b and three columns of the winner
    SHP = "shp"  # human_ref_A, human_ref_B, labels
    WEBGPT = "webgpt"  # answer_0, answer_1 and a score each
    STACK = "stack"  # response_j is better than response_k
    VOTED = "voted"  # Stack Exchange answers with pm_score
    SAFE = "safe"  # PKU-SafeRLHF: better_response_id and safer_response_id
    SUMMARIES = "summaries"  # summarize_from_feedback: info, summaries, choice
    OPENAI = "openai"  # input, preferred_output, non_preferred_output
    ULTRAFEEDBACK = "ultrafeedback"  # completions with overall_score
    NECTAR = "nectar"  # answers with rank
    DISTILABEL = "distilabel"  # generations and ratings
    LABEL_STUDIO = "label_studio"  # pairwise and ranker projects: JSON, JSON-MIN or CSV
    ARGILLA = "argilla"  # fields and responses
    SIDES = "sides"  # response_a, response_b and a word for the winner
    OPEN_WEBUI = "open_webui"  # Open WebUI's feedback: a thumb on one of several answers
    RESPONSES = "responses"  # a prompt with responses that nobody has ranked: a list, or response_1, response_2, ...
    PRODIGY = "prodigy"  # options, and which of them were accepted
    STEPS = "steps"  # one answer whose steps were judged: only its prompt is read
    TEXT = "text"  # a whole chat in one text, as guanaco
