"""The delivery client in a process that lacks descriptors, threads or memory, which is not the receiver's fault."""

from __future__ import annotations

import errno
import os
import socket
import ssl
import time
from pathlib import Path

import anyio
import anyio.to_thread
import pytest
import trustme

from starlette_webhooks.delivery.addresses import AddressGuard
from starlette_webhooks.delivery.client import DeliveryClient, OutOfResources
from starlette_webhooks.delivery.failures import DeliveryFailed, lookup_failure, own_fault
from starlette_webhooks.delivery.networks import Networks
from tests.scarcity import no_free_descriptors, no_free_threads
from tests.wire import LOOPBACK, guard, listening


async def test_without_a_free_descriptor_the_receiver_is_not_blamed() -> None:
    async with listening() as seen, DeliveryClient(guard()) as client:
        # A new listener needs a descriptor immediately.
        await anyio.wait_all_tasks_blocked()
        with no_free_descriptors(), pytest.raises(OutOfResources, match="Too many open files"):
            await client.post(seen.url(), [], b"{}")
        assert (await client.post(seen.url(), [], b"{}")).status == 200


async def test_without_a_free_descriptor_a_name_that_cannot_be_resolved_is_not_blamed() -> None:
    busy = socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")
    async with listening() as seen, DeliveryClient(guard(busy)) as client:
        await anyio.wait_all_tasks_blocked()
        with no_free_descriptors(), pytest.raises(OutOfResources):
            await client.post(seen.url("hook.example.test"), [], b"{}")
        with pytest.raises(DeliveryFailed, match="^name lookup failed$"):
            await client.post(seen.url("hook.example.test"), [], b"{}")


async def test_without_a_free_thread_the_receiver_is_not_blamed() -> None:
    refused: list[str] = []

    async def resolve(host: str, port: int) -> list[str]:
        # More at a time than there may be idle threads.
        await anyio.to_thread.run_sync(time.sleep, 0.2, limiter=anyio.CapacityLimiter(1))
        return ["127.0.0.1"]

    async def post(url: str) -> None:
        try:
            await client.post(url, [], b"{}")
        except OutOfResources as exc:
            refused.append(str(exc))

    async with listening() as seen, DeliveryClient(AddressGuard(Networks([LOOPBACK]), resolve=resolve)) as client:
        with no_free_threads():
            async with anyio.create_task_group() as tasks:
                for _ in range(40):
                    tasks.start_soon(post, seen.url("hook.example.test"))
        assert set(refused) == {"The system refused another thread."}
        assert (await client.post(seen.url("hook.example.test"), [], b"{}")).status == 200


async def test_certificates_that_could_not_be_read_without_a_descriptor_are_read_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    authority = trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("hook.example.test").configure_cert(context)
    bundle = str(tmp_path / "authorities.pem")
    authority.cert_pem.write_to_path(bundle)
    monkeypatch.setenv("SSL_CERT_FILE", bundle)
    async with listening(context=context) as seen, DeliveryClient(guard()) as client:
        await anyio.wait_all_tasks_blocked()
        url = seen.url("hook.example.test", scheme="https")
        with no_free_descriptors(), pytest.raises(OutOfResources):
            await client.post(url, [], b"{}")
        assert (await client.post(url, [], b"{}")).status == 200


@pytest.mark.parametrize("number", [errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM])
def test_missing_resources_are_found_behind_other_errors(number: int) -> None:
    hidden = OSError("All connection attempts failed")
    hidden.__cause__ = OSError(number, os.strerror(number))
    for error in (hidden, hidden.__cause__, MemoryError()):
        assert isinstance(own_fault(error), OutOfResources)


@pytest.mark.parametrize(
    "error", [OSError(errno.ECONNREFUSED, "refused"), RuntimeError("a bug"), socket.gaierror(socket.EAI_NONAME, "none")]
)
def test_other_errors_are_not_our_own(error: Exception) -> None:
    assert own_fault(error) is None


def test_a_resolver_without_memory_is_our_own_fault() -> None:
    assert isinstance(lookup_failure(socket.gaierror(socket.EAI_MEMORY, "no memory")), OutOfResources)
