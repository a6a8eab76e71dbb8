"""The simulated northbound API of Huawei's IoT platform (OceanConnect)."""

from __future__ import annotations

from bridge.clouds.oceanconnect.settings import OceanConnectApi
from deploy.sandbox.cloud.account import SimulatedAccount
from deploy.sandbox.cloud.fleet import FleetManner
from deploy.sandbox.cloud.life import ENDINGS
from deploy.sandbox.cloud.oceanconnect.account import OceanConnectAccount, new_oceanconnect_account
from deploy.sandbox.cloud.oceanconnect.rest import OceanConnectRest
from deploy.sandbox.cloud.system import Place, SimulatedSystem, Tables


def _tables(account: SimulatedAccount, place: Place) -> Tables:
    assert isinstance(account, OceanConnectAccount)  # noqa: S101 - the registry gives each cloud its own
    return Tables(
        credentials=account.credentials(),
        api=OceanConnectApi(
            url=place.rest_url,
            ca_file=place.ca_file,
            client_cert_file=place.client_cert_file,
            client_key_file=place.client_key_file,
            **place.short_periods,
        ),
    )


def _device_id(digest: str) -> str:
    return f"{digest[:8]}-{digest[8:12]}-4{digest[13:16]}-a{digest[17:20]}-{digest[20:32]}"


SYSTEM = SimulatedSystem(
    new_account=new_oceanconnect_account,
    serve=OceanConnectRest,
    tables=_tables,
    manner=FleetManner(
        device_id=_device_id,
        main_channel="firmware",
        second_channels=("software",),
        # The platform can upgrade both of any device, and tells of both.
        second_share=1.0,
        keeps_tasks=True,
    ),
    endings=frozenset(ENDINGS),
    client_certificates=True,
)
