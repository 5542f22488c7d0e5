"""Start-up arguments that a profile may not carry, because specdash sets them itself or a key of the profile does."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable

from specdash.config.lines import KeyPath
from specdash.config.report import Findings, toml_text
from specdash.core.kinds import LOOPBACK_ONLY, Kind

_ONE_STRING = re.compile(r"(--?[A-Za-z][\w-]*)\s+(\S.*)", re.DOTALL)
_VARIABLE = re.compile(r"(LLAMA_\w+)=")


def check_env(findings: Findings, path: KeyPath, name: str, kind: Kind) -> None:
    """Reports a variable at `path` that sets a flag: what `args` must not contain, and warns of every other one."""
    todo = _refused(kind).get(name) if name.startswith("LLAMA_") else None
    if todo is not None:
        findings.problem(path, f"{toml_text(name)} sets a flag that is not for the user to set", todo)
    elif name.startswith("LLAMA_ARG_"):
        findings.warn(path, f"{toml_text(name)} sets a flag of the server where nobody looks for it", "Use engine.args")


def check_wrap(findings: Findings, path: KeyPath, words: Iterable[str], kind: Kind) -> None:
    """Reports variables that the words before a command give it, as in `env LLAMA_ARG_N_PARALLEL=4`."""
    for index, word in enumerate(words):
        if (found := _VARIABLE.match(word)) is not None:
            check_env(findings, (*path, index), found[1], kind)


def _refused(kind: Kind) -> dict[str, str]:
    """The flags and variables that are not the user's to set, each with what to do instead."""
    return {name: todo for names, todo in kind.refused for name in names.split()}


def check_args(findings: Findings, path: KeyPath, args: Iterable[object], kind: Kind) -> None:
    """Reports what `args` (the raw list at `path`) must not contain, and warns of a server open to the network.

    A launch command of the user's own takes any words.
    """
    if not kind.refused:
        return
    refused = _refused(kind)
    items = list(args)
    for index, item in enumerate(items):
        if not isinstance(item, str):
            continue
        here = (*path, index)
        flag, _, joined = item.partition("=")
        following = items[index + 1] if index + 1 < len(items) else ""
        value = joined or (following if isinstance(following, str) else "")
        if flag in refused:
            findings.problem(here, f"{toml_text(flag)} is not for args", refused[flag])
        elif flag == "--host":
            _check_host(findings, here, value)
        elif flag == "--override-kv" and "expert_used_count" in value:
            findings.problem(here, "expert counts are not for args", "They go in sweep.moe_experts, e.g. [4, 6]")
        elif (split := _ONE_STRING.fullmatch(item)) is not None:
            todo = f"No shell takes it apart: write {toml_text(split[1])}, {toml_text(split[2])}"
            findings.problem(here, f"{toml_text(item)} is a flag and its value in one string", todo)


def _check_host(findings: Findings, path: KeyPath, host: str) -> None:
    """Loopback is what specdash sets anyway; anything else is the user's to decide, but not by oversight."""
    try:
        is_loopback = ipaddress.ip_address(host).is_loopback
    except ValueError:
        is_loopback = host == "localhost" or host.endswith(".sock") or not host
    if is_loopback:
        findings.problem(path, '"--host" is not for args', LOOPBACK_ONLY)
    else:
        what = f"OPEN TO THE NETWORK: with --host {toml_text(host)} anyone who reaches this machine can use the server"
        findings.warn(path, what, "Leave --host out unless you mean it")
