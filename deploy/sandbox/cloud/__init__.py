"""The simulated clouds: one fleet model behind the gateway's pushes and the REST APIs, and the truth of both.

`async with SimulatedCloud(brokers, accounts, directory=…) as cloud` starts them; `cloud.control_url` steers them.
"""

from __future__ import annotations

from deploy.sandbox.cloud.account import SimulatedAccount
from deploy.sandbox.cloud.simulated_cloud import SimulatedCloud
from deploy.sandbox.cloud.systems import demo_accounts, new_account

__all__ = ["SimulatedAccount", "SimulatedCloud", "demo_accounts", "new_account"]
