"""Tuya's commercial lighting: projects of rooms and lamps, whose upgrades an API of their own tells."""

from __future__ import annotations

from typing import Final

from bridge.clouds.illume.settings import IllumeApi, check_api
from bridge.clouds.kind import CloudKind
from bridge.clouds.settings import ApiAccount
from bridge.clouds.shape import Cloud, Means
from bridge.clouds.tuya.settings import SECRET_FORMS, TuyaCredentials, check_credentials


def _open(account: ApiAccount[TuyaCredentials, IllumeApi], means: Means) -> Cloud:
    from bridge.clouds.illume.cloud import IllumeCloud

    return IllumeCloud(account, means)


KIND: Final = CloudKind(
    title="Tuya commercial lighting (illume)",
    credentials=TuyaCredentials,
    api=IllumeApi,
    open=_open,
    has_gateway=True,
    check_credentials=check_credentials,
    secret_forms=SECRET_FORMS,
    check_api=check_api,
    placeholders={
        "access_id": "your-access-id",
        "access_key_file": "access-key.txt",
        "api.url": "https://openapi.example.com",
        "api.project_ids": ("your-project-id",),
    },
)
