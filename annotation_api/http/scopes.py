"""What a request carries with it, beside its own parts: its id, who calls, and where from."""

from __future__ import annotations

import ipaddress

from starlette.requests import Request
from starlette.types import Scope

from annotation_api.http.auth import Someone
from annotation_api.settings import Settings

REQUEST = "rankloop.request"  # in the scope: the request's id
PERSON = "rankloop.person"  # the caller's pseudonym
PERSON_ID = "rankloop.person_id"
KEY = "rankloop.key"  # the API key with which somebody calls, an `auth.Key`
SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})


def remember(request: Request, person: Someone) -> None:
    """This is who calls, for the log and the audit."""
    request.scope[PERSON], request.scope[PERSON_ID] = person.pseudonym, person.id


def route_of(scope: Scope) -> str:
    """The route, not the path: set-up and invitation links carry their token in the path."""
    return str(getattr(scope.get("route"), "path", "unknown"))


def address_of(request: Request, settings: Settings) -> str:
    """Where the caller is. Only a trusted proxy is believed when it says for whom it asks.

    Each proxy adds the address that it saw at the end of X-Forwarded-For: the last one that is no proxy
    of ours is the caller; what stands before it anybody may have written.
    """
    near = request.client.host if request.client else "unknown"
    hops = [hop.strip() for line in request.headers.getlist("x-forwarded-for") for hop in line.split(",")]
    for hop in reversed(hops):
        if not _is_trusted(near, settings):
            break
        if _address(hop) is None:  # no address: the proxy that sent it is as far as we can see
            break
        near = hop
    return near


def _is_trusted(address: str, settings: Settings) -> bool:
    found = _address(address)
    return found is not None and any(found in network for network in settings.proxy_networks)


def _address(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(text)
    except ValueError:
        return None
