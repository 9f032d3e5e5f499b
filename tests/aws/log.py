"""What was called, with what result."""

import threading
import time

from faults import is_changing


class Log:
    """Calls in the order they came in."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._next = 1
        self._calls: list[dict] = []
        self.changes = 0
        """How many changing calls have ended, hidden ones too: who reads everything reads again when this has grown."""

    def begin(self, service: str, action: str, region: str, key: str, params: dict, hidden: bool = False) -> dict:
        """Writes a call down, unless it is hidden; its result is filled in by `end`."""
        call = {
            "time": time.time(),
            "service": service,
            "action": action,
            "region": region,
            "access_key": key,
            "changing": is_changing(action),
            "params": params,
            "status": None,
            "code": "",
            "injected": False,
            "seconds": None,
        }
        if hidden:
            return call
        with self._lock:
            call["number"] = self._next
            self._next += 1
            self._calls.append(call)
        return call

    def end(self, call: dict, status: int, code: str, injected: bool) -> None:
        with self._lock:
            self.changes += call["changing"]
            call["status"] = status
            call["code"] = code
            call["injected"] = injected
            call["seconds"] = round(time.time() - call["time"], 6)

    def calls(self, *, after: int = 0, region=None, action=None, changing=None) -> list[dict]:
        """Calls with a number above `after`, chosen by what is not None."""
        with self._lock:
            return [
                dict(call)
                for call in self._calls
                if call["number"] > after
                and region in (None, call["region"])
                and action in (None, call["action"])
                and changing in (None, call["changing"])
            ]

    def clear(self, region: str | None = None) -> None:
        """Forgets them, or those of one region; numbers go on."""
        with self._lock:
            self._calls = [call for call in self._calls if region not in (None, call["region"])]
