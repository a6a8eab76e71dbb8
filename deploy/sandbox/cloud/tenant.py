"""One account as the whole simulation knows it: credentials, fleet, gateway, requests."""

from __future__ import annotations

from msgspec import Struct

from deploy.sandbox.cloud.account import SimulatedAccount
from deploy.sandbox.cloud.fleet import Fleet
from deploy.sandbox.cloud.gateway import Gateway, NoGateway
from deploy.sandbox.cloud.life import ENDINGS, Ending
from deploy.sandbox.cloud.request_log import RequestLog


class Tenant(Struct, frozen=True, kw_only=True):
    """What the REST systems, the campaigns and the control API share about an account."""

    account: SimulatedAccount
    fleet: Fleet
    gateway: Gateway | NoGateway
    requests: RequestLog
    can_express: frozenset[Ending] = frozenset(ENDINGS)
    """The endings that its cloud's API can tell of."""
