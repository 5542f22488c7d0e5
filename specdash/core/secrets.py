"""What is a secret, decided by the name that it goes by, and how it is kept out of what others may read. Pure.

Journals, results, reports and logs are passed on; tokens, keys and passwords are not. A value is secret where its name
says so: a flag (`--hf-token X`, `--api-key=X`), an assignment (`HF_TOKEN=X`, also within a longer word, as a shell
command is one), a header (`Authorization: X`), a field of JSON, a parameter of an address, and the password in one.
A command for the user to paste names a variable in its place: `--hf-token "$HF_TOKEN"`.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

MASK = "*"
SHORT_CHARS = 8  # a shorter secret is hidden in running text only where it stands as a word of its own
LEAST_CHARS = 4  # what is shorter still is hidden beside its name alone: hiding every "1" would spoil all text

_WORDS = frozenset(
    [
        "APIKEY",
        "APIKEYS",
        "AUTH",
        "AUTHORIZATION",
        "BEARER",
        "COOKIE",
        "CREDENTIAL",
        "CREDENTIALS",
        "CREDS",
        "KEY",
        "KEYS",
        "PASS",
        "PASSPHRASE",
        "PASSWD",
        "PASSWORD",
        "PASSWORDS",
        "PAT",
        "PGPASS",
        "PWD",
        "SECRET",
        "SECRETS",
        "TOKEN",
    ]
)
_ENDINGS = (
    "TOKEN",
    "SECRET",
    "PASSWORD",
    "PASSWD",
    "PWD",
    "PASSPHRASE",
    "APIKEY",
    "ACCESSKEY",
    "CREDENTIAL",
    "CREDENTIALS",
)
_PLACES = frozenset(
    ["FILE", "PATH", "DIR", "ENV", "VAR", "NAME", "SOCK", "URL", "ID", "MODE", "TYPE"]
)  # `--api-key-file` names where it is
_SCHEME = re.compile(r"(?:Bearer|Basic|Token) +")
_ALIASES: Mapping[str, str] = {"-hft": "--hf-token"}

_JOINED = re.compile(r"-e([A-Z_][A-Z0-9_]*)")  # `-eNAME=value`, as container tools take it
_CAMEL = re.compile(r"([a-z0-9])([A-Z])")
_FLAG = re.compile(r"--?[A-Za-z][\w-]*")
_VALUE = r"""(?P<value>"[^"]*"|'[^']*'|[^\s"';&|)]+)"""
# Each has a name and a value. A name after a dot is a key of a model's metadata, and no variable.
_ASSIGNMENT = re.compile(rf"(?<![\w.$-])(?P<name>[A-Za-z_]\w*)={_VALUE}", re.ASCII)
_WITHIN = (
    _ASSIGNMENT,
    re.compile(rf"(?<![\w-])(?P<name>--?[A-Za-z][\w-]*)(?:=|\s+){_VALUE}"),
    re.compile(r"""["'](?P<name>[\w-]+)["']\s*:\s*(?P<value>"[^"]*"|'[^']*'|\d+)"""),
    re.compile(r"[?&](?P<name>[\w-]+)=(?P<value>[^&\s\"']+)"),
    re.compile(r"\b(?P<name>[A-Za-z][\w-]*)\s*:\s+(?P<value>[^\"']+)"),
)
# A word that is one assignment or one header: its value goes on to its end, whatever is in it.
_WHOLE = (
    re.compile(r"(?P<name>--?[A-Za-z][\w-]*|[A-Za-z_]\w*)=(?P<value>.+)", re.ASCII | re.DOTALL),
    re.compile(r"(?P<name>[A-Za-z][\w-]*)\s*:\s+(?P<value>.+)", re.DOTALL),
)
_PASSWORD_IN_ADDRESS = re.compile(r"://(?:[^/?#\s:@]*:)?(?P<value>[^/?#\s]+)(?=@[^@/?#\s]*(?:[/?#]|$))")
_SCRIPT_FLAG = re.compile(r"-[a-z]*c")  # `sh -c`, `bash -lc`
_VARIABLE = re.compile(r'"\$[A-Za-z_]\w*"', re.ASCII)
# A variable or a placeholder in the place of a secret.
_STANDS_FOR_ONE = re.compile(r"\$\{?[A-Z_][A-Z0-9_]*\}?|\{[a-z_]+\}|\"\$\w+\"", re.ASCII)


def is_secret_name(name: str) -> bool:
    """Whether what goes by this name (of a flag, a variable, a header, a field) is a secret."""
    words = _words(name)
    if not words or words[-1] in _PLACES:
        return False
    return any(word in _WORDS or word.endswith(_ENDINGS) for word in words)


def variable_for(name: str) -> str:
    """The variable that stands for a secret of this name: HF_TOKEN for `--hf-token`."""
    name = _ALIASES.get(name, name)
    if (joined := _JOINED.fullmatch(name)) is not None:
        return joined[1]
    found = "_".join(_words(name, whole=True)) or "SECRET"
    return found if not found[0].isdigit() else f"_{found}"


def public_words(words: Sequence[str]) -> tuple[str, ...]:
    """A command's words with `"$NAME"` in the place of each secret; `shell_line` makes a line of them."""
    shown = []
    for word, name, is_script in _named(words):
        if name is not None:
            shown.append(f'"${variable_for(name)}"')
            continue
        for secret in reversed(_secrets_in(word, is_script=is_script)):
            word = f'{word[: secret.start]}"${secret.variable}"{word[secret.end :]}'
        shown.append(word)
    return tuple(shown)


