"""The simulated Hedwig on Cloud of Tuya."""

from __future__ import annotations

from bridge.clouds.hedwig.settings import HedwigApi, HedwigCredentials
from consumer.secret import Secret
from deploy.sandbox.cloud.account import SimulatedAccount
from deploy.sandbox.cloud.fleet import FleetManner
from deploy.sandbox.cloud.hedwig.account import HedwigAccount, new_hedwig_account
from deploy.sandbox.cloud.hedwig.rest import HedwigRest
from deploy.sandbox.cloud.life import ENDINGS
from deploy.sandbox.cloud.system import Place, SimulatedSystem, Tables


def _tables(account: SimulatedAccount, place: Place) -> Tables:
    assert isinstance(account, HedwigAccount)  # noqa: S101 - the registry gives each cloud its own
    return Tables(
        credentials=HedwigCredentials(
            access_key_id=account.access_key_id, access_key_secret=Secret(account.access_key_secret)
        ),
        api=HedwigApi(
            url=place.rest_url, ca_file=place.ca_file, rate_per_s=account.rate_per_s, **place.short_periods
        ),
    )


SYSTEM = SimulatedSystem(
    new_account=new_hedwig_account,
    serve=HedwigRest,
    tables=_tables,
    manner=FleetManner(
        device_id=lambda digest: f"{digest[:22]}0000",
        main_channel="default",
        second_channels=("mcu", "ble", "WifiConfigModify"),
        keeps_tasks=True,
    ),
    endings=frozenset(ENDINGS),
)
