"""A process that has imported a program, and forks it: python -m tests.labeling_app.zygote align|writer.

Importing Gradio takes seconds, SQLAlchemy most of one, and a test that kills fifty processes cannot wait for it fifty
times. Each line of standard input is a JSON list of the program's arguments; what it runs is the program itself, in a
process of its own, whose id is the answer. Nothing here opens a database or starts a thread: a forked process could
use neither.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import sys
import threading
from collections.abc import Callable


def app() -> Callable[[], None]:
    """The command line, with what `align label` imports."""
    os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
    import gradio  # noqa: F401
    import uvicorn.protocols.http.auto  # noqa: F401

    import labeling_app.labels
    import labeling_app.pages
    import labeling_app.server
    import labeling_app.store.database  # noqa: F401
    from align.cli import main as align

    return align


def writer() -> Callable[[], None]:
    """A process that ranks until it is killed; see writer.py."""
    from tests.labeling_app.writer import main

    return lambda: main(*sys.argv[1:])


def main(name: str) -> None:
    """Fork the program for every line, until standard input ends."""
    program = {"align": app, "writer": writer}[name]()
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # whoever was killed leaves no zombie, and its id is gone
    with contextlib.suppress(ImportError):
        import psycopg  # noqa: F401
    assert threading.active_count() == 1, "a fork would lose threads"
    print("ready", flush=True)
    for line in sys.stdin:
        number = os.fork()
        if number == 0:
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            with open(os.devnull) as nothing:
                os.dup2(nothing.fileno(), 0)  # the pipe is the zygote's alone
            os.dup2(2, 1)
            sys.argv = [name, *json.loads(line)]
            program()
            os._exit(0)  # a program that ends goes on to no further line
        print(number, flush=True)


if __name__ == "__main__":
    main(sys.argv[1])
