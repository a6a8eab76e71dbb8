"""`ota-bridge listen` as somebody with an account and nothing else uses it: a real gateway, no Kafka."""

from __future__ import annotations

import asyncio
import json
import os
import secrets
import signal
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pytest
import trustme

from bridge.exit_codes import ExitCode
from consumer.settings import GatewayAccount
from deploy.sandbox.brokers import Brokers
from tests.gateway_messages import sealed, upgrade_status
from tests.integration.gateway_house import Platform

EXECUTABLE = Path(sys.executable).with_name("ota-bridge")


class Listener:
    """Starts the command with a key file and options, or with a configuration without Kafka."""

    def __init__(self, folder: Path, account: GatewayAccount, ca_file: Path) -> None:
        self._folder = folder
        self._account = account
        self.key_file = folder / "key.txt"
        self.key_file.write_text(account.access_key.reveal())
        self.config = folder / "ota-bridge.toml"
        self.config.write_text(
            f"[accounts.demo]\ncloud = 'tuya-cloud'\naccess_id = '{account.access_id}'\n"
            f"access_key_file = 'key.txt'\n[accounts.demo.gateway]\nurl = '{account.gateway.url}'\n"
            f"subscription = '{account.gateway.subscription}'\nca_file = '{ca_file}'\n"
        )
        self._options = {
            "--url": account.gateway.url,
            "--access-id": account.access_id,
            "--access-key-file": str(self.key_file),
            "--ca-file": str(ca_file),
            "--subscription": account.gateway.subscription,
        }

    def options(self, changes: Mapping[str, str] = MappingProxyType({})) -> list[str]:
        return [word for option in (self._options | changes).items() for word in option]

    async def start(
        self, *arguments: str, stdout: int = asyncio.subprocess.PIPE
    ) -> asyncio.subprocess.Process:
        return await asyncio.create_subprocess_exec(
            EXECUTABLE,
            "listen",
            *arguments,
            stdout=stdout,
            stderr=asyncio.subprocess.PIPE,
            env={name: value for name, value in os.environ.items() if not name.startswith("OTA_BRIDGE")},
            cwd=self._folder if "-c" in arguments else "/",
        )

    async def run(self, *arguments: str) -> tuple[int | None, list[dict[str, Any]], str]:
        """Run the command to its end; return exit code, its JSON lines, and what it complained."""
        process = await self.start(*arguments)
        out, complaint = await process.communicate()
        assert self._account.access_key.reveal().encode() not in out + complaint
        return process.returncode, [json.loads(line) for line in out.splitlines()], complaint.decode()


@pytest.fixture
def listener(tmp_path: Path, gateway_account: GatewayAccount, brokers: Brokers) -> Listener:
    return Listener(tmp_path, gateway_account, brokers.ca_file)


@pytest.fixture
def platform(brokers: Brokers, gateway_account: GatewayAccount) -> Iterator[Platform]:
    platform = Platform(brokers, gateway_account)
    yield platform
    platform.close()


def told_numbers(lines: list[dict[str, Any]]) -> list[int]:
    seen = [line["observation"] for line in lines if line["type"] == "observation"]
    return [int(observation["evidence"]["raw"]["bizData"]["description"]) for observation in seen]


async def test_every_message_is_shown_and_counted_with_options_alone(
    listener: Listener, platform: Platform, gateway_account: GatewayAccount, tmp_path: Path
) -> None:
    key = gateway_account.access_key.reveal()
    platform.push(sealed({"devId": "d", "status": []}, key=key, protocol=4), device="d")
    platform.push(sealed({"bizCode": "homeCreate"}, key=key, protocol=35), device="d")
    platform.push_statuses("d", range(5))
    platform.push(sealed(upgrade_status("d"), key="x" * 32), device="d")
    platform.flush()

    kept = tmp_path / "letters.jsonl"
    code, lines, complaint = await listener.run(*listener.options(), "--limit", "6", "--save", str(kept))

    assert (code, complaint) == (0, "")
    *shown, summary = lines
    assert [json.loads(line) for line in kept.read_bytes().splitlines()] == [
        line["dead_letter"] for line in shown if line["type"] == "dead_letter"
    ]
    assert told_numbers(shown) == list(range(5))
    assert [line["dead_letter"]["reason"] for line in shown if line["type"] == "dead_letter"] == [
        "bad_signature"
    ]
    assert summary["type"] == "summary"
    assert (summary["observations"], summary["dead_letters"]) == ({"status": 5}, {"bad_signature": 1})
    assert (summary["shown"], summary["not_shown"]) == (6, 0)
    assert (summary["filtered"], summary["unlisted"]) == ({"4": 1}, {"homeCreate": 1})
    assert (summary["signatures"], summary["keys"]) == ({"all_fields": 6}, {"current": 6})


async def test_an_entry_that_was_not_shown_to_its_end_comes_again_as_a_whole(
    listener: Listener, brokers: Brokers, gateway_account: GatewayAccount
) -> None:
    platform = Platform(brokers, gateway_account, batched=True)
    platform.push_statuses("d", range(100))
    platform.flush()
    platform.close()

    _, first, _ = await listener.run(*listener.options(), "--limit", "60")
    _, then, _ = await listener.run(*listener.options(), "--limit", "50")

    assert (told_numbers(first), told_numbers(then)) == ([*range(60)], [*range(50, 100)])


