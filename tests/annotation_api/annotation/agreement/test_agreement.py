"""Agreement over HTTP: the same number as the gate's, by hand where it can be, at once."""

from __future__ import annotations

import itertools
import random
import re
from argparse import Namespace
from datetime import datetime
from typing import Any

import krippendorff
import pytest
from scipy import stats
from sqlalchemy.orm import Session

from alignment.reward.report.agreement import measure_agreement
from alignment.shared.records import Prompt, Ranking
from annotation_api.annotation.agreement import queries
from annotation_api.annotation.agreement.schemas import Statistic
from annotation_api.cli.client import Client, ClientError, Credentials
from annotation_api.cli.commands import quality
from annotation_api.db.forms import Question, QuestionsForm, RankingForm, Rule, RulesForm
from annotation_api.db.kinds import Slice
from annotation_api.db.snapshots.judged_rows import rankings
from annotation_api.db.snapshots.votes import USUAL
from annotation_api.db.tables import FeedbackKind, Role


def figures(client: Any, project: Any, by: Slice = Slice.ALL) -> dict[tuple[str, str, str], dict[str, Any]]:
    answer = client.get(f"/v1/projects/{project.id}/agreement", params={"by": by.value})
    assert answer.status_code == 200, answer.text
    assert answer.json()["waiting"] == 0
    return {(row["statistic"], row["subject"], row["value"]): row for row in answer.json()["figures"]}


@pytest.fixture
def ranked(make: Any) -> Any:
    """Four people, of whom each task has three, rank six tasks of four responses with ties."""
    people = [make.person(Role.ANNOTATOR, pseudonym=f"p{n}") for n in range(4)]
    project, chance = make.project(name="Tides", overlap=3, forms=[RankingForm(criterion="honest")]), random.Random(1)
    orders: list[dict[str, list[int]]] = []
    for n in range(6):
        task = make.task(make.prompt(project, Prompt.from_text(f"{n}?", language="zh")), tuple("abcd"), overlap=3)
        orders.append({})
        for person in chance.sample(people, 3):
            ranks = [chance.randrange(4) for _ in range(4)]
            groups = [[i for i in range(4) if ranks[i] == rank] for rank in sorted(set(ranks))]
            make.submission(task, groups, person)
            orders[-1][person.pseudonym] = ranks
    return project, orders


def test_the_ceiling_is_the_gates(as_: Any, session: Session, ranked: Any) -> None:
    project, _ = ranked
    frozen = [row.record for row in rankings(session, project.id, USUAL)]
    gate = measure_agreement([row for row in frozen if isinstance(row, Ranking)]).ceiling
    assert gate is not None
    said = as_(Role.REVIEWER).get(f"/v1/projects/{project.id}/agreement").json()["ceiling"]
    assert (said["items"], said["prompts"]) == (gate.n, gate.prompts)
    assert (said["estimate"], said["low"], said["high"]) == pytest.approx((gate.value, gate.low, gate.high))


