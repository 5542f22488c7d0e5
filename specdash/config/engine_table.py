"""`[engine]` of a profile, and what of it a `[[configs]]` may replace: each kind of engine has keys of its own."""

from __future__ import annotations

import ipaddress
import os
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Literal, cast
from urllib.parse import urlsplit

from specdash.config.entries import absolute
from specdash.config.fields import Schema, TomlTable
from specdash.config.lines import KeyPath
from specdash.config.problems import Findings, guess, toml_text
from specdash.config.programs import check_program, located, read_program
from specdash.core.engine_kinds import DEFAULT, KINDS, LOOPBACK_ONLY, OWN_KEYS, Kind, owners_of
from specdash.core.methods import BASELINE, METHODS, method_named
from specdash.core.process_spec import PLACEHOLDERS, mentions, variable
from specdash.core.profile import EVERY_METHOD, EngineConfig, Launch, Urls

_PLACE = re.compile(r"\{([a-z_]+)\}")
_ANY_PORT = "0 means any free port"


def read_engine(table: TomlTable, base: Path) -> EngineConfig:
    """`[engine]`."""
    kind = KINDS[table.choice("kind", DEFAULT.name, tuple(KINDS))]
    refuse_keys_of_others(table, kind)
    default = EngineConfig()
    wrap = table.strings("wrap", 'One string for each word: wrap = ["numactl", "--interleave=all"]')
    if wrap:
        wrap = (located(wrap[0], base), *wrap[1:])
        check_program(table.findings, (*table.at("wrap"), 0), wrap[0], "Install it, or leave wrap out")
        check_wrap(table.findings, table.at("wrap"), wrap, kind)
    k_scope = table.choice("k_scope", "auto", ("auto", "request", "capped", "startup"))
    config = EngineConfig(
        kind=kind.name,
        program=read_program(table, base, kind) if kind.programs else "",
        k_scope=cast(Literal["auto", "request", "capped", "startup"], k_scope),
        grace_s=table.number("grace_s", default.grace_s, "seconds, more than 0"),
        stall_s=table.number("stall_s", default.stall_s, "seconds, more than 0"),
        args=read_args(table, kind),
        env=_env(table, kind),
        wrap=wrap,
        port=table.whole("port", 0, 0, 65535, _ANY_PORT),
        load_timeout_s=_load_timeout(table),
        launch=read_launch(table, base),
        stop=read_command(table, "stop", base),
        health=_path(table, "health"),
        ready=_path(table, "ready"),
        metrics=_path(table, "metrics"),
        pid_file=absolute(text, base) if (text := table.text("pid_file", "")) else None,
        cool_down_s=table.number("cool_down_s", 0.0, "seconds, 0 or more", zero=True),
        url=read_url(table),
        api_key_env=_api_key_env(table),
        body=_body(table),
    )
    if config.launch and config.url:
        what = "a server is either started or running already: both launch and url are given"
        table.findings.problem(table.at("url"), what, "Leave one of them out")
    elif config.url:
        for key in ("args", "env", "wrap", "port", "stop", "pid_file"):
            if key in table.raw:
                what = "is for a server that is started, and the one at url runs already"
                table.findings.problem(table.at(key), what, f"Leave {key} out, or name a launch command")
    return config


def refuse_keys_of_others(table: TomlTable, kind: Kind) -> None:
    """Files each key of a table that only other kinds of engine have."""
    for key in OWN_KEYS:
        if key in table.raw and key not in kind.keys:
            kinds = " and ".join(map(toml_text, owners_of(key)))
            todo = f"Set kind, or leave {key} out"
            table.ask(key)
            table.findings.problem(table.at(key), f"is for kind = {kinds}; this engine is {toml_text(kind.name)}", todo)


def require_server(table: TomlTable, config: EngineConfig, *, in_every_config: bool) -> None:
    """Files what is missing to reach a server: a script has to be named, an address or a command for `openai`."""
    kind = KINDS[config.kind]
    if not kind.by_name or {"launch", "url"} & set(table.raw) or in_every_config:
        return
    table.findings.problem(table.path, f"says no way to a server, with kind = {toml_text(kind.name)}", kind.reach)


