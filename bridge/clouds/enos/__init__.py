"""Envision's EnOS, its Connection Service: which firmware devices run, and the tasks of the jobs that upgrade them."""

from __future__ import annotations

from typing import Final

from bridge.clouds.enos.settings import EnosApi, EnosCredentials, check_api, check_credentials
from bridge.clouds.kind import CloudKind
from bridge.clouds.settings import ApiAccount
from bridge.clouds.shape import Cloud, Means


def _open(account: ApiAccount[EnosCredentials, EnosApi], means: Means) -> Cloud:
    from bridge.clouds.enos.cloud import EnosCloud

    return EnosCloud(account, means)


KIND: Final = CloudKind(
    title="EnOS",
    credentials=EnosCredentials,
    api=EnosApi,
    open=_open,
    check_credentials=check_credentials,
    check_api=check_api,
    placeholders={
        "app_key": "your-app-key",
        "app_secret_file": "enos-app-secret.txt",
        "org_id": "your-org-id",
        "api.url": "https://apim-your-environment.example.com",
    },
)
