"""Time and other settings, one set for each region: tests that share a server take a region each."""

import ipaddress
import time
from dataclasses import dataclass, field, fields


@dataclass
class Settings:
    """How one region behaves. All times are seconds on the region's clock."""

    clock: str = "real"
    """`real` runs with the machine; `manual` stands still until told to advance."""
    provisioning: float = 0
    """From the creation of a load balancer to `active`. Its creation always answers `provisioning`."""
    registration: float = 0
    """From the registration (or the first listener, or `active`, whichever is last) to the first health."""
    draining: float | None = 0
    """From deregistration to gone; null takes the target group's own deregistration delay."""
    release: float = 0
    """How long the interfaces of a deleted load balancer still hold its security groups."""
    health: str = "healthy"
    """Health of a target of which nothing was reported: `healthy`, `unhealthy` or `initial`."""
    instances: str = "known"
    """`known`: only running instances of the VPC can be targets; `any`: whatever looks like an instance id."""
    page_size: int = 400
    """Size of a page if the request names none, and the most it can name."""
    load_balancers: int = 50
    """Quota of Network Load Balancers."""
    subnet_removal: bool = True
    """Whether SetSubnets may leave out a subnet that the load balancer has."""

    def change(self, given: dict) -> None:
        """Takes over what is given; a ValueError names what is wrong."""
        known = {one.name for one in fields(self)}
        for name, value in given.items():
            if name not in known:
                raise ValueError(f"no setting {name!r}; there are {', '.join(sorted(known))}")
            allowed = {
                "clock": ("real", "manual"),
                "health": ("healthy", "unhealthy", "initial"),
                "instances": ("known", "any"),
            }.get(name)
            if allowed:
                if value not in allowed:
                    raise ValueError(f"setting {name} is one of {', '.join(allowed)}, not {value!r}")
            elif value is None and name == "draining":
                pass
            elif name == "subnet_removal":
                if not isinstance(value, bool):
                    raise ValueError(f"setting {name} is true or false, not {value!r}")
            elif isinstance(value, bool) or not isinstance(value, (int, float)) or value < 0:
                raise ValueError(f"setting {name} is a number from 0, not {value!r}")
        for name, value in given.items():
            setattr(self, name, value)


class Clock:
    """Seconds that only go forward."""

    def __init__(self) -> None:
        self._offset = 0.0
        self._stands_at: float | None = None

    def now(self) -> float:
        if self._stands_at is not None:
            return self._stands_at
        return time.monotonic() + self._offset

    def advance(self, seconds: float) -> None:
        if self._stands_at is None:
            self._offset += seconds
        else:
            self._stands_at += seconds

    def run(self, mode: str) -> None:
        """Goes on by itself (`real`) or not (`manual`), from the time it shows."""
        now = self.now()
        if mode == "manual":
            self._stands_at = now
        else:
            self._stands_at = None
            self._offset = now - time.monotonic()


@dataclass
class Region:
    """Settings, clock and reported health of one region."""

    settings: Settings = field(default_factory=Settings)
    clock: Clock = field(default_factory=Clock)
    reported: dict = field(default_factory=dict)
    """(target group or None, id or None, port or None) to {state, reason, description}."""

    def change(self, given: dict) -> None:
        self.settings.change(given)
        self.clock.run(self.settings.clock)

    def report(self, group: str | None, target: str | None, port: int | None, health: dict | None) -> None:
        """What a health check finds out from now on; without `health` it is forgotten."""
        if health is None:
            self.reported.pop((group, plain(target), port), None)
        else:
            self.reported[(group, plain(target), port)] = health

    def health(self, groups: tuple, target: str, port: int) -> dict:
        """What was reported of a target, the most exact report first; else the default."""
        target = plain(target)
        for group in (*groups, None):
            for at in ((target, port), (target, None), (None, port), (None, None)):
                if (found := self.reported.get((group, *at))) is not None:
                    return found
        return {"state": self.settings.health}


def plain(target: str | None) -> str | None:
    """One spelling for each IPv6 address."""
    try:
        return str(ipaddress.ip_address(target)) if target else target
    except ValueError:
        return target


class World:
    """All regions."""

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        self._common: dict = {}
        self._regions: dict[str, Region] = {}

    def forget(self, name: str) -> None:
        """One region as at the start."""
        self._regions.pop(name, None)

    def region(self, name: str) -> Region:
        if name not in self._regions:
            self._regions[name] = Region()
            self._regions[name].change(self._common)
        return self._regions[name]

    def change(self, name: str | None, given: dict) -> None:
        """Changes one region, or all there are and will be."""
        Settings().change(given)
        if name is None:
            self._common |= given
        for region in self._chosen(name):
            region.change(given)

    def advance(self, name: str | None, seconds: float) -> None:
        for region in self._chosen(name):
            region.clock.advance(seconds)

    def _chosen(self, name: str | None) -> list[Region]:
        return list(self._regions.values()) if name is None else [self.region(name)]


world = World()