def warn_of_port(table: TomlTable, config: EngineConfig, launches: Launch) -> None:
    """Files where a launch command has no way to learn its port but from the environment."""
    told = any(mentions(command, "port") for command in launches.values())
    if KINDS[config.kind].by_name and launches and not config.port and not told:
        what = f"names no port: the server must listen on ${variable('port')}, which changes with every start"
        table.findings.warn(table.at("launch"), what, "Write {port} in launch, or set engine.port")


def read_args(table: TomlTable, kind: Kind) -> tuple[str, ...]:
    """`args` of the engine or of a configuration."""
    args = table.strings("args", 'One string for each word: args = ["-c", "4096"]')
    raw = table.raw.get("args")
    check_args(table.findings, table.at("args"), raw if isinstance(raw, list) else (), kind)
    return args


def read_launch(table: TomlTable, base: Path) -> Launch:
    """`launch`: one command, or a table of them by method."""
    table.ask("launch", schema=_by_method({"type": "array", "items": {"type": "string"}}))
    raw = table.raw.get("launch")
    if raw == {}:
        table.wrong("launch", "a command, or a table of commands by method", 'For example launch = ["./launch.sh"]')
    if not isinstance(raw, dict):
        command = read_command(table, "launch", base)
        return {EVERY_METHOD: command} if command else {}
    inner = TomlTable(table.findings, table.at("launch"), raw)
    found = {name: read_command(inner, key, base) for key in raw if (name := _method_key(inner, key)) is not None}
    return {name: command for name, command in found.items() if command}


def read_url(table: TomlTable) -> Urls:
    """`url`: one address, or a table of them by method."""
    table.ask("url", schema=_by_method({"type": "string"}))
    raw = table.raw.get("url")
    if raw in ("", {}) or (raw is not None and not isinstance(raw, str | dict)):
        table.wrong("url", "an address, or a table of addresses by method", 'For example url = "http://127.0.0.1:8000"')
        return {}
    if not isinstance(raw, dict):
        text = table.text("url", "")
        return {EVERY_METHOD: text} if text and _is_url(table, "url", text) else {}
    inner = TomlTable(table.findings, table.at("url"), raw)
    found = {name: inner.text(key, "") for key in raw if (name := _method_key(inner, key)) is not None}
    return {name: text for name, text in found.items() if text and _is_url(inner, name, text)}


def _by_method(one: Schema) -> Schema:
    """What a JSON Schema says of a value, or of a table of such values by method."""
    return {"anyOf": [one, {"type": "object", "additionalProperties": one}]}


def _method_key(table: TomlTable, key: str) -> str | None:
    """The method that a key of a table by methods means; None, with a problem filed, for none."""
    known = key if key == BASELINE else method_named(key)
    if known is None:
        names = [BASELINE, *METHODS]
        table.findings.problem(
            table.at(key), f"no method is called {toml_text(key)}", guess(key, names, "The methods are")
        )
    return known


def _is_url(table: TomlTable, key: str, text: str) -> bool:
    """Whether an address can be asked; a problem is filed for one that cannot."""
    try:
        parts = urlsplit(text)
        is_good = parts.scheme in ("http", "https") and bool(parts.hostname) and (parts.port or 1) > 0
    except ValueError:
        is_good = False
    if not is_good:
        table.wrong(key, "the address of a server", 'For example url = "http://127.0.0.1:8000"')
    elif parts.path.rstrip("/").endswith(("/completions", "/models")):
        todo = f"Leave out {toml_text(parts.path[parts.path.find('/v1') :] if '/v1' in parts.path else parts.path)}"
        table.findings.problem(table.at(key), "is the address of one endpoint, not of the server", todo)
        is_good = False
    elif "@" in (parts.netloc or ""):
        what = "has a name or password in it, which would be kept with the results"
        table.findings.problem(table.at(key), what, "Put the key into a variable, and name that in api_key_env")
        is_good = False
    return is_good


