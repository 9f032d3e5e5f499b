"""State of the test side, by account: clock, delays, faults, the crash to come, and the log of calls."""

import threading
import time

# The access key names the account; keys that begin so are the test's own and are neither logged nor disturbed.
TEST_KEY = "ROOT"
SECRET = "secret"
DEFAULT_ACCOUNT = "123456789012"


def account_of(access_key):
    """The account an access key stands for: its last twelve digits."""
    digits = access_key[-12:]
    return digits if digits.isdigit() and len(digits) == 12 else DEFAULT_ACCOUNT


class World:
    """One account."""

    def __init__(self):
        self.lock = threading.Lock()
        self.virtual = False
        self.offset = 0.0
        # Seconds until a new load balancer is active, a new target healthy, and a deregistered one gone.
        self.provisioning = 0.0
        self.registration = 0.0
        self.draining = 0.0
        self.faults = []
        self.crash = None
        self.dead = False
        self.changing = 0
        self.calls = []
        # Health reported from outside, by (target id, port).
        self.health = {}

    def now(self):
        """The time, in seconds; it stands still in a virtual world until it is moved."""
        return self.offset if self.virtual else time.time() + self.offset


class Worlds:
    """All accounts."""

    def __init__(self):
        self._lock = threading.Lock()
        self._worlds = {}
        self.defaults = {}

    def of(self, account):
        """The world of an account."""
        with self._lock:
            if account not in self._worlds:
                world = World()
                for name, value in self.defaults.items():
                    setattr(world, name, value)
                self._worlds[account] = world
            return self._worlds[account]


WORLDS = Worlds()
