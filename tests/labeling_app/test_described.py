"""A script that knows the API from openapi.json alone: what it says can be sent, and is what is answered."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient

from labeling_app.incoming import import_labels
from labeling_app.people import Role, script_token
from labeling_app.projects import make_project
from labeling_app.server import create_app
from labeling_app.store.database import Store
from tests.labeling_app.world import answers_row, person, write

WORK = "/api/v1/projects/{slug}"


@pytest.fixture
def client(store: Store, tmp_path: Path) -> Iterator[TestClient]:
    """Ann's script, with two items of two answers each."""
    project = make_project(store, "p", gold_share=0.0, adjudicate_below=None)
    import_labels(store, project, write(tmp_path / "answers.jsonl", [answers_row(n, count=2) for n in range(2)]))
    person(store, "ann")
    headers = {"authorization": f"Bearer {script_token(store, 'ann')}"}
    with TestClient(create_app(store, origins=["http://testserver"]), headers=headers) as client:
        yield client


@pytest.fixture
def described(client: TestClient) -> dict[str, Any]:
    found: dict[str, Any] = client.get("/api/openapi.json").json()
    return found


def at(described: dict[str, Any], schema: dict[str, Any]) -> dict[str, Any]:
    """A schema, or what it refers to."""
    for part in schema.get("$ref", "").split("/")[1:]:
        schema = described = described[part]
    return schema


def body_of(described: dict[str, Any], path: str, method: str = "post") -> dict[str, Any]:
    return at(described, described["paths"][path][method]["requestBody"]["content"]["application/json"]["schema"])


def answer_of(described: dict[str, Any], path: str, method: str) -> dict[str, Any]:
    """What a path answers with, where there is one form of it."""
    answer = described["paths"][path][method]["responses"]["200"]["content"]["application/json"]["schema"]
    return at(described, answer)


def answers_of(described: dict[str, Any], path: str) -> list[dict[str, Any]]:
    """What a path answers with: with an item, and without."""
    schema = described["paths"][path]["post"]["responses"]["200"]["content"]["application/json"]["schema"]
    return [at(described, one) for one in schema["anyOf"]]


def sent(client: TestClient, path: str, body: dict[str, Any] | None = None, method: str = "POST") -> Any:
    answer = client.request(method, path.format(slug="p"), json=body)
    assert answer.status_code == 200, answer.text
    return answer.json()


def test_the_examples_can_be_sent_with_the_lease_of_an_item(client: TestClient, described: dict[str, Any]) -> None:
    offer, nothing = answers_of(described, f"{WORK}/next")
    told = sent(client, f"{WORK}/next")
    item_schema = at(described, offer["properties"]["item"])
    assert set(told["item"]) == set(item_schema["properties"]) and "lease:" in item_schema["description"]
    for list_of in ("answers", "prompt"):
        assert set(told["item"][list_of][0]) == set(
            at(described, item_schema["properties"][list_of]["items"])["required"]
        )

    language = body_of(described, "/api/v1/me/locale", "put")["examples"][0]
    assert sent(client, "/api/v1/me/locale", language, "PUT") == language
    for path, method in (("/api/v1/draft", "put"), ("/api/v1/renew", "post"), ("/api/v1/leave", "post")):
        example = body_of(described, path, method)["examples"][0]
        done = sent(client, path, {**example, "lease": told["item"]["lease"]}, method)
        assert set(done) == set(answer_of(described, path, method)["required"])
    lease = sent(client, f"{WORK}/next")["item"]["lease"]

    ranking = body_of(described, f"{WORK}/submit")["examples"][0]
    saved = sent(client, f"{WORK}/submit", {**ranking, "lease": lease})
    assert saved["saved"] == {"ranking": saved["saved"]["ranking"], "version": 1, "repeated": False}
    assert sent(client, f"{WORK}/submit", {**ranking, "lease": lease})["saved"]["repeated"]

    skip = {**body_of(described, f"{WORK}/skip")["examples"][0], "lease": saved["item"]["lease"], "token": "another-1"}
    last = sent(client, f"{WORK}/skip", skip)
    assert set(last) == set(answers_of(described, f"{WORK}/skip")[1]["properties"])
    assert set(sent(client, f"{WORK}/next")) == set(nothing["properties"])
    assert set(sent(client, f"{WORK}/undo")) == set(answer_of(described, f"{WORK}/undo", "post")["required"])


def test_what_must_be_sent_is_said(client: TestClient, described: dict[str, Any]) -> None:
    """No value that the description allows for `moves` is refused, and it may not be left out."""
    schema = body_of(described, f"{WORK}/submit")
    assert "moves" in schema["required"] and schema["properties"]["moves"]["minimum"] == 1
    lease = sent(client, f"{WORK}/next")["item"]["lease"]
    ranking = {**schema["examples"][0], "lease": lease}
    for unfit in ({**ranking, "moves": 0}, {name: ranking[name] for name in ("lease", "token", "ranks")}):
        answer = client.post(f"{WORK}/submit".format(slug="p"), json=unfit)
        assert (answer.status_code, answer.json()["error"]["where"]) == (422, "moves")


