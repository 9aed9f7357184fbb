"""The test world: a machine, an internet and the fence between them, made of namespaces.

    with World() as world:
        site = world.internet.https("api.test")           # an address, a name, a certificate
        world.daemon(treat="defaults")                     # netmgr, with this namespace as its host
        box = world.sandbox("a", policy=...)
        assert box.run("curl", "-s", "https://api.test/").returncode == 0
        assert site.requests[0].target == "/"

Nothing in here touches the machine's own network, and nothing in a world can leave it: there is no
link out. `world.world.World` is the entrance; `tests/README.md` explains the parts.
"""

from world.authority import Authority
from world.capture import Capture, Frame
from world.internet import Internet
from world.namespaces import Namespace
from world.sandbox import Sandbox
from world.world import World

__all__ = ["Authority", "Capture", "Frame", "Internet", "Namespace", "Sandbox", "World"]
