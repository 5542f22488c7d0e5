"""Secrets are known by their names, and a command for others names a variable in their place."""

from __future__ import annotations

import shlex
import subprocess

import pytest

from specdash.core.secrets import Redactor, is_secret_name, public_words, secret_values, shell_line

SECRET = "hf_0123456789abcdef"


@pytest.mark.parametrize(
    "name",
    [
        *("GITHUB_PAT", "PGPASS"),
        *("HF_TOKEN", "--hf-token", "apiKey", "OPENAI_API_KEY", "--api-key", "DB_PASS", "MY_PWD", "PWD", "BASIC_AUTH"),
        *(
            "AWS_CREDENTIAL",
            "google-credentials",
            "GITHUB_PAT",
            "PGPASS",
            "password",
            "DBPASSWORD",
            "X-Api-Key",
            "Authorization",
            "SECRET_X",
        ),
    ],
)
def test_these_names_are_secrets(name: str) -> None:
    assert is_secret_name(name)


@pytest.mark.parametrize(
    "name",
    [
        *("TOKENIZERS_PARALLELISM", "--max-num-batched-tokens", "--api-key-file", "--ssl-key-file", "KEEP", "AUTHOR"),
        *("--override-kv", "SSH_AUTH_SOCK", "api_key_env", "--tokenizer", "PATH", "COMPASS", "", "MONKEY_BUSINESS"),
    ],
)
def test_these_names_are_none(name: str) -> None:
    assert not is_secret_name(name)


@pytest.mark.parametrize(
    ("words", "shown"),
    [
        (["--hf-token", SECRET, "-c", "64"], '--hf-token "$HF_TOKEN" -c 64'),
        (["-hft", SECRET], '-hft "$HF_TOKEN"'),
        ([f"--api-key={SECRET}"], '--api-key="$API_KEY"'),
        (["env", f"SECRET_TOKEN={SECRET}", "A=b"], 'env SECRET_TOKEN="$SECRET_TOKEN" A=b'),
        (["curl", "-H", f"Authorization: Bearer {SECRET}"], """curl -H 'Authorization: '"$AUTHORIZATION\""""),
        ([f"http://me:{SECRET}@host/v1"], """http://me:"$PASSWORD"@host/v1"""),
        (["sh", "-c", f"HF_TOKEN={SECRET} exec it"], """sh -c HF_TOKEN="$HF_TOKEN"' exec it'"""),
        (["--override-kv", "a.add_bos_token=bool:false"], "--override-kv a.add_bos_token=bool:false"),
        (["--api-key", "$KEPT_ELSEWHERE"], "--api-key '$KEPT_ELSEWHERE'"),
        (["--api-key", "--port", "80"], "--api-key --port 80"),
        (["env", f"SECRET_TOKEN=alpha {SECRET} & more"], 'env SECRET_TOKEN="$SECRET_TOKEN"'),
        ([f'PASSWORD={SECRET}";)x'], 'PASSWORD="$PASSWORD"'),
        ([f"--api-key=a {SECRET}"], '--api-key="$API_KEY"'),
        (["-H", f"X-Auth: {SECRET}"], """-H 'X-Auth: '"$X_AUTH\""""),
        ([f"http://me:p@{SECRET}@host/v1"], """http://me:"$PASSWORD"@host/v1"""),
        ([f"https://{SECRET}@host/"], """https://"$PASSWORD"@host/"""),
        ([f"TOKEN2={SECRET}"], 'TOKEN2="$TOKEN2"'),
        ([f"-eHF_TOKEN={SECRET}"], '-eHF_TOKEN="$HF_TOKEN"'),
        (["sh", "-c", f"A=b MYPWD={SECRET} exec it --n 3"], """sh -c 'A=b MYPWD='"$MYPWD"' exec it --n 3'"""),
    ],
)
def test_a_command_names_a_variable_in_the_place_of_a_secret(words: list[str], shown: str) -> None:
    assert shell_line(public_words(words)) == shown
    assert SECRET not in shell_line(public_words(words))
    if any(SECRET in word for word in words):
        assert any(SECRET in value for value in secret_values(words))
    else:
        assert secret_values(words) == frozenset()


@pytest.mark.starts_programs
def test_a_line_gives_a_shell_the_words_that_it_was_made_of() -> None:
    words = ["printf", "%s\\n", f"--token={SECRET}", "it's", "", f"a=b TOKEN={SECRET} $c", "{k}"]
    line = shell_line(public_words(words))
    said = subprocess.run(["sh", "-c", line], env={"TOKEN": SECRET}, capture_output=True, text=True, check=True).stdout
    assert said.split("\n")[:-1] == words[2:]
    assert shell_line(words[3:]) == shlex.join(words[3:])


def test_known_secrets_are_taken_out_of_text_and_bytes_of_the_same_length() -> None:
    redactor = Redactor([SECRET, "sh0rt", "draft", "x"])
    said = f"token {SECRET}: no sh0rt cut for sh0rtcuts, draft, x"
    hidden = f"token {'*' * len(SECRET)}: no ***** cut for sh0rtcuts, draft, x"
    assert redactor.text(said) == hidden
    assert redactor.data(said.encode()) == hidden.encode()
    assert not Redactor(["x"])
    assert Redactor().text(said) == said


def test_a_password_in_an_address_of_the_environment_is_one() -> None:
    assert secret_values((), {"HTTPS_PROXY": f"http://me:{SECRET}@proxy:3128", "HF_HOME": "/a"}) == {SECRET}