def test_a_script_is_told_of_the_token_it_needs(described: dict[str, Any]) -> None:
    (name,) = described["components"]["securitySchemes"]
    assert described["components"]["securitySchemes"][name]["scheme"] == "bearer"
    assert described["security"] == [{name: []}]


@pytest.mark.parametrize("role", ["annotator", "reviewer"])
def test_who_one_is_and_figures_are_described(
    client: TestClient, described: dict[str, Any], store: Store, role: Role
) -> None:
    person(store, role, role)
    client.headers["authorization"] = f"Bearer {script_token(store, role)}"
    told, schema = sent(client, "/api/v1/me", method="GET"), answer_of(described, "/api/v1/me", "get")
    assert set(told) == set(schema["required"])
    project = at(described, schema["properties"]["projects"]["items"])
    assert set(told["projects"][0]) == set(project["properties" if role == "reviewer" else "required"])
    if role == "reviewer":
        figures = answer_of(described, f"{WORK}/quality", "get")
        assert set(sent(client, f"{WORK}/quality", method="GET")) == set(figures["required"])
        assert "seconds_left:" in figures["description"] and "age:" in figures["description"]


def test_an_export_is_described(client: TestClient, described: dict[str, Any], store: Store) -> None:
    ranking = body_of(described, f"{WORK}/submit")["examples"][0]
    lease = sent(client, f"{WORK}/next")["item"]["lease"]
    lease = sent(client, f"{WORK}/submit", {**ranking, "lease": lease})["item"]["lease"]
    person(store, "lead", "reviewer")
    lead = {"authorization": f"Bearer {script_token(store, 'lead')}"}
    answer = client.get(f"{WORK}/export".format(slug="p"), headers=lead)
    told = described["paths"][f"{WORK}/export"]["get"]["responses"]["200"]
    assert answer.status_code == 200 and set(told["headers"]) == {"x-rows", "x-sha256", "x-upto"}
    assert set(told["headers"]) <= set(answer.headers) and int(answer.headers["x-rows"]) == 1
    assert all(header["description"] for header in told["headers"].values())
    assert list(told["content"]) == ["*/*"]
    sent(client, f"{WORK}/submit", {**ranking, "lease": lease, "token": "another-1"})
    again = client.get(f"{WORK}/export".format(slug="p"), params={"upto": answer.headers["x-upto"]}, headers=lead)
    assert again.content == answer.content and hashlib.sha256(again.content).hexdigest() == again.headers["x-sha256"]
    assert int(client.get(f"{WORK}/export".format(slug="p"), headers=lead).headers["x-rows"]) == 2
    preferences = client.get(f"{WORK}/export".format(slug="p"), params={"shape": "preferences"}, headers=lead)
    assert '"chosen"' in preferences.text


def test_every_field_whose_name_does_not_say_it_is_described(described: dict[str, Any]) -> None:
    for path, fields in (
        ("submit", "lease token ranks strength ratings seconds moves"),
        ("skip", "lease token reason"),
    ):
        properties = body_of(described, f"{WORK}/{path}")["properties"]
        assert [name for name in fields.split() if not properties[name].get("description")] == []
    assert "not" in body_of(described, "/api/v1/draft", "put")["properties"]["body"]["description"]


def test_errors_are_described(client: TestClient, described: dict[str, Any]) -> None:
    responses = described["paths"][f"{WORK}/submit"]["post"]["responses"]
    assert set(responses) == {"200", "4XX"}
    told = at(described, responses["4XX"]["content"]["application/json"]["schema"])
    error = at(described, told["properties"]["error"])
    assert set(client.post("/api/v1/projects/p/submit").json()["error"]) == set(error["properties"])


@pytest.mark.parametrize("path", ["/api/v1/projects/p/submit", "/api/v1/projects/p/skip", "/api/v1/renew"])
@pytest.mark.parametrize("kind", [{}, {"content-type": "application/x-www-form-urlencoded"}])
def test_a_body_that_is_not_said_to_be_json(client: TestClient, path: str, kind: dict[str, str]) -> None:
    answer = client.post(path, content=b'{"lease": "x"}', headers=kind)
    assert answer.status_code == 422 and answer.json()["error"]["code"] == "bad-text"
    assert "content-type: application/json" in answer.json()["error"]["remedy"]


def test_a_body_that_is_json_and_no_object(client: TestClient) -> None:
    error = client.post("/api/v1/projects/p/submit", json=[1]).json()["error"]
    assert (error["found"], error["where"], error["remedy"]) == (
        "Input should be a valid dictionary",
        "body",
        "see /api",
    )
