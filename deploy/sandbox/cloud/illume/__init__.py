"""The simulated commercial lighting of Tuya."""

from __future__ import annotations

from bridge.clouds.illume.settings import IllumeApi
from deploy.sandbox.cloud.account import SimulatedAccount
from deploy.sandbox.cloud.fleet import TUYA_MANNER, FleetManner
from deploy.sandbox.cloud.illume.account import IllumeAccount, new_illume_account
from deploy.sandbox.cloud.illume.rest import IllumeRest
from deploy.sandbox.cloud.life import ENDINGS
from deploy.sandbox.cloud.system import Place, SimulatedSystem, Tables


def _tables(account: SimulatedAccount, place: Place) -> Tables:
    assert isinstance(account, IllumeAccount)  # noqa: S101 - the registry gives each cloud its own
    return Tables(
        credentials=account.credentials(),
        api=IllumeApi(
            url=place.rest_url,
            ca_file=place.ca_file,
            rate_per_s=account.rate_per_s,
            project_ids=account.project_ids,
            **place.short_periods,
        ),
    )


SYSTEM = SimulatedSystem(
    new_account=new_illume_account,
    serve=IllumeRest,
    tables=_tables,
    # One status for a whole device: lamps with one firmware.
    manner=FleetManner(device_id=TUYA_MANNER.device_id, main_channel="0", offers=True),
    endings=frozenset(ENDINGS),
    has_gateway=True,
    demo_share=0.2,
)
