"""Owns: Debian's containerd on a machine, and as much of a kubelet as pods need: calls of the
Container Runtime Interface (k8s.io/cri-api, runtime/v1/api.proto), packed by hand.
"""

import os
import signal
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Final, Self

import grpc
from runtimes.machine import NEWER, Machine
from runtimes.podman import IMAGE

ROOT: Final = Path(__file__).parents[2]
READY_S: Final = 30.0
CALL_S: Final = 60.0
STOP_S: Final = 20.0
_SERVICE: Final = "/runtime.v1.RuntimeService/"
_CONFIG: Final = f"""\
version = 2
disabled_plugins = ["io.containerd.snapshotter.v1.btrfs", "io.containerd.snapshotter.v1.aufs",
                    "io.containerd.snapshotter.v1.zfs", "io.containerd.internal.v1.tracing"]
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "{IMAGE}:latest"
  restrict_oom_score_adj = true
  {"enable_cdi = true" if NEWER else ""}
[plugins."io.containerd.grpc.v1.cri".cni]
  bin_dir = "/opt/cni/bin"
[plugins."io.containerd.grpc.v1.cri".containerd]
  snapshotter = "native"
[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
  runtime_type = "io.containerd.runc.v2"
"""
# What docs/runtimes/kubernetes.md adds: a runtime whose pods are sandboxes.
_HANDLER: Final = (
    (ROOT / "docs/runtimes/kubernetes.md").read_text().partition("```toml\n")[2].partition("```")[0]
)

PRIVILEGED: Final = "ALL"
# What a kubelet has a container not write (pkg/securitycontext/util.go).
READ_ONLY: Final = ("/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger")

Field = int | str | bytes | None


def message(*fields: tuple[int, Field]) -> bytes:
    """Fields as a Protocol Buffers message; None is left out."""
    return b"".join(_field(number, value) for number, value in fields if value is not None)


def _field(number: int, value: Field) -> bytes:
    if isinstance(value, int):
        return _varint(number << 3) + _varint(value)
    data = value.encode() if isinstance(value, str) else value or b""
    return _varint(number << 3 | 2) + _varint(len(data)) + data


def _varint(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*out, value])


def fields(data: bytes) -> Iterator[tuple[int, int | bytes]]:
    """The fields of a message that has numbers, texts and messages only."""
    place = 0

    def number() -> int:
        nonlocal place
        found = shift = 0
        while True:
            byte = data[place]
            place += 1
            found |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                return found

    while place < len(data):
        key = number()
        value: int | bytes = number()
        if key & 7 == 2:
            assert isinstance(value, int)
            place, value = place + value, data[place : place + value]
        yield key >> 3, value


def _map(number: int, items: Mapping[str, str]) -> bytes:
    return message(*((number, message((1, key), (2, value))) for key, value in items.items()))


