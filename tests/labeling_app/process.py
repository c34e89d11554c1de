"""The labeling app as a process of its own, as a run's printed command starts it, and annotators who use its API."""

from __future__ import annotations

import http.client
import json
import os
import re
import secrets
import shlex
import signal
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.annotators import dense
from tests.browser.served import PASSWORD, free_port
from tests.runs import ROOT, environment, spawn

PATIENCE = 240.0
"""Seconds to wait for a process: machines that test are busy."""

Score = Callable[[str, str], float]
"""What an annotator thinks of an answer: (question, answer) -> higher is better."""


def told(out: str) -> dict[str, str]:
    """What a run that waits prints for people to do, by its first words."""
    lines = [re.match(r"(first|rank them|the page|then): +(.*)", line) for line in out.splitlines()]
    return {line[1]: line[2] for line in lines if line}


def join(order: str, name: str, folder: Path) -> None:
    """Make an account by the printed command, with the password PASSWORD."""
    secret = folder / "password.txt"
    secret.write_text(PASSWORD)
    words = shlex.split(order.split("  (")[0])
    assert words[:4] == ["align", "labels", "users", "add"] and words.count("NAME") == 1, order
    words[words.index("NAME")] = name
    done = spawn(*words[1:], "--password-file", secret, cwd=folder)
    assert done.code == 0, done.err


def alive(number: int) -> bool:
    """Whether there is a process of this id."""
    return Path(f"/proc/{number}").exists()


class Zygote:
    """Starts a program, `align` or `writer`, in a moment; see zygote.py."""

    def __init__(self, program: str, log: Path) -> None:
        self.log = log
        with log.open("wb") as errors:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "tests.labeling_app.zygote", program], cwd=ROOT, env=environment(),
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors, text=True,
            )  # fmt: skip

    def __enter__(self) -> Zygote:
        assert self.said() == "ready"
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.communicate()

    def said(self) -> str:
        """Its next line."""
        assert self.process.stdout is not None
        line = self.process.stdout.readline().strip()
        assert line, self.log.read_text()
        return line

    def start(self, *arguments: str) -> int:
        """The id of a new process."""
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps(arguments) + "\n")
        self.process.stdin.flush()
        return int(self.said())


class App:
    """The labeling app, started by a printed command on a free port; killed, it is started again on the same."""

    def __init__(self, order: str, zygote: Zygote) -> None:
        first, *words = shlex.split(order)
        assert first == "align", order
        self.port = free_port()
        self.words, self.zygote = [*words, "--port", str(self.port)], zygote
        self.url = f"http://127.0.0.1:{self.port}"
        self.number = 0

    def start(self) -> App:
        """Serve, and return once it answers."""
        log = self.zygote.log
        before = log.stat().st_size
        self.number = self.zygote.start(*self.words)
        end = time.monotonic() + PATIENCE
        while f"ranking page: {self.url}/app".encode() not in log.read_bytes()[before:]:
            assert alive(self.number) and time.monotonic() < end, log.read_text()
            time.sleep(0.05)
        return self

    def kill(self) -> None:
        """SIGKILL, before which it must be alive; nothing if it was killed before."""
        if self.number:
            assert alive(self.number), self.zygote.log.read_text()
            os.kill(self.number, signal.SIGKILL)
            while alive(self.number):
                time.sleep(0.002)
            self.number = 0


@dataclass
class Annotator:
    """Someone who ranks over the API until there is nothing left or they are told to stop; a lost answer is asked for
    again. pause: seconds between two items. saved: acknowledged ranking -> ranks by the answers' texts."""

    app: App
    project: str
    token: str
    score: Score
    pause: float = 0.0
    saved: dict[str, dict[str, int | None]] = field(default_factory=dict)
    stop: threading.Event = field(default_factory=threading.Event)

    def __post_init__(self) -> None:
        self.thread = threading.Thread(target=self.work, daemon=True)

    def work(self) -> None:
        """Rank one item after the other. What was sent and not answered is sent again as it was."""
        told = self.ask("next", {})
        while told and told["item"] and not self.stop.is_set():
            time.sleep(self.pause)
            item = told["item"]
            question = item["prompt"][-1]["content"]
            ranks = dense({a["key"]: self.score(question, a["text"]) for a in item["answers"]})
            sent = {"lease": item["lease"], "token": secrets.token_hex(8), "ranks": ranks, "moves": 1, "seconds": 20}
            told = self.ask("submit", sent)
            if told:
                self.saved[told["saved"]["ranking"]] = {a["text"]: ranks[a["key"]] for a in item["answers"]}

    def ask(self, what: str, sent: dict[str, Any]) -> dict[str, Any] | None:
        """What the API answers, once it does; None if it never does before the end."""
        path = f"{self.app.url}/api/v1/projects/{self.project}/{what}"
        headers = {"authorization": f"Bearer {self.token}", "content-type": "application/json"}
        request = urllib.request.Request(path, json.dumps(sent).encode(), headers)
        end = time.monotonic() + PATIENCE
        while time.monotonic() < end:
            try:
                with urllib.request.urlopen(request, timeout=30) as answer:
                    found: dict[str, Any] = json.loads(answer.read())
                    return found
            except urllib.error.HTTPError as error:
                if error.code != 503:
                    raise
            except (OSError, ValueError, http.client.HTTPException):
                pass  # killed: before it took the connection, or in the middle of its answer
            time.sleep(0.05)
        return None
