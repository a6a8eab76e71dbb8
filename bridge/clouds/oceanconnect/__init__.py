"""Huawei's IoT platform (OceanConnect), northbound: upgrade operations and what became of each device in them."""

from __future__ import annotations

from typing import Final

from bridge.clouds.kind import CloudKind
from bridge.clouds.oceanconnect.settings import (
    OceanConnectApi,
    OceanConnectCredentials,
    check_credentials,
)
from bridge.clouds.settings import ApiAccount
from bridge.clouds.shape import Cloud, Means


def _open(account: ApiAccount[OceanConnectCredentials, OceanConnectApi], means: Means) -> Cloud:
    from bridge.clouds.oceanconnect.cloud import OceanConnectCloud

    return OceanConnectCloud(account, means)


KIND: Final = CloudKind(
    title="Huawei OceanConnect",
    credentials=OceanConnectCredentials,
    api=OceanConnectApi,
    open=_open,
    rate_window_s=60.0,
    check_credentials=check_credentials,
    placeholders={
        "app_id": "your-app-id",
        "secret_file": "app-secret.txt",
        "api.url": "https://iot.example.com:8743",
    },
)