class Containerd:
    """A containerd with its CRI plugin; a context manager."""

    def __init__(self, machine: Machine, config: str = "") -> None:
        self.machine = machine
        self._config = config  # more of it
        self._log = (machine.world.directory / "containerd.log").open("ab")
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        self.machine.write("etc/containerd/config.toml", _CONFIG + _HANDLER + self._config)
        (self.machine.own / "opt/cni/bin/loopback").symlink_to("/usr/lib/cni/loopback")
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()
        self._log.close()

    def start(self) -> None:
        """Start it and wait until it serves pods."""
        self._process = self.machine.start(
            "containerd", "--log-level", "debug", stdout=self._log, stderr=self._log
        )
        socket = self.machine.own / "run/containerd/containerd.sock"
        self._channel = grpc.insecure_channel(f"unix://{socket}")
        deadline = time.monotonic() + READY_S
        while True:
            try:
                self.call("Status", b"")
            except grpc.RpcError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.1)
            else:
                return

    def stop(self, number: int = signal.SIGTERM) -> None:
        """End it, by a signal; its containers live on."""
        process, self._process = self._process, None
        self._channel.close()
        if process is not None:
            process.send_signal(number)
            process.wait(timeout=STOP_S)

    def call(self, method: str, request: bytes, deadline_s: float = CALL_S) -> bytes:
        """One call of the runtime service.

        Raises:
            grpc.RpcError: containerd says no.
        """
        ask = self._channel.unary_unary(
            _SERVICE + method,
            request_serializer=bytes,
            response_deserializer=bytes,
        )
        return bytes(ask(request, timeout=deadline_s))

    # -- pods ------------------------------------------------------------------------------

    def run_pod(
        self,
        name: str,
        annotations: Mapping[str, str] | None = None,
        handler: str | None = None,
        devices: Mapping[str, str] | None = None,
        powers: Sequence[str] = (),
    ) -> "Pod":
        """RunPodSandbox, and one container in it.

        Args:
            handler: a RuntimeClass's.
            devices: annotations of the container by which CDI devices are named.
            powers: capabilities that the container asks for, or ALL of them: a privileged one.

        Raises:
            grpc.RpcError: it was refused.
        """
        who = message((1, name), (2, f"uid-{name}"), (3, "team"))
        everything = list(powers) == [PRIVILEGED]
        config = message((1, who), (2, name)) + _map(7, annotations or {})
        config += message((8, message((2, message((6, everything))))))
        pod = self._text(self.call("RunPodSandbox", message((1, config), (2, handler))))
        try:
            image = message((1, f"{IMAGE}:latest"))
            what = message((1, message((1, "main"))), (2, image), (3, "sleep"), (4, "600"))
            what += _map(10, devices or {})
            added = message(*((1, power) for power in powers if not everything))
            paths = () if everything else READ_ONLY
            security = message((1, added), (2, everything), *((14, path) for path in paths))
            what += message((15, message((2, security))))
            made = self.call("CreateContainer", message((1, pod), (2, what), (3, config)))
            container = self._text(made)
            self.call("StartContainer", message((1, container)))
        except grpc.RpcError:
            self.remove_pod(pod)
            raise
        return Pod(self, pod, container)

    def remove_pod(self, pod: str) -> None:
        """StopPodSandbox and RemovePodSandbox."""
        self.call("StopPodSandbox", message((1, pod)))
        self.call("RemovePodSandbox", message((1, pod)))

    def pods(self) -> list[str]:
        """Ids of all pods."""
        listed = self.call("ListPodSandbox", b"")
        return [self._text(bytes(item)) for _, item in fields(listed) if isinstance(item, bytes)]

    def remove_all(self) -> None:
        """No pod is left."""
        for pod in self.pods():
            self.remove_pod(pod)

    @staticmethod
    def _text(answer: bytes) -> str:
        return next(bytes(v).decode() for n, v in fields(answer) if n == 1 and v)  # type: ignore[arg-type]


class Pod:
    """A pod with one container."""

    def __init__(self, containerd: Containerd, pod_id: str, container: str) -> None:
        self._containerd = containerd
        self.id = pod_id
        self.container = container

    def shell(self, script: str) -> tuple[int, str]:
        """ExecSync of a line of sh: status and output."""
        words = [(2, word) for word in ("sh", "-c", script)]
        request = message((1, self.container), *words, (3, 20))
        answer = dict(fields(self._containerd.call("ExecSync", request)))
        out = b"".join(bytes(answer.get(n, b"")) for n in (1, 2))  # type: ignore[arg-type]
        return int(answer.get(3, 0)), out.decode(errors="replace")  # type: ignore[arg-type]

    def remove(self) -> None:
        """Stop and remove it."""
        self._containerd.remove_pod(self.id)


def load_image(machine: Machine) -> None:
    """podman's image, for containerd's pods."""
    archive = str(machine.own / "box-archive.tar")
    if not os.path.exists(archive):
        machine.must("podman", "save", "--quiet", "--output", archive, f"{IMAGE}:latest")
    machine.must(
        "ctr", "-n", "k8s.io", "images", "import", "--snapshotter", "native", archive, timeout=120
    )
