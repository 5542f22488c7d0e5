"""Tokens and passwords of a profile stay in the run's own profile.toml, whoever repeats them."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from tests.support.machine import assert_complete
from tests.support.real_machine import ONE_THREAD, Real

pytestmark = pytest.mark.real

TOKEN, PASSWORD = "hf_in_args_0123456", "pw-in-env-0123456"
SECRET, INHERITED = "in-wrap-0123456789", "sk-shell-0123456789"
# A launcher that repeats all it knows, as scripts with `set -x` do.
TELLING = 'echo "told: pw-in-env-0123456 $* $DB_PASSWORD $SECRET_TOKEN $OPENAI_API_KEY" >&2; exec "$@"'


def test_secrets_stay_in_the_profile_of_the_run(
    machine: Real, pair: tuple[Path, Path], llama_server: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", INHERITED)
    engine = {
        "args": [*ONE_THREAD, "--hf-token", TOKEN],
        "env": {"DB_PASSWORD": PASSWORD},
        "wrap": ["env", f"SECRET_TOKEN={SECRET}", "sh", "-c", TELLING, "sh"],
    }
    run = machine.run(machine.profile(llama_server, {"T": pair[0]}, {"D": pair[1]}, engine=engine))
    assert_complete(run)
    assert run.code == 0, run.stderr
    assert run.path is not None
    for path in run.path.rglob("*"):
        if path.is_file():
            assert stat.S_IMODE(path.stat().st_mode) == 0o600, path
            content = path.read_text(errors="replace")
            told = [secret for secret in (TOKEN, PASSWORD, SECRET, INHERITED) if secret in content]
            assert told == ([TOKEN, PASSWORD, SECRET] if path.name == "profile.toml" else []), path
    assert stat.S_IMODE(run.path.stat().st_mode) == 0o700
    for log in (run.path / "logs").glob("l*.log"):
        assert f"{'*' * len(PASSWORD)} {'*' * len(SECRET)} {'*' * len(INHERITED)}" in log.read_text(), "it was told"
    for said in (run.stdout, run.stderr):
        assert not any(secret in said for secret in (TOKEN, PASSWORD, SECRET))
    line = run.result["recommendations"][0]["command"]
    assert 'DB_PASSWORD="$DB_PASSWORD"' in line
    assert 'SECRET_TOKEN="$SECRET_TOKEN"' in line
    assert '--hf-token "$HF_TOKEN"' in line


def test_a_shared_run_folder_is_for_whom_the_umask_lets_in(
    machine: Real, pair: tuple[Path, Path], llama_server: Path
) -> None:
    run = machine.run(machine.profile(llama_server, {"T": pair[0]}, results={"shared": True}))
    assert run.code == 0, run.stderr
    assert run.path is not None
    umask = 0o022
    assert stat.S_IMODE(run.path.stat().st_mode) == 0o777 & ~umask
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in run.path.rglob("*") if path.is_file()}
    assert modes.pop("profile.toml") == 0o600
    assert modes.pop("lock", 0o600) == 0o600
    assert set(modes.values()) == {0o666 & ~umask}, modes
