"""One preference, from the web form in a real browser to a PPO gradient, through every real part."""

from __future__ import annotations

import math
import shutil
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from playwright.sync_api import Page

from alignment.shared.config import BaseModelConfig
from alignment.shared.events import NullReporter
from alignment.shared.records import Ranking
from annotation_api.settings import Settings
from annotation_api.up import Service
from tests.support.live import chromium

pytestmark = [pytest.mark.browser, pytest.mark.ray, pytest.mark.postgres, pytest.mark.slow]
LIMIT = 900.0  # seconds for one job

ANIMALS = ["fox", "owl", "bear", "hare", "wolf", "swan", "crab", "mole"]
QUESTIONS = [*(f"what colour is the {animal}" for animal in ANIMALS), "狐狸是什么颜色", "where does the bear live"]
ANSWERS = ["the fox is red", "the owl eats mice", "i do not know"]


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    """A folder that the unprivileged database server may enter."""
    path = Path(tempfile.mkdtemp(prefix="rankloop-journey-", dir="/tmp"))
    path.chmod(0o755)
    yield path
    shutil.rmtree(path)


@pytest.fixture(scope="module")
def base(folder: Path) -> Path:
    from alignment.toyworld.base_model import train_base_model

    tiny = BaseModelConfig(hidden_size=32, layers=2, heads=2, vocab_size=256, max_length=64, batch_size=8, steps=40)
    train_base_model([*QUESTIONS, *ANSWERS] * 8, tiny, folder / "models" / "base", NullReporter())
    return folder / "models" / "base"


@pytest.fixture(scope="module")
def service(folder: Path) -> Iterator[Service]:
    settings = Settings(home=folder / "home", model_roots=(folder / "models",))
    with Service(settings, "127.0.0.1", 0) as running:
        yield running


@pytest.fixture
def engineer(service: Service) -> Iterator[httpx.Client]:
    headers = {"Authorization": f"Bearer {service.api_key}"}
    with httpx.Client(base_url=service.url, headers=headers, timeout=120) as client:
        yield client


@pytest.fixture
def page() -> Iterator[Page]:
    with chromium() as browser:
        page = browser.new_page()
        yield page


def test_a_ranking_travels_from_the_form_to_a_ppo_step(
    service: Service, engineer: httpx.Client, page: Page, base: Path, folder: Path
) -> None:
    project = post(engineer, "/v1/projects", {"name": "Journey"})["id"]
    tasks = [{"prompt": {"messages": [user(q)]}, "responses": [{"text": a} for a in ANSWERS]} for q in QUESTIONS]
    post(engineer, f"/v1/projects/{project}/tasks", tasks)

    # 1. The form: the first admin signs up by the link and ranks; `ranks` is what was clicked.
    sign_up(page, service)
    ranks = rank_everything(page, service, project)

    # 2. One append-only row for each, frozen with a hash; the very clicks are in it.
    snapshot = post(engineer, "/v1/snapshots", {"kind": "rankings", "project": project})
    lines = engineer.get(f"/v1/snapshots/{snapshot['id']}/export", params={"format": "jsonl"}).text.splitlines()
    rankings = {r.prompt.text: r for r in map(Ranking.from_line, lines)}
    assert {q: dict(zip(r.responses, r.ranks, strict=True)) for q, r in rankings.items()} == ranks

    # 3. The reward loss sees exactly these comparisons.
    assert_loss_is_by_hand(base, rankings[QUESTIONS[0]], ranks[QUESTIONS[0]])

    # 4. A reward model is trained on them and knows where they came from.
    model = post(engineer, "/v1/models", {"name": "tiny", "path": str(base)})["id"]
    common = {"batch_size": 4, "micro_batch_size": 4, "max_length": 64}
    reward = run(
        engineer,
        "reward",
        {"model": {"model": model}, "rankings": {"snapshot": snapshot["id"]}},
        {**common, "heldout_fraction": 0},
    )
    assert reward["result"]["details"]["counts"]["used"] == len(QUESTIONS)
    lineage = engineer.get(f"/v1/models/{reward['result']['model']}/lineage").raise_for_status().text
    for ranking in rankings.values():
        assert ranking.lineage["submission"] in lineage

    # 5. One PPO update against it moves the policy.
    ppo = run(
        engineer,
        "ppo",
        {
            "model": {"model": model},
            "reward_model": {"model": reward["result"]["model"]},
            "prompts": {"project": project},
        },
        {
            **common,
            "updates": 1,
            "evaluate_every": 1,
            "evaluate_replies": 8,
            "max_response_length": 8,
            "heldout_fraction": 0.3,
            "learning_rate": 1e-3,
            "accept_reward_model": "Ten rankings and none held out: this run shows the way, not a policy.",
        },
    )
    assert ppo["result"]["details"]["gate"]["outcome"] == "accepted"
    assert len(ppo["result"]["details"]["curve"]) == 1
    assert math.isfinite(ppo["result"]["details"]["curve"][0]["score"])
    assert [m["kind"] for m in engineer.get("/v1/models").json()["items"]].count("policy") == 1


