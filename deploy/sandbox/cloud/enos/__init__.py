"""The simulated Connection Service of EnOS."""

from __future__ import annotations

from bridge.clouds.enos.settings import EnosApi
from deploy.sandbox.cloud.account import SimulatedAccount
from deploy.sandbox.cloud.enos.account import EnosAccount, new_enos_account
from deploy.sandbox.cloud.enos.rest import EnosRest
from deploy.sandbox.cloud.fleet import FleetManner
from deploy.sandbox.cloud.life import ENDINGS
from deploy.sandbox.cloud.system import Place, SimulatedSystem, Tables


def _tables(account: SimulatedAccount, place: Place) -> Tables:
    assert isinstance(account, EnosAccount)  # noqa: S101 - the registry gives each cloud its own
    return Tables(
        credentials=account.credentials(),
        api=EnosApi(
            url=place.rest_url, ca_file=place.ca_file, rate_per_s=account.rate_per_s, **place.short_periods
        ),
    )


SYSTEM = SimulatedSystem(
    new_account=new_enos_account,
    serve=EnosRest,
    tables=_tables,
    manner=FleetManner(device_id=lambda digest: digest[:12], main_channel="firmware"),
    endings=frozenset(ENDINGS),
)
