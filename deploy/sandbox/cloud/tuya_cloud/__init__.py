"""The simulated IoT Core of Tuya."""

from __future__ import annotations

from bridge.clouds.tuya.settings import TuyaApi
from deploy.sandbox.cloud.account import SimulatedAccount
from deploy.sandbox.cloud.fleet import TUYA_MANNER
from deploy.sandbox.cloud.life import ENDINGS
from deploy.sandbox.cloud.system import Place, SimulatedSystem, Tables
from deploy.sandbox.cloud.tuya.account import TuyaAccount, new_tuya_account
from deploy.sandbox.cloud.tuya_cloud.rest import TuyaCloudRest


def _tables(account: SimulatedAccount, place: Place) -> Tables:
    assert isinstance(account, TuyaAccount)  # noqa: S101 - the registry gives each cloud its own
    return Tables(
        credentials=account.credentials(),
        api=TuyaApi(
            url=place.rest_url, ca_file=place.ca_file, rate_per_s=account.rate_per_s, **place.short_periods
        ),
    )


SYSTEM = SimulatedSystem(
    new_account=lambda name: new_tuya_account(name, "tuya-cloud"),
    serve=TuyaCloudRest,
    tables=_tables,
    manner=TUYA_MANNER,
    endings=frozenset(ENDINGS),
    has_gateway=True,
    demo_share=0.5,
    demo_name="tuya-demo",
)
