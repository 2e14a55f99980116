"""Takes secret values out of whatever leaves the process."""

from __future__ import annotations

import json
import re
import shlex
import threading
from typing import Any
from urllib.parse import quote as url_quote
from urllib.parse import quote_plus, unquote, urlsplit

__all__ = ["Scrubber"]

MASK = "***"
# Variables of an env_file that are taken for secrets; the rest (ports, host names) stays readable.
SECRET_NAME = re.compile(r"SECRET|PASS|TOKEN|KEY|CREDENTIAL|DSN|AUTH|SALT|PRIVATE", re.IGNORECASE)
# What such a variable may hold that is no secret, and stands in every other line: AUTH_ENABLED=1.
PLAIN = re.compile(r".{0,3}|true|false|none|null|\d{1,5}", re.IGNORECASE)


class Scrubber:
    """Knows the secret values of this process and replaces them by `***`. Safe between threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._values: set[str] = set()
        self._pattern: re.Pattern[str] | None = None

    def learn(self, value: str) -> None:
        """Treat *value*, and the password in it if it is a URL, as secret from now on."""
        password = _password(value)
        secrets = {password, unquote(password)} if password else {value}
        forms = {form for secret in secrets for form in _forms(secret)}
        if password:
            forms.add(value)
        with self._lock:
            self._values |= {form for form in forms if form}
            longest_first = sorted(self._values, key=len, reverse=True)
            self._pattern = re.compile("|".join(map(re.escape, longest_first)))

    def learn_variable(self, name: str, value: str) -> None:
        """Learn *value* if its *name* or its form (a URL with a password) says it is secret."""
        named = SECRET_NAME.search(name) and not PLAIN.fullmatch(value)
        if value and (named or _password(value)):
            self.learn(value)

    def text(self, text: str) -> str:
        """Return *text* without any secret."""
        pattern = self._pattern
        return pattern.sub(MASK, text) if pattern else text

    def any(self, value: Any) -> Any:
        """Return *value*, a structure of JSON's types, without any secret in its strings."""
        if isinstance(value, str):
            return self.text(value)
        if isinstance(value, dict):
            return {key: self.any(item) for key, item in value.items()}
        if isinstance(value, list | tuple):
            return [self.any(item) for item in value]
        return value


def _password(value: str) -> str:
    try:
        return (urlsplit(value).password or "") if "://" in value else ""
    except ValueError:  # not a URL after all
        return ""


def _forms(value: str) -> set[str]:
    """Return *value* as it looks raw, in a URL, JSON, Python, a shell, and line by line."""
    lines = {line.strip() for line in value.splitlines() if len(line.strip()) >= 8}
    return {
        value,
        url_quote(value, safe=""),
        quote_plus(value),
        json.dumps(value)[1:-1],
        json.dumps(value, ensure_ascii=False)[1:-1],
        repr(value)[1:-1],
        shlex.quote(value),
        *lines,
    }
