"""Health checks, made as a target group says, and reported when they change."""

import asyncio
import ssl
import threading
from collections.abc import Callable
from dataclasses import dataclass

from balancer.model import Group, Target

SIGNATURE = b"\r\n\r\n\x00\r\nQUIT\n"
"""How a header of the proxy protocol, version 2, begins."""


@dataclass(frozen=True)
class Probe:
    """One target of one target group, and how it is checked."""

    group: str
    target: str
    address: str
    port: int
    """The target's own port, by which it is known."""
    at: int
    """The port that is checked."""
    protocol: str
    path: str
    codes: str
    interval: float
    timeout: float
    healthy: int
    unhealthy: int
    header: bool
    """Whether a header of the proxy protocol goes first, as AWS has it."""

    @property
    def key(self) -> tuple[str, str, int]:
        return self.group, self.target, self.port


def probe(group: Group, target: Target, speed: float) -> Probe:
    check = group.check
    return Probe(
        group=group.arn,
        target=target.id,
        address=target.address,
        port=target.port,
        at=target.probe_port or target.port,
        protocol=check.protocol,
        path=check.path,
        codes=check.codes,
        interval=check.interval / speed,
        # Not scaled: how long a busy machine takes has nothing to do with it.
        timeout=check.timeout,
        healthy=check.healthy,
        unhealthy=check.unhealthy,
        header=group.proxy_protocol,
    )


def fits(code: int, codes: str) -> bool:
    """Whether a status is one of `200-399,404`."""
    for part in codes.split(","):
        low, _, high = part.strip().partition("-")
        if int(low) <= code <= int(high or low):
            return True
    return False


async def is_well(wanted: Probe) -> bool:
    """One check."""
    writer = None
    try:
        async with asyncio.timeout(wanted.timeout):
            context = None
            if wanted.protocol == "HTTPS":
                context = ssl._create_unverified_context()
            reader, writer = await asyncio.open_connection(wanted.address, wanted.at, ssl=context)
            if wanted.header:
                # LOCAL: the connection is the load balancer's own.
                writer.write(SIGNATURE + b"\x20\x00\x00\x00")
                await writer.drain()
            if wanted.protocol not in ("HTTP", "HTTPS"):
                return True
            host = f"[{wanted.address}]" if ":" in wanted.address else wanted.address
            head = f"GET {wanted.path} HTTP/1.1\r\nHost: {host}:{wanted.at}\r\nConnection: close\r\n"
            writer.write(f"{head}User-Agent: ELB-HealthChecker/2.0\r\n\r\n".encode())
            line = (await reader.readline()).split()
            return len(line) > 1 and line[0].startswith(b"HTTP/") and fits(int(line[1]), wanted.codes)
    except (OSError, TimeoutError, ValueError, ssl.SSLError):
        return False
    finally:
        if writer is not None:
            writer.close()


class Checks:
    """Runs checks in a thread of its own and calls `report(probe, state)` when a state is new; a state of None means
    that the target is no longer checked."""

    def __init__(self, report: Callable[[Probe, str | None], None]) -> None:
        self.report = report
        self._tasks: dict[tuple, tuple[Probe, asyncio.Task]] = {}
        self._loop = asyncio.new_event_loop()
        threading.Thread(target=self._loop.run_forever, daemon=True).start()

    def want(self, probes: list[Probe]) -> None:
        """From now on these are made, and no others."""
        asyncio.run_coroutine_threadsafe(self._want({one.key: one for one in probes}), self._loop).result()

    async def _want(self, wanted: dict[tuple, Probe]) -> None:
        for key, (known, task) in list(self._tasks.items()):
            if wanted.get(key) != known:
                task.cancel()
                del self._tasks[key]
                if key not in wanted:
                    await asyncio.to_thread(self.report, known, None)
        for key, one in wanted.items():
            if key not in self._tasks:
                self._tasks[key] = one, self._loop.create_task(self._run(one))

    async def _run(self, wanted: Probe) -> None:
        state, row, last = None, 0, None
        while True:
            well = await is_well(wanted)
            row = row + 1 if well == last else 1
            last = well
            # The first success suffices, as AWS has it for a target that is new.
            needed = (1 if state is None else wanted.healthy) if well else wanted.unhealthy
            found = "healthy" if well else "unhealthy"
            if row >= needed and found != state:
                state = found
                await asyncio.to_thread(self.report, wanted, found)
            await asyncio.sleep(wanted.interval)
