"""The health check of the container image: whether the daemon beside it answers. Loads the standard library alone."""

from __future__ import annotations

import http.client
import os
import ssl
import sys

_HOST = "127.0.0.1"
_TIMEOUT_S = 2.0


def why_unhealthy(port: int) -> str | None:
    """Ask `/healthz` on a port of this machine, by HTTP and then by HTTPS; None if either answers 200."""
    # The certificate names the host that clients use, never loopback, and nothing secret is sent: it is not verified.
    unverified = ssl._create_unverified_context()  # noqa: S323
    plain = http.client.HTTPConnection(_HOST, port, timeout=_TIMEOUT_S)
    encrypted = http.client.HTTPSConnection(_HOST, port, timeout=_TIMEOUT_S, context=unverified)
    failures = []
    for connection in (plain, encrypted):
        try:
            connection.request("GET", "/healthz")
            status = connection.getresponse().status
        except (OSError, http.client.HTTPException) as error:
            failures.append(str(error) or type(error).__name__)
            continue
        finally:
            connection.close()
        return None if status == 200 else f"/healthz answers {status}"
    return f"no answer on port {port}: {'; '.join(failures)}"


def check_health() -> None:
    """Exit with 0 if the daemon at `DREAMCATCHERD_HTTP_LISTEN` is healthy, and with 1 and the reason if not."""
    port = int(os.environ["DREAMCATCHERD_HTTP_LISTEN"].rpartition(":")[2])
    if (why := why_unhealthy(port)) is not None:
        sys.exit(why)


if __name__ == "__main__":
    check_health()