async def test_what_the_limit_showed_does_not_come_again_where_each_message_is_an_entry(
    listener: Listener, platform: Platform
) -> None:
    for number in range(30):
        platform.push_statuses("d", [number])
        platform.flush()

    _, (*first, summary), _ = await listener.run(*listener.options(), "--limit", "10")
    _, (*then, _), _ = await listener.run(*listener.options(), "--limit", "20")

    assert (told_numbers(first), told_numbers(then)) == ([*range(10)], [*range(10, 30)])
    # As many were received as had come by then, and the summary counts as understood what was shown.
    assert (summary["shown"], summary["observations"], summary["acknowledged"]) == (10, {"status": 10}, 10)
    assert summary["not_shown"] == summary["received"] - 10


async def test_ctrl_c_ends_with_the_summary_and_what_was_shown_does_not_come_again(
    listener: Listener, platform: Platform
) -> None:
    platform.push_statuses("d", range(3))
    platform.flush()
    process = await listener.start("-c", str(listener.config), "--shared")
    assert process.stdout is not None
    shown = [json.loads(await process.stdout.readline()) for _ in range(3)]

    process.send_signal(signal.SIGINT)
    out, complaint = await process.communicate()

    assert (complaint, process.returncode) == (b"", 0)
    assert told_numbers(shown) == [0, 1, 2]
    assert json.loads(out)["acknowledged"] == 3

    platform.push_statuses("d", [3])
    platform.flush()
    _, again, _ = await listener.run("-c", str(listener.config), "--shared", "--limit", "1")
    assert told_numbers(again) == [3]


async def test_the_daemons_subscription_is_not_touched_without_consent(
    listener: Listener, platform: Platform
) -> None:
    platform.push_statuses("d", [1])
    platform.flush()

    code, lines, complaint = await listener.run("-c", str(listener.config), "--seconds", "5")

    assert (code, lines) == (ExitCode.USAGE, [])
    assert "--shared" in complaint
    _, lines, _ = await listener.run(*listener.options(), "--limit", "1")
    assert told_numbers(lines) == [1]


async def test_each_refusal_ends_with_3_and_one_sentence(
    listener: Listener, brokers: Brokers, gateway_account: GatewayAccount
) -> None:
    account = gateway_account
    stranger = secrets.token_hex(10)
    await brokers.pulsar.create_account(stranger, secrets.token_hex(16))
    refusals = {
        f"refuses the access key of {stranger}": {"--access-id": stranger},
        "has no subscription nobody-made-this": {"--subscription": "nobody-made-this"},
        f"does not let {account.access_id} read": {"--topic": f"{stranger}/out/event"},
        "has no subscription ***": {"--subscription": account.access_key.reveal()},
    }
    for told, change in refusals.items():
        code, lines, complaint = await listener.run(*listener.options(change))
        assert (code, lines) == (ExitCode.REFUSED, [])
        assert told in complaint
        assert complaint.count("\n") == 1


async def test_a_gateway_that_is_not_there_or_not_trusted_ends_with_4(
    listener: Listener, tmp_path: Path
) -> None:
    stranger = tmp_path / "stranger.pem"
    trustme.CA().cert_pem.write_to_path(stranger)
    for told, change in {
        "cannot be reached": {"--url": "pulsar+ssl://localhost:1"},
        "an authority not trusted here": {"--ca-file": str(stranger)},
    }.items():
        code, lines, complaint = await listener.run(*listener.options(change))
        assert (code, lines) == (ExitCode.UNREACHABLE, [])
        assert told in complaint


async def test_it_ends_by_itself_after_the_time_given(listener: Listener) -> None:
    code, (summary,), complaint = await listener.run(*listener.options(), "--seconds", "2")

    assert (code, complaint, summary["received"]) == (0, "", 0)


async def test_a_reader_that_has_seen_enough_ends_it_and_loses_nothing(
    listener: Listener, platform: Platform
) -> None:
    platform.push_statuses("d", range(50))
    platform.flush()
    read_end, write_end = os.pipe()
    process = await listener.start(*listener.options(), stdout=write_end)
    os.close(write_end)
    first = (await asyncio.to_thread(os.read, read_end, 65536)).splitlines()[0]
    os.close(read_end)

    platform.push_statuses("d", range(50, 60))
    platform.flush()
    assert process.stderr is not None
    complaint = await process.stderr.read()
    assert (await process.wait(), complaint) == (0, b"")

    assert told_numbers([json.loads(first)]) == [0]
    again = await listener.start(*listener.options())
    assert again.stdout is not None
    shown: list[int] = []
    while 59 not in shown:
        shown += told_numbers([json.loads(await again.stdout.readline())])
    again.send_signal(signal.SIGINT)
    await again.communicate()
    assert again.returncode == 0
    assert shown[-10:] == list(range(50, 60))
