"""Keep secrets and personal data out of what is written: by the name of a field, and by the look of a value.

It errs on the side of hiding: a word too many hidden costs a minute, one too few is an incident.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from nano_telemetry.tokens import hide_cards, hide_tokens

HIDDEN = "[redacted]"
TEXT_LIMIT = 8192
_DEPTH, _ITEMS = 6, 64

_SECRET_KEY = (
    r"authorization|cookie|passw|pwd|passphrase|secret|token|credential|signature|api[-_. ]?key|access[-_. ]?key|"
    r"private[-_. ]?key|signing[-_. ]?key|encryption[-_. ]?key|session[-_. ]?(?:id|key)|csrf|xsrf|jwt|bearer"
)
_PERSONAL_KEY = (
    r"e[-_]?mail|phone|iban|card[-_. ]?(?:no|num|holder)|credit[-_]?card|birth|"
    r"(?:first|last|full)[-_]?name"
)
_SECRET_NAME = re.compile(f"{_SECRET_KEY}|{_PERSONAL_KEY}", re.I)
# Short names are secrets only as a whole word: "pin" hides pin_code, not pinned.
_SECRET_WORD = re.compile(r"(?:^|[^a-z])(?:pass|auth|pin|otp|cvv|cvc|ssn|sid|sig|card|dob|session)(?:$|[^a-z])", re.I)
# Every name above contains one of these, and looking for them is quicker than for the names.
_HINT = re.compile(
    "auth|cookie|pass|pwd|secret|token|cred|signa|key|session|csrf|xsrf|jwt|bearer|mail|phone|iban|card|birth|name|"
    "pin|otp|cvv|cvc|ssn|sid|sig|dob"
)
_CAMEL = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")

_QUOTED = r"""\\"[^"\\]*\\"|b?"(?:[^"\\]|\\.)*"|b?'(?:[^'\\]|\\.)*'"""
_WORDS = rf"(?:{_SECRET_KEY}|{_PERSONAL_KEY}|(?<![a-z])(?:pass|auth|pin|otp|cvv|cvc|ssn|sid|sig|card|dob)(?![a-z]))"
# A header takes the rest of its line, except inside quotes, where a dict or a tuple was printed.
_HEADER = re.compile(
    r"""(?<![\w'"])((?:proxy-)?authorization|(?:set-)?cookie2?|x-[a-z-]*(?:token|key|auth))(\s*[:=]\s*)(?![\s'"\[{(])[^\r\n]+""",
    re.I,
)
_PAIR = re.compile(
    rf"""([\w.%-]*{_WORDS}[\w.%\]\[-]*)(\\?["']?\s*(?::|=>|=|%3D|["'],)\s*\\?)({_QUOTED}|[^\s&"'\\\[{{(][^\s&"'\\]*)""",
    re.I,
)
_PROSE = re.compile(
    rf"\b((?:{_SECRET_KEY}|password|pin)\w*\s+(?:(?:is|was|of|for \S+)\s+)?)(?=[^\s]*[\d!@#$%^&*])[^\s,;]{{4,}}", re.I
)
_QUERY = re.compile(r"([?&](?:code|state|key|sig|sid|auth|pass|session)=)[^&\s\"'#]+", re.I)
_SCHEME = re.compile(r"\b(bearer|basic|digest|negotiate)(\s+|%20|\+)(?=[^\s]*[A-Za-z0-9])[A-Za-z0-9._~+/=%-]{6,}", re.I)
_USERINFO = re.compile(r"([a-z][a-z0-9+.-]*://)[^\s/?#\"'<>]*@", re.I)
_EMAIL = re.compile(r"[\w.!#$%&*+/=?^`{|}~-]+(?:@|%40)[\w-]+(?:\.[\w-]+)+")
_PHONE = re.compile(r"(?<![\w+])\+\d{1,3}[ ().-]{0,2}(?:\d[ ().-]{0,2}){6,13}\d(?!\w)")
_IBAN = re.compile(r"\b[A-Z]{2}\d{2}(?: ?[A-Z0-9]{4}){3,7}(?: ?[A-Z0-9]{1,4})?\b")
_PEM = re.compile(r"-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(?:-----END [A-Z ]*PRIVATE KEY-----|\Z)", re.S)
# What a database's error repeats: bound parameters, the row, the key, the rejected value.
_SQL_PARAMETERS = re.compile(r"\[parameters: [^\n]*")
_SQL_ROW = re.compile(r"(Failing row contains )\([^\n]*")
_SQL_KEY = re.compile(r"(Key \([^)\n]*\)=)\([^\n]*?\)(?= (?:already|is |conflicts|does)|\.|$)", re.M)
_SQL_VALUE = re.compile(r"((?:invalid input|out of range|value too long)[^\n:\"]*[:\"] ?)\"?[^\n]+", re.I)


