"""The fake llama-server as a program in a file, for tests and benches."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from tests.support.paths import FAKES

SERVER = FAKES / "llama_server.py"
DIALECTS = ("current", "old")


def write_fake_server(folder: Path) -> Path:
    """Writes the program into a folder; FAKE_DIALECT and FAKE_SERVER tell it what to do, see fakes/fake_flags.py.

    Every run asks for the version and the help: they are kept in files, since a start of Python costs as much as
    anything else that a short run does.
    """
    for dialect in DIALECTS:
        environment = {name: value for name, value in os.environ.items() if name != "FAKE_SERVER"}
        asked = [sys.executable, str(SERVER), "--help"]
        told = subprocess.run(asked, env=environment | {"FAKE_DIALECT": dialect}, stdout=subprocess.PIPE, check=True)
        (folder / f"help.{dialect}").write_bytes(told.stdout)
    asked = [sys.executable, str(SERVER), "--version"]
    (folder / "version").write_bytes(subprocess.run(asked, stderr=subprocess.PIPE, check=True).stderr)
    program = folder / "fake-llama-server"
    program.write_text(f"""#!/bin/sh
case "$#$1$FAKE_SERVER" in
*help_extra*) ;;
1--help*) exec cat "{folder}/help.${{FAKE_DIALECT:-current}}";;
1--version*) exec cat "{folder}/version" >&2;;
esac
exec "{sys.executable}" "{SERVER}" "$@"
""")
    program.chmod(0o755)
    return program