def read_command(table: TomlTable, key: str, base: Path) -> tuple[str, ...]:
    """A command as a list of words, its program found like any other."""
    if isinstance(table.raw.get(key), str):
        table.ask(key)
        table.wrong(key, "a list of words, since no shell takes it apart", f'For example {key} = ["./{key}.sh"]')
        return ()
    words = table.strings(key, f'One string for each word: {key} = ["./{key}.sh", "--port", "{{port}}"]')
    if not words:
        if table.raw.get(key) == []:
            table.wrong(key, "a command of at least one word")
        return ()
    if not words[0].strip():
        table.wrong(key, "a command, whose first word is a program", f'For example {key} = ["./{key}.sh"]')
        return ()
    for index, word in enumerate(words):
        for name in _PLACE.findall(word):
            if name not in PLACEHOLDERS:
                todo = guess(name, list(PLACEHOLDERS), "The places are")
                table.findings.problem((*table.at(key), index), f"nothing is filled in for {{{name}}}", todo)
    program = located(words[0], base)
    check_program(table.findings, (*table.at(key), 0), program, f'Give the path of the program, as {key} = ["./…"]')
    return (program, *words[1:])


def _path(table: TomlTable, key: str) -> str:
    """The path of an endpoint, "/health"; "" where the kind's own is used."""
    text = table.text(key, "")
    if text and not text.startswith("/"):
        table.wrong(key, "a path on the server", f'For example {key} = "/{text.strip("/") or key}"')
        return ""
    return text


def _api_key_env(table: TomlTable) -> str:
    name = table.text("api_key_env", "")
    if name and not re.fullmatch(r"[A-Za-z_]\w*", name):
        what = "is the name of a variable of the environment, never the key itself"
        table.findings.problem(table.at("api_key_env"), what, 'For example api_key_env = "OPENAI_API_KEY"')
        return ""
    if name and not os.environ.get(name):
        table.findings.lacks(table.at("api_key_env"), f"the variable {name} is not set here", f"export {name}=…")
    return name


def _body(table: TomlTable) -> dict[str, object]:
    """`body`: fields that every request carries, beside those that specdash sets."""
    value = table.ask("body", {}, {"type": "object"})
    if not isinstance(value, dict):
        table.wrong("body", "a table of fields", "For example body = { top_k = 1 }")
        return {}
    for name in sorted({"model", "messages", "prompt", "stream", "max_tokens", "temperature", "seed"} & set(value)):
        table.findings.problem((*table.at("body"), name), "is set by specdash", "It goes in [measure] or [[targets]]")
    return value


def _load_timeout(table: TomlTable) -> float | Literal["auto"]:
    table.ask("load_timeout_s", schema={"anyOf": [{"const": "auto"}, {"type": "number"}]})
    if table.raw.get("load_timeout_s", "auto") == "auto":
        return "auto"
    return table.number("load_timeout_s", 0.0, 'seconds, more than 0, or "auto"')


def _env(table: TomlTable, kind: Kind) -> dict[str, str]:
    """`engine.env`: names and values for the server's environment."""
    value = table.ask("env", {}, {"type": "object", "additionalProperties": {"type": "string"}})
    if not isinstance(value, dict):
        table.wrong("env", "a table of strings", 'For example env = { OMP_NUM_THREADS = "16" }')
        return {}
    for name, setting in value.items():
        path = (*table.at("env"), name)
        if not name or "=" in name or "\0" in name:
            table.findings.problem(path, "is not a name for an environment variable")
        if not isinstance(setting, str) or "\0" in setting:
            quoted = f'Quote it: "{toml_text(setting)}"' if isinstance(setting, int | float) else ""
            table.findings.problem(path, f"must be a string; found {toml_text(setting)}", quoted)
        check_env(table.findings, path, name, kind)
    return {name: setting for name, setting in value.items() if isinstance(setting, str)}


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
