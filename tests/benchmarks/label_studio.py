"""Label Studio as a yardstick: its own server on SQLite, its ranking template, and work through its API.

Installed into a virtual environment of its own, about a gigabyte; nothing of it is loaded here. It is started as its
documentation says for one machine (`label-studio start`, which is Django's development server), with its statistics,
its error reports and its look for newer versions switched off.
"""

from __future__ import annotations

import os
import secrets
import subprocess
import sys
import tempfile
import time
import venv
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx

VERSION = "1.23.2"
PORT = 7978
HERE = f"http://127.0.0.1:{PORT}"
BATCH = 500
"""Tasks of one import request."""

SILENT = {
    "COLLECT_ANALYTICS": "false",
    "LATEST_VERSION_CHECK": "false",
    "SENTRY_DSN": "",
    "FRONTEND_SENTRY_DSN": "",
    "LABEL_STUDIO_ENABLE_LEGACY_API_TOKEN": "true",
}
"""Its environment: nothing phones home, and a user's token is enough for its API."""

TEMPLATE = """<View>
  <Text name="prompt" value="$prompt"/>
  <List name="answers" value="$items" title="Answers"/>
  <Ranker name="rank" toName="answers"><Bucket name="best" title="Best first"/></Ranker>
</View>"""

PEOPLE = """
import os, sys, label_studio
sys.path.insert(0, os.path.dirname(label_studio.__file__))
import django
django.setup()
from organizations.models import Organization
from users.models import User
org = Organization.objects.first()
for number in range(int(sys.argv[1])):
    user = User.objects.create_user(email=f"a{number}@example.org", password=None)
    org.add_user(user)
    user.active_organization = org
    user.save()
    print("TOKEN", user.auth_token.key)
"""
"""Makes accounts, which its API does not: each annotator has their own, or all would be given the same task."""


def install(folder: Path) -> Path:
    """The folder of its programs; installed first if there are none."""
    programs = folder / "venv" / "bin"
    if not (programs / "label-studio").exists():
        venv.create(folder / "venv", with_pip=True)
        command = [programs / "python", "-m", "pip", "install", "-q", f"label-studio=={VERSION}"]
        subprocess.run(command, check=True)
    return programs


@contextmanager
def served(programs: Path, prompts: int, annotators: int) -> Iterator[tuple[Any, list[str]]]:
    """Its server with so many prompts of four answers, and its annotators' tokens; `started`: seconds of a warm start.

    The first start, which makes the database, is not measured.
    """
    with tempfile.TemporaryDirectory() as name:
        env = {**os.environ, **SILENT, "LABEL_STUDIO_BASE_DATA_DIR": name}
        token = secrets.token_hex(20)
        with _running(programs, env, ["--username", "admin@example.org", "--password", token, "--user-token", token]):
            _fill(token, prompts)
        django = {**env, "DJANGO_SETTINGS_MODULE": "label_studio.core.settings.label_studio"}
        command = [programs / "python", "-c", PEOPLE, str(annotators)]
        made = subprocess.run(command, env=django, capture_output=True, text=True, check=False)
        tokens = [line.split()[1] for line in made.stdout.splitlines() if line.startswith("TOKEN ")]
        if len(tokens) != annotators:
            sys.exit(made.stdout[-2000:] + made.stderr[-4000:])
        with _running(programs, env, []) as process:
            yield process, [f"Token {token}" for token in tokens]


@contextmanager
def _running(programs: Path, env: dict[str, str], more: list[str]) -> Iterator[Any]:
    begun = time.monotonic()
    command = [programs / "label-studio", "start", "--no-browser", "--internal-host", "127.0.0.1", "--port", str(PORT)]
    with tempfile.TemporaryFile() as log:
        process: Any = subprocess.Popen([*command, *more], env=env, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        try:
            with httpx.Client(base_url=HERE, timeout=60) as client:
                while not _answers(client):
                    if process.poll() is not None:
                        log.seek(0)
                        sys.exit(log.read()[-4000:].decode())
                    time.sleep(0.05)
            process.started = round(time.monotonic() - begun, 2)
            yield process
        finally:
            process.terminate()
            process.wait(30)


def _answers(client: httpx.Client) -> bool:
    try:
        return client.get("/health").status_code == 200
    except httpx.TransportError:
        return False


def _fill(token: str, prompts: int) -> None:
    with httpx.Client(base_url=HERE, headers={"authorization": f"Token {token}"}, timeout=600) as client:
        made = client.post("/api/projects/", json={"title": "load", "label_config": TEMPLATE}).raise_for_status()
        place = f"/api/projects/{made.json()['id']}/import"
        for start in range(0, prompts, BATCH):
            tasks = [_task(n) for n in range(start, min(start + BATCH, prompts))]
            client.post(place, json=tasks).raise_for_status()


def _task(number: int) -> dict[str, Any]:
    items = [{"id": f"{number}-{k}", "title": "", "body": text} for k, text in enumerate(answers_of(number))]
    return {"data": {"prompt": question(number), "items": items}}


def question(number: int) -> str:
    """The prompt of an item, on both sides."""
    return f"Question {number}: what is it about?"


def answers_of(number: int) -> list[str]:
    """Four answers to it."""
    return [f"Answer **{k}** to question {number}. " * 12 for k in range(4)]


async def first(client: httpx.AsyncClient, who: str) -> Any:
    """The first task of an annotator."""
    projects = await client.get("/api/projects/", headers={"authorization": who})
    return await _next(client, who, projects.json()["results"][0]["id"])


async def submit_and_next(client: httpx.AsyncClient, who: str, task: Any, _work: Any) -> Any:
    """Save a ranking of a task, and get the next task: two requests, one after the other, as its page does."""
    order = [item["id"] for item in task["data"]["items"]]
    ranked = {"from_name": "rank", "to_name": "answers", "type": "ranker", "value": {"ranker": {"best": order}}}
    sent = {"result": [ranked], "lead_time": 10}
    place = f"/api/tasks/{task['id']}/annotations/"
    (await client.post(place, headers={"authorization": who}, json=sent)).raise_for_status()
    return await _next(client, who, task["project"])


async def _next(client: httpx.AsyncClient, who: str, project: int) -> Any:
    answer = await client.get(f"/api/projects/{project}/next", headers={"authorization": who})
    return answer.raise_for_status().json()
