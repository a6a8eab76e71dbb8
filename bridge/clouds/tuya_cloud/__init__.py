"""Tuya's IoT Core, public or private: `GET /v2.0/cloud/thing/{device_id}/firmware` and its predecessors."""

from __future__ import annotations

from typing import Final

from bridge.clouds.kind import CloudKind
from bridge.clouds.settings import ApiAccount
from bridge.clouds.shape import Cloud, Means
from bridge.clouds.tuya.settings import SECRET_FORMS, TuyaApi, TuyaCredentials, check_credentials


def _open(account: ApiAccount[TuyaCredentials, TuyaApi], means: Means) -> Cloud:
    from bridge.clouds.tuya_cloud.cloud import TuyaCloud

    return TuyaCloud(account, means)


KIND: Final = CloudKind(
    title="Tuya IoT Core, public or private cloud",
    credentials=TuyaCredentials,
    api=TuyaApi,
    open=_open,
    has_gateway=True,
    check_credentials=check_credentials,
    secret_forms=SECRET_FORMS,
    placeholders={
        "access_id": "your-access-id",
        "access_key_file": "access-key.txt",
        "api.url": "https://openapi.example.com",
    },
)
