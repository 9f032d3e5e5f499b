"""What tests tell the wrapper, and ask it: JSON over HTTP below /herald/.

| call | body or query | answer |
| --- | --- | --- |
| GET /herald/ready | | `{}` once requests are answered |
| POST /herald/faults | a list of faults (see faults.py) | |
| GET /herald/faults | | those not used up |
| DELETE /herald/faults | `?region=` | |
| GET /herald/calls | `?after=&region=&action=&changing=true` | calls (see log.py) |
| DELETE /herald/calls | `?region=` | |
| GET /herald/changes | | `{"changes": n}`: how many changing calls have ended |
| POST /herald/aws | `{"region", "service", "operation", "arguments"}` (see calls.py) | what boto3 answers |
| POST /herald/settings | `{"region": …, "settings": {…}}` (see clocks.py); no region: all | |
| POST /herald/clock | `{"region": …, "seconds": …}` | |
| POST /herald/health | a list of `{"region", "group", "id", "port", "state", "reason", "description"}` | |
| POST /herald/reset | | all of moto, settings, faults and calls as at the start |
| POST /herald/reset | `{"region": …}` | the same of one region |
| /herald/scene/… | see scene.py | |

In a health report, `group` is an ARN or name; group, id and port may be left out, which means all; without a
`state` an earlier report is forgotten.
"""

import json
from dataclasses import asdict
from urllib.parse import parse_qs

import scene
from clocks import world
from faults import Fault, Faults
from log import Log
from moto.moto_api._internal.models import moto_api_backend

PREFIX = "/herald/"
STATES = ("healthy", "unhealthy", "initial", "unavailable")


class Control:
    """The calls above."""

    def __init__(self, faults: Faults, log: Log) -> None:
        self.faults, self.log = faults, log

    def answer(self, method: str, path: str, query: str, body: bytes) -> tuple[int, object]:
        """Status and JSON of a call's answer."""
        name = f"{method.lower()}_{path.removeprefix(PREFIX).replace('/', '_')}"
        call = getattr(self, name, None) if name.replace("_", "").isalpha() and name != "answer" else None
        if call is None:
            return 404, {"error": f"no {method} {path}"}
        try:
            given = json.loads(body) if body else None
            found = call(given, {key: value[0] for key, value in parse_qs(query).items()})
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            return 400, {"error": f"{type(error).__name__}: {error}"}
        return 200, {} if found is None else found

    def get_ready(self, _given, _query):
        return None

    def post_faults(self, given, _query):
        self.faults.add([Fault.read(one) for one in given])

    def get_faults(self, _given, _query):
        return [asdict(one) for one in self.faults.left()]

    def delete_faults(self, _given, query):
        self.faults.clear(query.get("region"))

    def get_calls(self, _given, query):
        changing = query.get("changing")
        return self.log.calls(
            after=int(query.get("after", 0)),
            region=query.get("region"),
            action=query.get("action"),
            changing=None if changing is None else changing == "true",
        )

    def delete_calls(self, _given, query):
        self.log.clear(query.get("region"))

    def get_changes(self, _given, _query):
        return {"changes": self.log.changes}

    def post_settings(self, given, _query):
        world.change(given.get("region"), given["settings"])

    def post_clock(self, given, _query):
        seconds = given["seconds"]
        if isinstance(seconds, bool) or not isinstance(seconds, (int, float)) or seconds < 0:
            raise ValueError(f"seconds is a number from 0, not {seconds!r}")
        world.advance(given.get("region"), seconds)

    def post_health(self, given, _query):
        for one in given:
            state = one.get("state")
            if state is not None and state not in STATES:
                raise ValueError(f"state is one of {', '.join(STATES)}, not {state!r}")
        for one in given:
            health = {key: one.get(key) for key in ("state", "reason", "description")}
            region = world.region(one["region"])
            region.report(one.get("group"), one.get("id"), one.get("port"), health if health["state"] else None)

    def post_scene_cluster(self, given, _query):
        return scene.cluster(**given)

    def get_scene_resources(self, _given, query):
        return scene.resources(query["region"])

    def get_scene_serving(self, _given, query):
        return scene.serving(query["region"], query["hostname"], int(query["port"]))

    def post_reset(self, given, _query):
        if given:
            region = given["region"]
            scene.reset(region)
            world.forget(region)
            self.faults.clear(region)
            self.log.clear(region)
        else:
            moto_api_backend.reset()
            world.reset()
            self.faults.clear()
            self.log.clear()
        self.log.changes += 1