def user(text: str) -> dict[str, str]:
    return {"role": "user", "content": text}


def post(client: httpx.Client, path: str, body: Any) -> Any:
    answer = client.post(path, json=body)
    assert answer.is_success, answer.text
    return answer.json()


def run(client: httpx.Client, stage: str, inputs: dict[str, Any], config: dict[str, Any]) -> dict[str, Any]:
    """Create a job and wait for its end; its row."""
    job = post(client, "/v1/jobs", {"stage": stage, "inputs": inputs, "config": config})["id"]
    deadline = time.monotonic() + LIMIT
    while True:
        row: dict[str, Any] = client.get(f"/v1/jobs/{job}").json()
        if row["state"] in ("succeeded", "failed", "cancelled"):
            assert row["state"] == "succeeded", row["error"]
            return row
        assert time.monotonic() < deadline, row
        time.sleep(0.5)


def sign_up(page: Page, service: Service) -> None:
    assert service.setup_url
    page.goto(service.setup_url)
    page.get_by_label("Name").fill("Ada Example")
    page.get_by_label("E-mail").fill("ada@example.com")
    page.get_by_label("Password").fill("a long enough passphrase")
    page.get_by_role("button", name="Make my account").click()
    page.wait_for_url(f"{service.url}/")


def rank_everything(page: Page, service: Service, project: str) -> dict[str, dict[str, int]]:
    """Rank each task in the form: the true answer first, the other two tied below; what was clicked."""
    page.goto(f"{service.url}/projects/{project}/annotate")
    clicked: dict[str, dict[str, int]] = {}
    while page.locator("#work").count():
        task = page.locator("#task").get_attribute("data-assignment")
        question = page.locator(".prompt .text").inner_text()
        texts = page.locator("article.answer .text").all_inner_texts()
        best = sorted(texts)[len(clicked) % len(texts)]
        for card, text in zip("ABC", texts, strict=True):
            place = 1 if text == best else 2
            page.get_by_label(f"Rank {place} for answer {card}").check(force=True)
        clicked[question] = {text: 0 if text == best else 1 for text in texts}
        page.get_by_role("button", name="Submit and go on").click()
        page.locator(f'#task[data-assignment="{task}"]').wait_for(state="detached")
        page.locator("#work, .done h2").first.wait_for()
    page.locator('#desk[data-unsent="0"]').wait_for()  # the last answers travel behind the page
    assert set(clicked) == set(QUESTIONS)
    return clicked


def assert_loss_is_by_hand(base: Path, ranking: Ranking, ranks: dict[str, int]) -> None:
    """Mean of -log sigmoid(better - worse) over the comparisons that the clicks imply."""
    import torch

    from alignment.maths.losses import ComparedPairs, ranking_loss
    from alignment.models.load import load_scorer, load_tokenizer
    from alignment.reward.annotations import annotation_of_ranking
    from alignment.reward.batch import collate_rankings
    from alignment.reward.data import prepare
    from alignment.reward.forward import packed_scores
    from alignment.shared.config import RewardConfig

    tokenizer = load_tokenizer(base)
    scorer = load_scorer(base, tokenizer, trained=False, seed=0)
    config = RewardConfig(heldout_fraction=0.0)
    examples = prepare([annotation_of_ranking(ranking, config)], tokenizer, 64, config).train
    batch = collate_rankings(examples, tokenizer.pad_token_id)
    with torch.no_grad():
        scores = packed_scores(scorer, batch)
    by_text = dict(zip(ranking.responses, scores.tolist(), strict=True))
    gaps = [by_text[a] - by_text[b] for a in ranks for b in ranks if ranks[a] < ranks[b]]
    assert len(gaps) == 2
    by_hand = sum(math.log1p(math.exp(-gap)) for gap in gaps) / len(gaps)
    assert float(ranking_loss(scores, ComparedPairs(batch.better, batch.worse, batch.weights)).loss) == pytest.approx(
        by_hand, abs=1e-6
    )
