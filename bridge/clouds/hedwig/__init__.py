"""Tuya's Hedwig on Cloud, sold as "Tuya IoT on Alibaba Cloud": RPC calls named by `Action`, signed with HMAC-SHA1."""

from __future__ import annotations

from typing import Final

from bridge.clouds.hedwig.settings import HedwigApi, HedwigCredentials, check_api, check_credentials
from bridge.clouds.kind import CloudKind
from bridge.clouds.settings import ApiAccount
from bridge.clouds.shape import Cloud, Means


def _open(account: ApiAccount[HedwigCredentials, HedwigApi], means: Means) -> Cloud:
    from bridge.clouds.hedwig.cloud import HedwigCloud

    return HedwigCloud(account, means)


KIND: Final = CloudKind(
    title="Tuya Hedwig on Cloud (Tuya IoT on Alibaba Cloud)",
    credentials=HedwigCredentials,
    api=HedwigApi,
    open=_open,
    check_credentials=check_credentials,
    check_api=check_api,
    placeholders={
        "access_key_id": "your-access-key-id",
        "access_key_secret_file": "hedwig-secret.txt",
        "api.url": "https://your-instance.example.com:8686",
    },
)
