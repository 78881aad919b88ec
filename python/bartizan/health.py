"""Ask a server on this machine whether it lives: the health check of a container that has no shell.

`python health.py https://127.0.0.1:8600/healthz` ends with 0 if the answer is 200, else with 1. The certificate is not
checked, because nothing is sent and the address has to be a loopback one.
"""

from __future__ import annotations

import ssl
import sys
import urllib.error
import urllib.parse
import urllib.request

SECONDS = 4


def main(arguments: list[str]) -> int:
    """Return the exit code: 0 healthy, 1 not, 2 wrong usage."""
    if len(arguments) != 1:
        sys.stderr.write("Give one address: https://127.0.0.1:PORT/healthz.\n")
        return 2
    parts = urllib.parse.urlsplit(arguments[0])
    if parts.scheme not in {"http", "https"} or parts.hostname not in {"127.0.0.1", "::1", "localhost"}:
        sys.stderr.write("Only an address of this machine can be asked: https://127.0.0.1:PORT/healthz.\n")
        return 2
    unchecked = ssl.create_default_context()
    unchecked.check_hostname = False
    unchecked.verify_mode = ssl.CERT_NONE
    direct = urllib.request.build_opener(
        urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=unchecked)
    )
    try:
        with direct.open(arguments[0], timeout=SECONDS) as answer:
            return 0 if answer.status == 200 else 1  # noqa: PLR2004 - HTTP's word for well
    except (urllib.error.URLError, OSError):
        return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
