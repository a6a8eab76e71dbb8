"""The gateway's authentication `auth1`: a password derived from the access key, sent as JSON in the CONNECT frame.

Source: the message gateway contract, section 2.5, taken from the vendor's SDKs; the credential has no expiry.
"""

from __future__ import annotations

import hashlib
import re
from typing import Final

from consumer.errors import Misconfigured
from consumer.secret import Secret

METHOD: Final = "auth1"

_UNQUOTABLE: Final = re.compile(r'["\\\x00-\x1f\x7f]')


def derive_password(access_id: str, access_key: Secret) -> str:
    """Return the 16 characters that the gateway knows as this account's password."""
    inner = hashlib.md5(access_key.reveal().encode(), usedforsecurity=False).hexdigest()
    return hashlib.md5((access_id + inner).encode(), usedforsecurity=False).hexdigest()[8:24]


def authentication_json(access_id: str, access_key: Secret) -> str:
    """Return the `auth_data` of a CONNECT frame.

    Raises Misconfigured for an access id that would need escapes: the two halves below would not join to the same
    JSON again, and no such id exists.
    """
    if not access_id or _UNQUOTABLE.search(access_id):
        raise Misconfigured("access_id is empty or holds a quote, a backslash or a control character")
    return f'{{"username":"{access_id}","password":"{derive_password(access_id, access_key)}"}}'


def basic_halves(access_id: str, access_key: Secret) -> tuple[str, str]:
    """Return user name and password for `pulsar.AuthenticationBasic`, whose own colon rebuilds the JSON.

    The client library has no way to send `auth1` data as it is: it joins user and password with a colon. Cut at the
    colon after `"password"`, the JSON survives that (the vendor's own SDK does the same).
    """
    text = authentication_json(access_id, access_key)
    cut = text.index('"password":') + len('"password"')
    return text[:cut], text[cut + 1 :]
