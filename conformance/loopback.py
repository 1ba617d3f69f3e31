"""Names under `.localhost` lead to this machine, in this process only.

RFC 6761 reserves them for loopback, but glibc asks DNS for them unless a resolver module or a hosts file says
otherwise. Changing either is the owner's business, so the tests answer these names inside their own process:
importing this module is enough, for `requests` as for `aiohttp`. Every other name goes the usual way.
"""

import socket

_system_getaddrinfo = socket.getaddrinfo


def _getaddrinfo(host, *args, **kwargs):
    name = host.decode("ascii", "replace") if isinstance(host, bytes) else host
    if isinstance(name, str) and name.lower().rstrip(".").endswith(".localhost"):
        host = "127.0.0.1"
    return _system_getaddrinfo(host, *args, **kwargs)


socket.getaddrinfo = _getaddrinfo