def test_of_very_many_pairs_those_who_judged_most_together_are_told(
    as_: Any, ranked: Any, browser_of: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    project, _ = ranked
    told = figures(as_(Role.REVIEWER), project, Slice.PAIR)
    monkeypatch.setattr(queries, "MOST", 3)
    answer = as_(Role.REVIEWER).get(f"/v1/projects/{project.id}/agreement", params={"by": "pair"}).json()
    assert answer["left_out"] > 0
    most = sorted((row["items"] for row in told.values()), reverse=True)
    assert min(row["items"] for row in answer["figures"]) >= most[len(answer["figures"])]
    page = browser_of(Role.REVIEWER).get(f"/projects/{project.id}/agreement").text
    assert "Of those who judged most together" in page


def test_orders_by_different_criteria_are_not_held_against_one_another(as_: Any, session: Session, make: Any) -> None:
    """By honesty all are of one mind, by helpfulness two are and one says the contrary; so says the gate."""
    project = make.project(overlap=3, forms=[RankingForm(criterion="helpful", apart=("honest",))])
    people = [make.person() for _ in range(3)]
    for n in range(4):
        task = make.task(make.prompt(project, f"{n}?"), tuple("ab"), overlap=3)
        first, second = map(str, make.response_ids(task))
        for person, order in zip(people, ([[0], [1]], [[0], [1]], [[1], [0]]), strict=True):
            make.submission(task, order, person, payload={"apart": {"honest": [[first], [second]]}})
    session.commit()
    client = as_(Role.REVIEWER)
    of_each = figures(client, project, Slice.CRITERION)
    assert of_each["pairs", "", "honest"]["estimate"] == 1
    assert of_each["pairs", "", "helpful"]["estimate"] == pytest.approx(1 / 3)
    assert (of_each["w", "", "honest"]["estimate"], of_each["tau_b", "", "honest"]["items"]) == (1, 12)
    whole = figures(client, project)["pairs", "", ""]
    assert (whole["estimate"], whole["items"], whole["prompts"]) == (pytest.approx(2 / 3), 48, 4)
    frozen = [row.record for row in rankings(session, project.id, USUAL)]
    gate = measure_agreement([row for row in frozen if isinstance(row, Ranking)]).ceiling
    assert gate is not None
    assert (whole["items"], whole["estimate"], whole["low"]) == pytest.approx((gate.n, gate.value, gate.low))


def test_a_person_has_one_order_by_the_prompts_own_criterion(as_: Any, session: Session, make: Any) -> None:
    """The form ranks honesty apart, and the prompt is about honesty: the whole is that order, and counts once."""
    project = make.project(overlap=2, forms=[RankingForm(apart=("honest",))])
    task = make.task(make.prompt(project, Prompt.from_text("?", criterion="honest")), tuple("ab"), overlap=2)
    first, second = map(str, make.response_ids(task))
    apart = {"apart": {"honest": [[first], [second]]}}
    make.submission(task, [[0], [1]], make.person(pseudonym="A"), payload=apart)
    session.commit()
    client = as_(Role.REVIEWER)
    assert figures(client, project) == figures(client, project, Slice.PAIR) == {}
    make.submission(task, [[1], [0]], make.person(pseudonym="B"), payload=apart)
    session.commit()
    found = figures(client, project, Slice.CRITERION)
    assert (found["pairs", "", "honest"]["estimate"], found["pairs", "", "honest"]["items"]) == (0, 2)
    assert (found["tau_b", "", "honest"]["estimate"], found["w", "", "honest"]["estimate"]) == (-1, 0)
    frozen = [row.record for row in rankings(session, project.id, USUAL)]
    assert len(frozen) == 2
    gate = measure_agreement([row for row in frozen if isinstance(row, Ranking)]).ceiling
    assert gate is not None
    assert (gate.n, gate.value) == (2, 0)


def test_kendalls_numbers_are_scipys_means(as_: Any, ranked: Any) -> None:
    project, orders = ranked
    found = figures(as_(Role.ENGINEER), project)
    taus = [stats.kendalltau(a, b).statistic for task in orders for a, b in itertools.combinations(task.values(), 2)]
    taus = [tau for tau in taus if tau == tau]
    tau = found["tau_b", "", ""]
    assert (tau["estimate"], tau["items"]) == (pytest.approx(sum(taus) / len(taus)), len(taus))
    chi2 = [stats.friedmanchisquare(*zip(*task.values(), strict=True)).statistic for task in orders]
    assert found["w", "", ""]["estimate"] == pytest.approx(sum(x / (3 * 3) for x in chi2) / len(orders))


@pytest.mark.parametrize("by", list(Slice))
def test_every_slice_has_its_names(as_: Any, ranked: Any, by: Slice) -> None:
    project, orders = ranked
    names = {value for _, _, value in figures(as_(Role.ADMIN), project, by)}
    people = {f"p{n}" for n in range(4)}
    pairs = {" | ".join(sorted(two)) for task in orders for two in itertools.combinations(task, 2)}
    expected = {"all": {""}, "criterion": {"honest"}, "language": {"zh"}, "form": {"ranking 1"}, "person": people}
    if by is Slice.DAY:
        assert len(names) == 1
    elif by is Slice.MAJORITY:
        assert names <= people
    else:
        assert names == expected.get(by.value, pairs)


def test_the_pairs_make_up_the_whole(as_: Any, ranked: Any) -> None:
    project, _ = ranked
    client = as_(Role.REVIEWER)
    whole = figures(client, project)["pairs", "", ""]
    by_pair = figures(client, project, Slice.PAIR)
    parts = [row for (statistic, _, _), row in by_pair.items() if statistic == "pairs"]
    assert sum(row["items"] for row in parts) == whole["items"]
    right = sum(row["items"] * row["estimate"] for row in parts)
    assert right == pytest.approx(whole["items"] * whole["estimate"])


def test_scales_have_alpha_at_three_levels_and_an_answer_counts_at_once(as_: Any, make: Any) -> None:
    """Two people give three tasks (1, 1), (1, 2), (2, 2): alpha 4/9 at any level, for there are but two values."""
    form = QuestionsForm(
        questions=(Question(id="clear", text="?", kind="scale"), Question(id="why", text="?", kind="text"))
    )
    project, people = make.project(forms=[form]), [make.person() for _ in range(2)]
    client = as_(Role.REVIEWER)
    for n, values in enumerate([(1, 1), (1, 2), (2, 2)]):
        task = make.task(make.prompt(project, f"{n}?"), ("a",), kind=FeedbackKind.QUESTIONS, overlap=2)
        for person, value in zip(people, values, strict=True):
            assignment = make.assignment(task, person)
            said = {"answers": {"clear": value, "why": f"because {person.id}"}}
            make.submission(task, [], assignment_id=assignment.id, kind="questions", payload=said)
        assert figures(client, project)["same", "question clear", ""]["items"] == n + 1
    found = figures(client, project)
    for statistic in (Statistic.NOMINAL, Statistic.ORDINAL):
        row = found[statistic.value, "question clear", ""]
        assert (row["estimate"], row["items"], row["low"]) == (pytest.approx(4 / 9), 3, None)
    assert found["alpha_ratio", "question clear", ""]["estimate"] == pytest.approx(4 / 9)
    assert not any(subject == "question why" for _, subject, _ in found)


def test_what_was_said_before_a_task_became_gold_counts_no_more(as_: Any, make: Any, session: Session) -> None:
    """Nor does what waits to be counted; and an ordinary task again counts again."""
    form = QuestionsForm(questions=(Question(id="clear", text="?", kind="scale"),))
    project, people = make.project(forms=[form, RankingForm()]), [make.person() for _ in range(4)]
    client = as_(Role.ENGINEER)
    prompts = [make.prompt(project, f"{n}?") for n in range(2)]
    asked = [make.task(prompt, ("a",), kind=FeedbackKind.QUESTIONS, overlap=5) for prompt in prompts]
    ranked = [make.task(prompt, tuple("ab"), overlap=5) for prompt in prompts]
    figures(client, project)
    for person, values in zip(people, [(1, 5), (3, 2), (2, 4), (4, 4)], strict=True):
        for task, order, question, value in zip(ranked, ([[0], [1]], [[1], [0]]), asked, values, strict=True):
            make.submission(task, order, person)
            held = make.assignment(question, person)
            fields = {"assignment_id": held.id, "kind": "questions", "payload": {"answers": {"clear": value}}}
            make.submission(question, [], **fields)
        session.commit()
        if person is not people[-1]:
            figures(client, project)
    url = f"/v1/projects/{project.id}/tasks"
    good, bad = map(str, make.response_ids(ranked[0]))
    expected = ({"order": [[good], [bad]]}, {"answers": {"clear": 1}})
    for task, known in zip((ranked[0], asked[0]), expected, strict=True):
        sent = client.put(f"{url}/{task.id}/gold", json={"expected": known, "why": "It is known."})
        assert sent.status_code == 200, sent.text
    found = figures(client, project)
    assert {key[0]: row["items"] for key, row in found.items()} == {
        "pairs": 12, "tau_b": 6, "w": 1, "same": 6, "alpha_nominal": 1, "alpha_ordinal": 1, "alpha_ratio": 1
    }  # fmt: skip
    alpha = krippendorff.alpha([[value] for value in (5, 2, 4, 4)], level_of_measurement="nominal")
    assert found["alpha_nominal", "question clear", ""]["estimate"] == pytest.approx(alpha)
    for task in (ranked[0], asked[0]):
        assert client.delete(f"{url}/{task.id}/gold").status_code == 204
    again = figures(client, project)
    assert {key[0]: row["items"] for key, row in again.items()} == {
        "pairs": 24, "tau_b": 12, "w": 2, "same": 12, "alpha_nominal": 2, "alpha_ordinal": 2, "alpha_ratio": 2
    }  # fmt: skip
    for task in (ranked[0], asked[0], ranked[1]):
        known = expected[1] if task is asked[0] else {"order": [[str(key)] for key in make.response_ids(task)]}
        client.put(f"{url}/{task.id}/gold", json={"expected": known, "why": "It is known."})
    client.put(f"{url}/{asked[1].id}/gold", json={"expected": expected[1], "why": "It is known."})
    assert figures(client, project) == {}


def test_nothing_is_said_of_what_one_person_judged(as_: Any, make: Any) -> None:
    project = make.project()
    make.submission(make.task(make.prompt(project)), [[0], [1]])
    answer = as_(Role.REVIEWER).get(f"/v1/projects/{project.id}/agreement").json()
    assert (answer["ceiling"], answer["figures"], answer["waiting"]) == (None, [], 0)


def test_the_page_shows_what_rest_says(browser_of: Any, as_: Any, ranked: Any) -> None:
    project, _ = ranked
    whole = figures(as_(Role.REVIEWER), project)
    page = browser_of(Role.REVIEWER).get(f"/projects/{project.id}/agreement").text
    for row in whole.values():
        assert f'<td class="n">{row["estimate"]:.2f}</td>' in page
        assert f'<td class="n">{row["items"]}</td>' in page
    assert "p0 · p1" in page
    empty = browser_of(Role.REVIEWER).get(f"/projects/{project.id}").text
    assert f'href="/projects/{project.id}/agreement"' in empty


def test_the_page_names_forms_criteria_and_questions_in_chinese(browser_of: Any, make: Any, session: Session) -> None:
    form = QuestionsForm(questions=(Question(id="clear", text="?", kind="yes_no", criterion="honest"),))
    project = make.project(forms=[form], overlap=2)
    task = make.task(make.prompt(project), ("a",), kind=FeedbackKind.QUESTIONS, overlap=2)
    for person in (make.person(), make.person()):
        fields = {"kind": "questions", "payload": {"answers": {"clear": True}}}
        make.submission(task, [], assignment_id=make.assignment(task, person).id, **fields)
    session.commit()
    page = browser_of(Role.REVIEWER).get(f"/projects/{project.id}/agreement", headers={"Accept-Language": "zh"}).text
    assert set(re.findall(r'<span class="tag">(.*?)</span>', page)) == {"问题 clear", "问答 1", "诚实"}


def test_the_page_draws_agreement_over_days(browser_of: Any, session: Session, make: Any) -> None:
    """Two people agree on one day and disagree on the next."""
    project, people = make.project(), [make.person() for _ in range(2)]
    for day, second in (("2026-11-01", [[0], [1]]), ("2026-11-03", [[1], [0]])):
        task = make.task(make.prompt(project, day), overlap=2)
        for person, groups in zip(people, ([[0], [1]], second), strict=True):
            make.submission(task, groups, person, created_at=datetime.fromisoformat(f"{day}T10:00:00+00:00"))
    page = browser_of(Role.REVIEWER).get(f"/projects/{project.id}/agreement").text
    assert page.count("<polyline") == 2
    assert "Agreement on pairs from 1.00 on 2026-11-01 to 0.00 on 2026-11-03" in page


def test_the_command_prints_a_table(as_: Any, ranked: Any, capsys: pytest.CaptureFixture[str]) -> None:
    project, _ = ranked
    client = Client(Credentials("http://localhost", "key"))
    client.http = as_(Role.ENGINEER)
    for named in (str(project.id), project.name):
        assert quality.agreement(client, Namespace(project=named, by="person", people=False, json=False)) == 0
        assert "tau_b" in capsys.readouterr().out
    assert quality.agreement(client, Namespace(project="Tides", by="all", people=True, json=False)) == 0
    assert capsys.readouterr().out.splitlines()[0].startswith("person")
    with pytest.raises(ClientError, match="no project named 'none'"):
        quality.agreement(client, Namespace(project="none", by="all", people=False, json=False))


def test_whom_to_trust_is_told_by_person(as_: Any, browser_of: Any, make: Any) -> None:
    """Of four one turns every order round, and says of every rule the contrary."""
    form = RulesForm(rules=(Rule(id="rude", text="Be kind."),))
    project, people = make.project(forms=[RankingForm(), form]), [make.person(pseudonym=f"p{n}") for n in range(4)]
    for n in range(15):
        ranked = make.task(make.prompt(project, f"{n}?"), tuple("abc"), overlap=4)
        probed = make.task(make.prompt(project, f"{n}!"), ("a",), kind=FeedbackKind.RULES, overlap=4)
        for person in people:
            odd = person is people[3]
            make.submission(ranked, [[2], [1], [0]] if odd else [[0], [1], [2]], person)
            verdict = "broken" if odd == (n % 2 == 0) else "kept"
            said = {"verdicts": {"rude": verdict}}
            make.submission(probed, [], assignment_id=make.assignment(probed, person).id, kind="rules", payload=said)
    found = as_(Role.REVIEWER).get(f"/v1/projects/{project.id}/reliability").json()
    worth = {(row["person"], row["subject"]): row["weight"] for row in found["people"]}
    assert set(worth) == {(f"p{n}", subject) for n in range(4) for subject in ("", "rule rude")}
    assert worth["p3", ""] == worth["p3", "rule rude"] == 0.0
    assert min(weight for (name, _), weight in worth.items() if name != "p3") > 0.6
    assert found["people"][0]["person"] == "p3"
    page = browser_of(Role.REVIEWER).get(f"/projects/{project.id}/agreement", params={"people": "true"}).text
    assert f'<td class="n">{found["people"][0]["value"]:.2f}</td>' in page
