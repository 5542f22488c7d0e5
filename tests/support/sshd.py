"""A real sshd on loopback, with keys made for the test."""

from __future__ import annotations

import getpass
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil

from tests.support.real_programs import absent


@dataclass(frozen=True, slots=True)
class Sshd:
    """A running sshd, and the options with which ssh gets into it."""

    process: subprocess.Popen[bytes]
    port: int
    options: tuple[str, ...]


def make_keys(folder: Path) -> Path:
    """The folder, with the keys of a host, a user and a stranger in it."""
    for program in ("ssh", "ssh-keygen"):
        if shutil.which(program) is None:
            absent(f"no {program}: install openssh-client")
    for name in ("host", "user", "stranger"):
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", folder / name], check=True)
    return folder


@contextmanager
def running_sshd(keys: Path) -> Iterator[Sshd]:
    """sshd on a free port, which lets this user in with the key of `keys`."""
    program = shutil.which("sshd", path=os.environ.get("PATH", "") + ":/usr/sbin:/sbin")
    if program is None:
        absent("no sshd: install openssh-server")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    config, log = keys / "sshd_config", keys / "sshd.log"
    config.write_text(
        f"""Port {port}
ListenAddress 127.0.0.1
HostKey {keys / "host"}
AuthorizedKeysFile {keys / "user.pub"}
PidFile none
StrictModes no
UsePAM no
PasswordAuthentication no
KbdInteractiveAuthentication no
PermitRootLogin prohibit-password
"""
    )
    if os.getuid() == 0:
        Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)  # where sshd gives up its rights
    (keys / "known_hosts").write_text(f"[127.0.0.1]:{port} {(keys / 'host.pub').read_text()}")
    process = subprocess.Popen([program, "-D", "-f", config, "-E", log])
    try:
        until_s = time.monotonic() + 10
        while True:
            try:
                socket.create_connection(("127.0.0.1", port), 1).close()
                break
            except OSError:
                if process.poll() is not None or time.monotonic() > until_s:
                    absent(f"sshd does not start here: {log.read_text() if log.exists() else ''}")
        options: tuple[str, ...] = ("-F", "none", "-p", str(port), "-i", str(keys / "user"), "-l", getpass.getuser())
        options += ("-o", "IdentitiesOnly=yes", "-o", "IdentityAgent=none", "-o", "BatchMode=yes")
        options += ("-o", f"UserKnownHostsFile={keys / 'known_hosts'}", "-o", "StrictHostKeyChecking=yes")
        yield Sshd(process, port, options)
    finally:
        for child in psutil.Process(process.pid).children(recursive=True) if process.poll() is None else []:
            child.kill()
        process.kill()
        process.wait()
