"""A server's death by SIGKILL at a random moment of its clients' work."""

from __future__ import annotations

import random
import signal
import threading
import time
from collections.abc import Callable, Sequence

from tests.service_fixtures import wait_until
from tests.serving import Process


def kill_at_work(
    server: Process,
    clients: Sequence[threading.Thread],
    under_way: Callable[[], object],
    seconds: tuple[float, float],
    rng: random.Random,
) -> None:
    """Starts the clients, and ends the server some ``seconds`` (least, most) after they are ``under_way``.

    Returns when all clients have ended, which they do where the server is gone.
    """
    for client in clients:
        client.start()
    wait_until(under_way, timeout_s=300)
    time.sleep(rng.uniform(*seconds))  # the moment is random on purpose
    server.end(signal.SIGKILL)
    for client in clients:
        client.join()
