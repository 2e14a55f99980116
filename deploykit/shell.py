"""The one place where words are quoted for a shell."""

from __future__ import annotations

import shlex

__all__ = ["fill", "quote"]


def quote(word: object) -> str:
    """Return *word* as one word of a POSIX shell, whatever it contains."""
    text = str(word)
    if "\0" in text:
        raise ValueError(f"no shell can carry a NUL byte: {text!r}")
    return shlex.quote(text)


def fill(template: str, /, *words: object, **named: object) -> str:
    r"""
    Put quoted words into the `{}` and `{name}` places of a shell template.

    A list or tuple becomes several words. Braces of the shell itself are doubled, as in
    `str.format`.

    >>> fill("mv -- {} {target}", "a b", target="it's")
    "mv -- 'a b' 'it'\\"'\\"'s'"
    """
    return template.format(
        *(_words(word) for word in words), **{key: _words(word) for key, word in named.items()}
    )


def _words(word: object) -> str:
    if isinstance(word, list | tuple):
        return " ".join(quote(item) for item in word)
    return quote(word)
