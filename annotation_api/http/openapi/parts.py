"""Texts, examples and links of the OpenAPI document, by operation or by schema; `document` puts them in their places.

Tests hold every example against its schema, and every name against the routes.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

API_KEY = "A person's API key, `rl_...`, with that person's role: made by `POST /v1/api-keys`, or on the page API keys."
SESSION = "What `POST /v1/session` sets. Unsafe methods are then refused where a page of another site sent them."
METRICS_TOKEN = "RANKLOOP_METRICS_TOKEN of the service; it opens /metrics alone."

# By status: the name of the answer, what it means, and its headers.
REFUSALS: Mapping[int, tuple[str, str, tuple[str, ...]]] = {
    400: ("BadRequest", "The host name is not this service's, or a query parameter is unknown.", ()),
    401: ("NotSignedIn", "Nobody is signed in, or the key is unknown, expired or revoked.", ("WWW-Authenticate",)),
    403: ("Forbidden", "The caller's role may not do this, or another site made a browser ask.", ()),
    404: ("NotFound", "There is no such thing, or it is none of the caller's business.", ()),
    408: ("TooSlow", "The body paused, or came more slowly than it must.", ()),
    409: ("Conflict", "It cannot be done as things stand; `type` says why.", ("Retry-After",)),
    410: ("Gone", "It was here, and its file is gone or damaged.", ()),
    411: ("NoLength", "A file comes with its size in `Content-Length`, not in chunks.", ()),
    413: ("TooLarge", "The body is larger than this path takes.", ()),
    415: ("WrongContentType", "The body comes in another content type than this path takes.", ()),
    416: ("RangeNotSatisfiable", "The range lies outside the file, or is none.", ("Content-Range",)),
    422: ("Invalid", "A field is missing or wrong; `errors` points to each.", ()),
    429: ("TooMany", "More than is allowed in this time, or than has room.", ("Retry-After",)),
    500: ("Internal", "A fault of the service. Its log has it under the request's id.", ()),
    503: ("Unavailable", "Not now: the database is away or busy, or the service is not open yet.", ("Retry-After",)),
    507: ("Full", "A disk of the service is full. Nothing was changed.", ("Retry-After",)),
}
UNCHANGED = "As it was for the `ETag` in `If-None-Match`."
HEADERS: Mapping[str, str] = {
    "Location": "Where what was made is.",
    "Link": 'The next page, as `<...>; rel="next"`; absent on the last.',
    "ETag": "Of this answer: send it as `If-None-Match` and get 304 while nothing has changed.",
    "Retry-After": "Seconds after which to try again.",
    "WWW-Authenticate": "Bearer.",
    "Content-Range": "How long the file is.",
}

# What an operation refuses beyond what its parameters and permission tell.
REFUSES: Mapping[str, tuple[int, ...]] = {
    "accept_invitation": (409,),
    "begin_second_factor": (409, 429),
    "cancel_job": (409,),
    "cancel_pipeline": (409,),
    "change_password": (422, 429),
    "change_person": (409,),
    "change_project": (409,),
    "confirm_second_factor": (409, 429),
    "compare_jobs": (404,),
    "compare_models": (404,),
    "preview_erasure": (404,),
    "erase": (404, 409),
    "create_job": (409,),
    "undo_prepared": (409,),
    "create_project": (409,),
    "decide_task": (409,),
    "describe_artifact": (410, 416),
    "download_artifact": (410, 416),
    "erase_person": (409,),
    "import_dataset": (507,),
    "job_events": (429,),
    "make_gold": (409,),
    "next_task": (409,),
    "pause_job": (409,),
    "pause_pipeline": (409,),
    "remove_second_factor": (409, 429),
    "renew_lease": (409,),
    "resume_annotator": (409,),
    "resume_job": (409,),
    "resume_pipeline": (409,),
    "retry_job": (409,),
    "review_answer": (409,),
    "save_draft": (409,),
    "sign_in": (401, 429),
    "skip_task": (409,),
    "submit": (404, 409),
    "tasks_from_dataset": (409,),
}
LOCATED = frozenset(
    {"add_tasks", "begin_upload", "create_api_key", "create_job", "create_pipeline", "create_project", "decide_task"}
    | {"create_snapshot", "finish_upload", "import_dataset", "register_model", "tasks_from_dataset"}
)
NOTES: Mapping[str, str] = {
    "accept_invitation": "`token` is the last part of an invitation's link, or of the set-up link that a new service "
    "prints (`.../setup/TOKEN`): the first account is an administrator's. Sign in with the cookie that comes with the "
    "answer, and make an API key.",
    "job_events": "Reconnect with `Last-Event-ID` after a break: no event is lost or comes twice. An event `end` is "
    "the last one.",
}

_BODY = "$response.body#/"
_JOB = {"job_id": f"{_BODY}id"}
_OF_JOB = {
    "show_job": _JOB,
    "job_events": _JOB,
    "job_metrics": _JOB,
    "job_checkpoints": _JOB,
    "job_artifacts": _JOB,
    "cancel_job": _JOB,
    "pause_job": _JOB,
    "resume_job": _JOB,
    "show_model": {"model_id": f"{_BODY}result/model"},
}
_MODEL = {"model_id": f"{_BODY}id"}
_OF_MODEL = {
    "show_model": _MODEL,
    "show_lineage": _MODEL,
    "derived_from_model": _MODEL,
    "show_job": {"job_id": f"{_BODY}job_id"},
    "job_artifacts": {"job_id": f"{_BODY}job_id"},
}
_SNAPSHOT = {"snapshot_id": f"{_BODY}id"}
_OF_SNAPSHOT = {"show_snapshot": _SNAPSHOT, "export_snapshot": _SNAPSHOT, "derived_from_snapshot": _SNAPSHOT}
_PROJECT = {"project_id": f"{_BODY}id"}
_PIPELINE = {"pipeline_id": f"{_BODY}id"}
# By operation and status: the operations that its answer leads to, and where their parameters stand in it.
LINKS: Mapping[str, Mapping[str, Mapping[str, Mapping[str, str]]]] = {
    "create_job": {"202": _OF_JOB},
    "show_job": {"200": _OF_JOB},
    "job_artifacts": {
        "200": {"download_artifact": {"job_id": "$request.path.job_id", "name": f"{_BODY}0/name"}},
    },
    "create_pipeline": {"202": {"show_pipeline": _PIPELINE, "show_job": {"job_id": f"{_BODY}jobs/0/id"}}},
    "show_pipeline": {"200": {"cancel_pipeline": _PIPELINE, "pause_pipeline": _PIPELINE, "resume_pipeline": _PIPELINE}},
    "register_model": {"201": _OF_MODEL},
    "show_model": {"200": _OF_MODEL},
    "begin_upload": {"201": {name: {"upload_id": f"{_BODY}id"} for name in ("show_upload", "finish_upload")}},
    "finish_upload": {"201": _OF_MODEL},
    "import_dataset": {
        "201": {
            "show_dataset": {"dataset_id": f"{_BODY}dataset"},
            "derived_from_dataset": {"dataset_id": f"{_BODY}dataset"},
        },
    },
    "create_snapshot": {"201": _OF_SNAPSHOT},
    "show_snapshot": {"200": _OF_SNAPSHOT},
    "create_project": {
        "201": {"show_project": _PROJECT, "add_tasks": _PROJECT, "next_task": _PROJECT, "tasks_from_dataset": _PROJECT},
    },
}

_ID = "7f3b1c52-4b0e-4b5e-9d63-0a6f5c1e2d30"
_OTHER = "b2a4d0c1-93a7-4f6e-8f0b-5d2c7e8a9b10"
EXAMPLES: Mapping[str, Any] = {
    "NewMember": {"person": "wen@example.org"},
    "TaskChoice": {"state": "waiting", "words": "capital"},
    "OwnPassword": {"password": "a long and quiet river"},
    "OwnCode": {"code": "123456"},
    "ResetPassword": {"password": "seven grey herons at dusk"},
    "SFTJob": {
        "stage": "sft",
        "inputs": {"model": {"model": _ID}, "demonstrations": {"dataset": _OTHER}},
        "preset": "toy",
        "config": {"epochs": 3},
        "gpus": 0,
    },
    "SampleJob": {
        "stage": "sample",
        "inputs": {"models": [{"alias": "champion"}], "prompts": {"dataset": _OTHER}},
        "config": {"responses_per_prompt": 4},
    },
    "PrepareJob": {
        "stage": "prepare",
        "inputs": {"records": {"dataset": _OTHER}},
        "config": {"duplicates": "near", "personal": "mask"},
    },
    "InstructJob": {
        "stage": "instruct",
        "inputs": {"seeds": {"dataset": _OTHER}},
        "config": {"teacher": "ours", "teacher_model": "a-model", "count": 500},
    },
    "ErasureTarget": {"scope": "record", "task": _ID},
    "NewErasure": {"scope": "person", "person": _OTHER, "reason": "They asked for it, letter of 3 March."},
    "FromPreparation": {"job": _ID, "name": "pairs, prepared"},
    "RewardJob": {"stage": "reward", "inputs": {"model": {"job": _ID}, "rankings": {"project": _OTHER}}},
    "PPOJob": {
        "stage": "ppo",
        "inputs": {"model": {"job": _ID}, "reward_model": {"job": _OTHER}, "prompts": {"dataset": _OTHER}},
        "config": {"updates": 200},
    },
    "NewPipeline": {
        "model": {"model": _ID},
        "demonstrations": {"dataset": _ID},
        "preferences": {"dataset": _OTHER},
        "preset": "toy",
        "gpus": 0,
    },
    "NewModel": {"name": "a base model", "path": "base"},
    "NewUpload": {"name": "a base model"},
    "FinishedUpload": {"sha256": {"config.json": "0" * 64}},
    "NewAlias": {"model": _ID},
    "NewSnapshot": {"kind": "rankings", "project": _ID},
    "NewProject": {"name": "helpfulness", "guidelines": "Prefer what answers the question.", "overlap": 2},
    "ProjectPatch": {"overlap": 3},
    "FromDataset": {"dataset": _ID},
    "NewTask": {
        "prompt": {"messages": [{"role": "user", "content": "What is 2 + 2?"}]},
        "responses": [{"text": "4"}, {"text": "Five."}],
    },
    "NewRanking": {"id": _ID, "assignment": _OTHER, "payload": {"groups": [[_ID], [_OTHER]]}},
    "NewAnswers": {"id": _ID, "assignment": _OTHER, "kind": "questions", "payload": {"answers": {"true": True}}},
    "NewVerdicts": {"id": _ID, "assignment": _OTHER, "kind": "rules", "payload": {"verdicts": {"threats": "kept"}}},
    "NewGold": {"expected": {"order": [[_ID], [_OTHER]]}, "why": "The first one answers the question."},
    "QualityRulesPatch": {"gold_rate": 0.05, "bar": 0.7},
    "NewPause": {"reason": "We talk about the guidelines first."},
    "NewReview": {"outcome": "sent_back", "comment": "The second answer is not true; look at it again."},
    "NewDecision": {"payload": {"groups": [[_ID], [_OTHER]], "note": "Only the first one is true."}},
    "NewComment": {"text": "Does the length matter here?"},
    "NewDraft": {"payload": {"note": "half a thought"}},
    "Skip": {"reason": "I cannot read this language."},
    "ChangedSettings": {"config": {"accept_reward_model": "The held-out set is tiny; people will judge the result."}},
    "ResumedPipeline": {"config": {"ppo": {"kl_coef": 0.1}}},
    "Labels": {"name": "first try", "notes": "Trained on the first 2,000 rankings.", "tags": ["toy"]},
    "ModelPath": {"path": "Qwen3-0.6B"},
    "SignIn": {"email": "ada@example.org", "password": "three plain words"},
    "NewPerson": {"email": "ada@example.org", "name": "Ada", "password": "three plain words"},
    "NewPassword": {"current": "three plain words", "new": "four other plain words"},
    "PersonChange": {"role": "engineer"},
    "NewInvitation": {"role": "annotator"},
    "NewApiKey": {"name": "my notebook", "expires_in_days": 30},
    "ProblemBody": {
        "type": "urn:rankloop:invalid",
        "title": "Unprocessable Content",
        "status": 422,
        "detail": "/config/learning_rte: Unknown key 'learning_rte'. Did you mean 'learning_rate'?",
        "errors": [
            {
                "pointer": "/config/learning_rte",
                "message": "Unknown key 'learning_rte'. Did you mean 'learning_rate'?",
                "value": "1e-05",
            }
        ],
    },
}
