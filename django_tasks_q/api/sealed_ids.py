"""Encrypted ids, for cursors at jobs that the user may not see.

Django can sign but not encrypt, and a library for encryption would be too much for 16 bytes.
Each id is hidden by a keystream of HMAC-SHA256 over a random nonce, and authenticated by a second one, under
keys that Django derives from ``SECRET_KEY``.
"""

from __future__ import annotations

import binascii
import secrets
from base64 import urlsafe_b64decode, urlsafe_b64encode
from uuid import UUID

from django.utils.crypto import constant_time_compare, salted_hmac

#: The first character of a sealed id, which no other id contains.
SEALED = "~"
#: The length of each part in bytes.
NONCE, ID, CHECK = 9, 16, 9


def sealed(id: UUID) -> str:
    """Return the encrypted text of an id."""
    nonce = secrets.token_bytes(NONCE)
    hidden = bytes(a ^ b for a, b in zip(id.bytes, _mac("key", nonce), strict=False))
    return SEALED + urlsafe_b64encode(nonce + hidden + _mac("check", nonce + hidden)[:CHECK]).decode().rstrip(
        "="
    )


def opened(text: str) -> str:
    """Return the id in text from ``sealed()``, and other text unchanged. Raise ValueError for forged text."""
    if not text.startswith(SEALED):
        return text
    given = text.removeprefix(SEALED)
    try:
        raw = urlsafe_b64decode(given + "=" * (-len(given) % 4))
    except (binascii.Error, UnicodeError) as error:
        raise ValueError("no sealed id") from error
    nonce, hidden, check = raw[:NONCE], raw[NONCE : NONCE + ID], raw[NONCE + ID :]
    if len(check) != CHECK or not constant_time_compare(check, _mac("check", nonce + hidden)[:CHECK]):
        raise ValueError("no sealed id")
    return str(UUID(bytes=bytes(a ^ b for a, b in zip(hidden, _mac("key", nonce), strict=False))))


def _mac(use: str, value: bytes) -> bytes:
    digest: bytes = salted_hmac(f"django_tasks_q.sealed.{use}", value, algorithm="sha256").digest()
    return digest