@lru_cache(maxsize=1024)
def secret_name(key: str) -> bool:
    """Tell whether a field of this name is hidden whatever it holds."""
    return bool(_SECRET_NAME.search(key) or _SECRET_WORD.search(_CAMEL.sub("_", key)))


def redact_text(text: str, *, limit: int = TEXT_LIMIT, ids: bool = False) -> str:
    """Return the text without secrets and personal data, cut at limit characters.

    Args:
        text: anything; never raises.
        limit: characters kept.
        ids: the text is a domain's id, so a long hexadecimal number is what it should be.
    """
    if len(text) > limit:
        # Cut before searching: the cost stays bounded. A secret cut in half must not survive as a harmless half.
        text = re.sub(r"\S{0,512}\Z", "", text[:limit]) + "… [cut]"
    lowered = text.lower()
    if "private key-----" in lowered:
        text = _PEM.sub(HIDDEN, text)
    if "[parameters: " in text or "row contains" in text or "Key (" in text:
        text = _SQL_PARAMETERS.sub(f"[parameters: {HIDDEN}]", text)
        text = _SQL_ROW.sub(rf"\1{HIDDEN}", text)
        text = _SQL_KEY.sub(rf"\1({HIDDEN})", text)
    if "invalid input" in lowered or "out of range" in lowered or "value too long" in lowered:
        text = _SQL_VALUE.sub(rf"\1{HIDDEN}", text)
    if "://" in text and "@" in text:
        text = _USERINFO.sub(rf"\1{HIDDEN}@", text)
    if _HINT.search(lowered):
        text = _HEADER.sub(rf"\1\2{HIDDEN}", text)
        text = _SCHEME.sub(rf"\1 {HIDDEN}", text)
        text = _PAIR.sub(_hide_pair, text)
        text = _PROSE.sub(rf"\1{HIDDEN}", text)
    elif "basic" in lowered or "digest" in lowered or "negotiate" in lowered:
        text = _SCHEME.sub(rf"\1 {HIDDEN}", text)
    if "=" in text and ("?" in text or "&" in text):
        text = _QUERY.sub(rf"\1{HIDDEN}", text)
    if "@" in text or "%40" in text:
        text = _EMAIL.sub(HIDDEN, text)
    if "+" in text:
        text = _PHONE.sub(HIDDEN, text)
    if not text.islower():
        text = _IBAN.sub(lambda m: HIDDEN if len(m[0].replace(" ", "")) >= 15 else m[0], text)
    text = hide_cards(text, HIDDEN)
    return text if ids else hide_tokens(text, HIDDEN)


def _hide_pair(match: re.Match[str]) -> str:
    key, between, value = match.groups()
    quote = value[-1] if value[-1] in "\"'" and len(value) > 1 else ""
    if value.strip("b\"'") in ("", "None", "null", HIDDEN) or HIDDEN in value:
        return match[0]
    prefix = value[: value.index(quote) + 1] if quote else ""
    return f"{key}{between}{prefix}{HIDDEN}{quote}"


def redact(key: str, value: Any, depth: int = 0) -> Any:
    """Return the value of a field as JSON can hold it, without what must not be written."""
    if value is None or isinstance(value, bool):
        return value
    if secret_name(key):
        return HIDDEN
    if isinstance(value, (int, float)):
        hidden = hide_cards(str(value), HIDDEN) if isinstance(value, int) and abs(value) >= 10**12 else ""
        return HIDDEN if HIDDEN in hidden else value
    if isinstance(value, (bytes, bytearray, memoryview)):
        value = bytes(value[:TEXT_LIMIT]).decode("utf-8", "replace")
    if isinstance(value, str):
        return redact_text(value, ids=key.endswith("_id"))
    if depth >= _DEPTH:
        return "…"
    if isinstance(value, Mapping):
        return {redact_text(str(k), limit=128): redact(str(k), v, depth + 1) for k, v in list(value.items())[:_ITEMS]}
    if isinstance(value, (list, tuple, set, frozenset)):
        items = list(value)[:_ITEMS]
        if len(items) == 2 and isinstance(items[0], (str, bytes)):
            # A header or a form's field as a pair: the first names the second.
            name = items[0].decode("latin-1") if isinstance(items[0], bytes) else items[0]
            return [redact("", name, depth + 1), redact(name, items[1], depth + 1)]
        return [redact(key, item, depth + 1) for item in items]
    return redact_text(str(value))
