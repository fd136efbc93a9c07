"""Values that are secret by their look alone: keys, tokens, card numbers, literals of SQL."""

from __future__ import annotations

import re

# JSON web tokens, and prefixes that services give to their keys so that scanners find them.
_KNOWN = re.compile(
    r"eyJ[A-Za-z0-9_-]{5,}(?:\.[A-Za-z0-9_-]*){0,4}|"
    r"\b(?:AKIA|ASIA)[A-Z0-9]{12,}|\b(?:gh[pousr]|github_pat|glpat|xox[abeprs]|sk|pk|rk|whsec|hvs|npm|pypi|dop_v1)[_-]"
    r"[A-Za-z0-9_-]{12,}|\bAIza[A-Za-z0-9_-]{20,}|\bSG\.[A-Za-z0-9_-]{10,}\.[A-Za-z0-9_-]{10,}"
)
_STARTS = ("eyJ", "AKIA", "ASIA", "gh", "gl", "xox", "k-", "k_", "whsec", "hvs", "npm", "pypi", "dop_", "AIza", "SG.")
_LONG = re.compile(r"[A-Za-z0-9+/_=-]{24,}")
_UUID = re.compile(r"(?<![0-9A-Za-z])[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}(?![0-9A-Za-z])", re.I)
_HEX = re.compile(r"[0-9a-fA-F]{32,}")
_CLASSES = re.compile(r"[a-z]+|[A-Z]+|[0-9]+|[^a-zA-Z0-9]+")
_DIGITS = re.compile(r"\d(?:[ -]?\d){12,18}(?!\w)")
# Random base64 changes between capitals, small letters and digits at more than half of its characters; a path or
# a name in camel case at fewer than a quarter.
_RANDOM_SHARE = 0.3

_SQL = re.compile(
    r"--[^\n]*|/\*.*?(?:\*/|\Z)|"  # comments
    r"\$((?:[A-Za-z_]\w*)?)\$.*?(?:\$\1\$|\Z)|"  # dollar quotes
    r"\b[eE]'(?:[^'\\]|''|\\.)*(?:'|\Z)|"  # strings in which a backslash escapes
    r"(?:\b(?:[xXbBnN]|[uU]&))?'(?:[^']|'')*(?:'|\Z)|"  # strings in which it doesn't
    r"(\"(?:[^\"]|\"\")*\")|"  # quoted names stay
    r"(\$\d+\b|:[A-Za-z_]\w*|::\w+|%\(\w+\)s|\b[A-Za-z_][\w$]*)|"  # parameters and words stay
    r"\b0x[0-9a-fA-F]+|(?<![\w$])\d+(?:\.\d+)?(?:[eE][+-]?\d+)?|\.\d+",
    re.S,
)


def hide_tokens(text: str, hidden: str) -> str:
    """Return the text without keys and tokens; UUIDs, words and paths stay."""
    if any(start in text for start in _STARTS):
        text = _KNOWN.sub(hidden, text)
    return _LONG.sub(lambda match: _judge(match[0], hidden), text)


def _judge(text: str, hidden: str) -> str:
    rest = _UUID.sub("", text)
    if _HEX.search(rest):
        return hidden
    if len(rest) < 24 or not (re.search("[a-z]", rest) and re.search("[A-Z]", rest) and re.search("[0-9]", rest)):
        return text
    return hidden if len(_CLASSES.findall(rest)) / len(rest) > _RANDOM_SHARE else text


def hide_cards(text: str, hidden: str) -> str:
    """Return the text without numbers of 13 to 19 digits that pass the check of payment cards (Luhn, ISO 7812)."""
    return _DIGITS.sub(lambda match: hidden if _card(match) else match[0], text)


def _card(match: re.Match[str]) -> bool:
    before = match.string[match.start() - 1] if match.start() else " "
    return not (before.isalnum() or before in "._") and _luhn(match[0])


def _luhn(text: str) -> bool:
    digits = [int(char) for char in text if char.isdigit()]
    doubled = [digit * 2 - 9 if digit > 4 else digit * 2 for digit in digits[-2::-2]]
    return len(set(digits)) > 1 and (sum(digits[-1::-2]) + sum(doubled)) % 10 == 0


def strip_sql(statement: str, limit: int = 2048) -> str:
    """Return the statement with '?' for each literal, without comments, at most limit characters long."""
    return _SQL.sub(_literal, statement[: limit * 2])[:limit].strip()


def _literal(match: re.Match[str]) -> str:
    text = match[0]
    if match[2] or match[3]:
        return text
    return "" if text.startswith(("--", "/*")) else "?"
