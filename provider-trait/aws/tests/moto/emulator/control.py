"""What tests ask of the emulator, as JSON under /_herald/."""

import json

from . import cluster, show
from .worlds import WORLDS


def handle(method, path, body, lock):
    """Answers a control request with a status line and a JSON value."""
    try:
        request = json.loads(body) if body else {}
        verb = path.removeprefix("/_herald/")
        if verb == "healthz":
            return "200 OK", {"ready": True}
        action = _ACTIONS.get(verb)
        if action is None:
            return "404 Not Found", {"error": f"no such verb: {verb}"}
        world = WORLDS.of(request["account"])
        return "200 OK", action(world, request, lock)
    except Exception as error:  # The test reads it.
        return "400 Bad Request", {"error": f"{type(error).__name__}: {error}"}


def _world(world, request, _lock):
    """Sets the clock and the delays."""
    for name in ("virtual", "provisioning", "registration", "draining"):
        if name in request:
            setattr(world, name, request[name])
    if world.virtual and not world.offset:
        world.offset = 1_000_000.0
    return {"now": world.now()}


def _advance(world, request, _lock):
    world.offset += request["seconds"]
    return {"now": world.now()}


def _faults(world, request, _lock):
    with world.lock:
        world.faults = list(request["faults"])
    return {}


def _crash(world, request, _lock):
    with world.lock:
        at = request.get("at")
        world.crash = None if at is None else (world.changing + at, request["when"])
        world.dead = False
    return {}


def _state(world, _request, _lock):
    with world.lock:
        changed = sum(1 for call in world.calls if call["changes"] and call["code"] == "ok")
        return {"dead": world.dead, "changed": changed, "calls": list(world.calls), "now": world.now()}


def _forget(world, _request, _lock):
    with world.lock:
        world.calls.clear()
    return {}


def _health(world, request, _lock):
    """Health of a target as somebody who forwards for the load balancer sees it; null for the clock's."""
    world.health[(request["id"], int(request["port"]))] = request["state"]
    return {}


def _resources(_world, request, lock):
    with lock:
        return show.resources(request["account"], request["region"])


def _serving(_world, request, lock):
    with lock:
        return show.serving(request["account"], request["region"], request["hostname"], request["port"])


_ACTIONS = {
    "world": _world,
    "advance": _advance,
    "faults": _faults,
    "crash": _crash,
    "state": _state,
    "forget": _forget,
    "health": _health,
    "resources": _resources,
    "serving": _serving,
    "cluster": cluster.make,
    "allocate": cluster.allocate,
    "certificates": cluster.certificates,
    "foreign": cluster.foreign,
    "remove-listener": cluster.remove_listener,
    "attributes": cluster.attributes,
}
