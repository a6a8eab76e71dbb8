"""How a request to Tuya's OpenAPI is signed and sent, and how its answer is read: see `client.Dialect`."""

from __future__ import annotations

from bridge.clouds.client import ApiClient, Call, Opened
from bridge.clouds.clock import VendorClock
from bridge.clouds.errors import CloudError
from bridge.clouds.settings import ApiAccount
from bridge.clouds.shape import Means
from bridge.clouds.tokens import Token
from bridge.clouds.tuya.envelope import open_envelope, result_of
from bridge.clouds.tuya.settings import TuyaApi, TuyaCredentials
from bridge.clouds.tuya.sign import sign, sign_legacy, string_to_sign, target_of
from bridge.clouds.tuya.token import login
from bridge.clouds.wire import Answer, Request


class TuyaDialect:
    """One project's requests and answers."""

    def __init__(self, account: ApiAccount[TuyaCredentials, TuyaApi], clock: VendorClock) -> None:
        self._credentials = account.credentials
        self._sign_version = account.api.sign_version
        self._clock = clock

    def sign(self, call: Call, token: Token | None) -> Request:
        """Return the request, signed at this moment. Tokens are fetched without a token."""
        t = str(self._clock.signing_ms())
        access_id, key = self._credentials.access_id, self._credentials.access_key.reveal()
        access_token = token.value if token else ""
        if self._sign_version == "legacy":
            signature = sign_legacy(access_id, key, t, access_token=access_token)
        else:
            text = string_to_sign(call.method, call.path, call.query, body=call.body)
            signature = sign(access_id, key, t, text, access_token=access_token)
        headers = {"client_id": access_id, "t": t, "sign": signature, "sign_method": "HMAC-SHA256"}
        if token is not None:
            headers["access_token"] = access_token
        if call.body:
            headers["content-type"] = "application/json"
        return Request(
            api=call.api,
            method=call.method,
            target=target_of(call.path, call.query),
            headers=headers,
            body=call.body,
        )

    def open(self, answer: Answer, call: Call) -> Opened:
        """Read the envelope. Raises Throttled for HTTP 429, Unanswered for what is not a JSON object."""
        envelope = open_envelope(answer, api=call.api)
        try:
            return Opened(result=result_of(envelope, api=call.api), time=envelope.time)
        except CloudError as error:
            return Opened(error=error, time=envelope.time)


def tuya_client(account: ApiAccount[TuyaCredentials, TuyaApi], means: Means, clock: VendorClock) -> ApiClient:
    """Return the client of one project, for whichever of its APIs."""
    return ApiClient(account.name, TuyaDialect(account, clock), means, clock, login=login)
