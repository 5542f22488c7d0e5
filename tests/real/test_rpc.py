"""profiles/llama-rpc.toml as it stands: a real llama-server over two real RPC workers on loopback."""

from __future__ import annotations

import os
from pathlib import Path

import psutil
import pytest

from specdash.runtime.listener import free_port
from tests.support.machine import assert_complete
from tests.support.paths import ROOT
from tests.support.real_machine import Real


@pytest.mark.real
def test_llama_server_over_rpc_workers(machine: Real, pair: tuple[Path, Path], llama_server: Path) -> None:
    target, draft = pair
    ports = f"{free_port()} {free_port()}"
    text = (ROOT / "profiles" / "llama-rpc.toml").read_text()
    for old, new in (
        ("50052 50053", ports),
        ('"./scripts', f'"{ROOT}/profiles/scripts'),
        ("~/models/Llama-3.3-70B-Instruct-Q4_K_M.gguf", str(target)),
        ("~/models/Llama-3.2-1B-Instruct-Q8_0.gguf", str(draft)),
        ("k = [2, 4]", "k = [4]"),
        ('"coding"', '"counting"'),  # the shortest
        ("max_tokens = 96", "max_tokens = 32"),
    ):
        assert old in text
        text = text.replace(old, new)
    profile = machine.folder / "llama-rpc.toml"
    profile.write_text(f"{text}\n[limits]\ninhibit_sleep = false\n")
    run = machine.headless(profile, env={"PATH": f"{llama_server.parent}:{os.environ['PATH']}"}).end()
    assert_complete(run)
    assert run.code == 0, run.stderr
    rows = {row["k"]: row for row in run.result["measurements"]}
    assert set(rows) == {None, 4}
    for k, row in rows.items():
        assert (row["status"], row["k_seen"], row["samples"][0]["clock"]) == ("ok", k, "server"), row
        assert all(sample["cached_tokens"] == 0 for sample in row["samples"])
        assert row["lossless"]["state"] != "output_differs"
    assert 0 < rows[4]["acceptance_rate"] <= 1
    log = ((run.path or Path()) / run.result["loads"][0]["log"]).read_text(errors="replace")
    assert "RPC" in log
    assert not [
        each for each in psutil.process_iter(["name"]) if each.info["name"] == "ggml-rpc-server" and mine(each, ports)
    ]


def mine(process: psutil.Process, ports: str) -> bool:
    """Whether a worker is one of this test's."""
    try:
        return bool(set(ports.split()) & set(process.cmdline()))
    except psutil.Error:
        return False
