"""Failures made to order."""

import threading
from dataclasses import dataclass, fields, replace

READING = ("Describe", "Get", "List")


def is_changing(action: str) -> bool:
    """Whether a call of that name changes anything."""
    return not action.startswith(READING)


@dataclass
class Fault:
    """Meets the calls it fits, in order, until it is used up."""

    action: str = "*"
    """A call's name, `changing`, `reading`, or `*`."""
    count: int | None = 1
    """How many calls it meets; null for all."""
    skip: int = 0
    """How many fitting calls it lets pass first."""
    code: str | None = None
    """AWS's error code. Without code and status the call only takes longer."""
    status: int | None = None
    """HTTP status: 400 with a code, else 503."""
    message: str = "injected"
    delay: float = 0
    """Seconds of the machine's clock until the answer."""
    when: str = "before"
    """`before`: the call changes nothing; `after`: it is carried out, and only its answer is lost."""
    region: str | None = None
    """Only calls to this region."""
    access_key: str | None = None
    """Only calls made with this key: a test's own, made with another, go through."""
    holds: str | None = None
    """Only calls with a parameter that holds this text."""
    sticks: bool = False
    """Once it has met a call, it meets every call of its region and key, before it does anything, until it is
    deleted: as if the caller were cut off."""

    @classmethod
    def read(cls, given: dict) -> "Fault":
        """From JSON; a ValueError names what is wrong."""
        known = {one.name for one in fields(cls)}
        if unknown := set(given) - known:
            raise ValueError(f"no field {', '.join(sorted(unknown))} in a fault; there are {', '.join(sorted(known))}")
        fault = cls(**given)
        if fault.when not in ("before", "after"):
            raise ValueError(f"when is before or after, not {fault.when!r}")
        if fault.code is not None and fault.status is None:
            fault.status = 400
        return fault

    def fits(self, action: str, region: str, key: str, params: dict) -> bool:
        named = {"*": True, "changing": is_changing(action), "reading": not is_changing(action)}
        return (
            named.get(self.action, self.action == action)
            and self.region in (None, region)
            and self.access_key in (None, key)
            and (self.holds is None or any(self.holds in value for value in params.values()))
            and (self.count is None or self.count > 0)
        )


class Faults:
    """The list of them."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._all: list[Fault] = []

    def add(self, faults: list[Fault]) -> None:
        with self._lock:
            self._all += faults

    def clear(self, region: str | None = None) -> None:
        with self._lock:
            self._all = [] if region is None else [one for one in self._all if one.region != region]

    def left(self) -> list[Fault]:
        """Those that still wait for a call."""
        with self._lock:
            return [one for one in self._all if one.count is None or one.count > 0]

    def take(self, action: str, region: str, key: str, params: dict) -> Fault | None:
        """The first that meets this call, as it is now; it is used up by one."""
        with self._lock:
            for fault in self._all:
                if not fault.fits(action, region, key, params):
                    continue
                if fault.skip > 0:
                    fault.skip -= 1
                    continue
                taken = replace(fault)
                if fault.sticks:
                    fault.action, fault.holds, fault.count, fault.when = "*", None, None, "before"
                elif fault.count is not None:
                    fault.count -= 1
                return taken
        return None
