"""A process that ranks under load until it is killed; zygote.py forks it.

Writes the id of every ranking to FILE, once it has been acknowledged; several threads, so that a kill hits in the
middle of things.
"""

from __future__ import annotations

import os
import secrets
import threading
import time

from labeling_app.labels import submit, undo
from labeling_app.people import people
from labeling_app.projects import get_project
from labeling_app.queue import next_item
from labeling_app.store.database import open_store
from labeling_app.submission import Submission
from labeling_app.views import ItemView


def main(where: str, names: str, file: str) -> None:
    """Rank for ever, a thread for each of the names (with commas between); every tenth ranking is undone and redone."""
    store = open_store(where, create=False)
    project = get_project(store, "p")
    accounts = [person for person in people(store) if person.name in names.split(",")]
    log = os.open(file, os.O_CREAT | os.O_APPEND | os.O_WRONLY)

    def work(number: int) -> None:
        count = 0
        while isinstance(view := next_item(store, accounts[number], project.id), ItemView):
            ranks = {answer.key: place for place, answer in enumerate(view.answers, start=1)}
            sent = Submission(lease=view.lease, token=secrets.token_hex(8), ranks=ranks, moves=1)
            receipt = submit(store, accounts[number], sent)
            os.write(log, f"{receipt.ranking}\n".encode())
            count += 1
            if count % 10 == 0:
                undo(store, accounts[number], project.id)

    threads = [threading.Thread(target=work, args=(n,), daemon=True) for n in range(len(accounts))]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        time.sleep(0.05)