def secret_values(words: Sequence[str], env: Mapping[str, str] | None = None) -> frozenset[str]:
    """The secrets in a command's words and in an environment."""
    found = {value for name, value in (env or {}).items() if value and is_secret_name(name)}
    found |= {secret.value for value in (env or {}).values() for secret in _secrets_in(value, is_script=True)}
    for word, name, is_script in _named(words):
        secrets = _secrets_in(word, is_script=is_script)
        found |= {word} if name is not None else {secret.value for secret in secrets}
    # A header's scheme is no part of its secret, and one flag may hold several keys.
    bare = {_SCHEME.sub("", value) for value in found}
    return frozenset(found.union(bare, *(value.split(",") for value in bare)) - {""})


def shell_line(words: Iterable[str]) -> str:
    """One line for a shell, every word quoted where it has to be, and the variables of `public_words` left to it."""
    return " ".join(_quoted(word) for word in words)


class Redactor:
    """Takes known secrets out of text that others wrote: logs, messages, answers."""

    def __init__(self, values: Iterable[str] = ()) -> None:
        self._values = sorted({value for value in values if _is_told_apart(value)}, key=lambda each: -len(each))

    def __bool__(self) -> bool:
        return bool(self._values)

    def text(self, text: str) -> str:
        """`text` with an equal number of `*` in the place of each secret."""
        if not self._values or not text:
            return text
        return self._pattern.sub(lambda found: MASK * len(found[0]), text)

    def data(self, data: bytes) -> bytes:
        """The same for bytes, whose length stays as it is."""
        return self._bytes_pattern.sub(lambda found: MASK.encode() * len(found[0]), data) if self._values else data

    @property
    def longest_bytes(self) -> int:
        """The length of the longest secret in UTF-8; 0 without any."""
        return max((len(value.encode()) for value in self._values), default=0)

    @cached_property
    def _pattern(self) -> re.Pattern[str]:
        return re.compile("|".join(_alternative(value) for value in self._values))

    @cached_property
    def _bytes_pattern(self) -> re.Pattern[bytes]:
        return re.compile("|".join(_alternative(value) for value in self._values).encode())


def _is_told_apart(value: str) -> bool:
    """Whether a secret can be told from the words of other text: a short one that is a word itself cannot."""
    return len(value) >= SHORT_CHARS or (len(value) >= LEAST_CHARS and not value.isalpha())


def _alternative(value: str) -> str:
    """A pattern for one secret: a short one only as a word of its own."""
    escaped = re.escape(value)
    return escaped if len(value) >= SHORT_CHARS else rf"(?<![A-Za-z0-9_]){escaped}(?![A-Za-z0-9_])"


def _words(name: str, *, whole: bool = False) -> list[str]:
    """The words of a name in capitals: HF, TOKEN; without numbers at their ends, unless they are to be `whole`."""
    words = [word.upper() for word in re.split(r"[^A-Za-z0-9]+", _CAMEL.sub(r"\1_\2", name))]
    return [word for each in words if (word := each if whole else each.rstrip("0123456789"))]


def _named(words: Sequence[str]) -> Iterable[tuple[str, str | None, bool]]:
    """Each word, with the secret flag whose value it is, or None, and whether it is a script for a shell."""
    flag, before = None, ""
    for word in words:
        is_value = flag is not None and bool(word) and not word.startswith("-") and _is_plain(word)
        yield word, flag if is_value else None, _SCRIPT_FLAG.fullmatch(before) is not None
        is_flag = _FLAG.fullmatch(word) is not None and is_secret_name(_ALIASES.get(word, word))
        flag, before = word if is_flag and not is_value else None, word


@dataclass(frozen=True, slots=True, order=True)
class _Secret:
    """A secret within a word: where it stands, and the variable for it."""

    start: int
    end: int
    value: str
    variable: str


def _secrets_in(word: str, *, is_script: bool) -> list[_Secret]:
    """The secrets within a word, in order; of two that overlap, the one that begins first."""
    for pattern in () if is_script else _WHOLE:
        whole = pattern.fullmatch(word)
        if whole is not None and is_secret_name(whole["name"]) and _is_plain(whole["value"]):
            name = whole["name"]
            variable = name if word[len(name)] == "=" and not name.startswith("-") else variable_for(name)
            return [_Secret(whole.start("value"), len(word), whole["value"], variable)]
    found: list[_Secret] = []
    for pattern in (*_WITHIN, _PASSWORD_IN_ADDRESS):
        for match in pattern.finditer(word):
            name = match.groupdict().get("name", "PASSWORD")
            value = match["value"].strip("\"'")
            if value and _is_plain(match["value"]) and is_secret_name(_ALIASES.get(name, name)):
                start = word.index(value, match.start("value"))
                variable = name if pattern is _ASSIGNMENT else variable_for(name)
                found.append(_Secret(start, start + len(value), value, variable))
    kept: list[_Secret] = []
    for secret in sorted(found):
        if not kept or secret.start >= kept[-1].end:
            kept.append(secret)
    return kept


def _is_plain(value: str) -> bool:
    """Whether a value stands for itself: a variable or a placeholder in its place tells nothing."""
    return _STANDS_FOR_ONE.fullmatch(value) is None and _STANDS_FOR_ONE.fullmatch(value.strip("\"'")) is None


def _quoted(word: str) -> str:
    pieces, end = [], 0
    for found in _VARIABLE.finditer(word):
        if found.start() > end:
            pieces.append(shlex.quote(word[end : found.start()]))
        pieces.append(found[0])
        end = found.end()
    if end < len(word) or not word:
        pieces.append(shlex.quote(word[end:]))
    return "".join(pieces)
