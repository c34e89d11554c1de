"""Cut a process and its children off the network, and write down whatever they try."""

from __future__ import annotations

import os
from pathlib import Path

from tests.runs import environment

SITE = '''\
"""Imported by Python at start, in every process: only sockets of this machine work."""
import os
import socket

RECORD = os.environ["ALIGN_TEST_NETWORK"]


def refuse(what):
    with open(RECORD, "a") as out:
        out.write(f"{what}\\n")
    raise OSError(f"the test has cut the network off: {what}")


class Socket(socket.socket):
    def connect(self, address):
        if self.family in (socket.AF_INET, socket.AF_INET6):
            refuse(f"connect {address}")
        return super().connect(address)

    def connect_ex(self, address):
        if self.family in (socket.AF_INET, socket.AF_INET6):
            refuse(f"connect {address}")
        return super().connect_ex(address)

    def sendto(self, *arguments):
        if self.family in (socket.AF_INET, socket.AF_INET6):
            refuse(f"sendto {arguments[-1]}")
        return super().sendto(*arguments)


socket.socket = Socket
socket.getaddrinfo = lambda host, *rest, **more: refuse(f"getaddrinfo {host}")
socket.gethostbyname = lambda host: refuse(f"gethostbyname {host}")
'''


def blocked(site: Path, record: Path) -> dict[str, str]:
    """An environment whose Python processes refuse every connection to a network and note it in `record`."""
    site.mkdir(exist_ok=True)
    (site / "sitecustomize.py").write_text(SITE, "utf-8")
    plain = environment()
    return plain | {
        "PYTHONPATH": os.pathsep.join([str(site), plain["PYTHONPATH"]]),
        "ALIGN_TEST_NETWORK": str(record),
    }
