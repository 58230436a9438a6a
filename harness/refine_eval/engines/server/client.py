"""HTTP with a server that may be busy, broken or hostile: one origin, deadlines for whole requests, bounded answers."""

from __future__ import annotations

import asyncio
import email.utils
import ipaddress
import math
import random
import time
import urllib.request
from collections.abc import Mapping
from itertools import count
from urllib.parse import urlsplit

import aiohttp
from yarl import URL

from refine_eval.engines.server.replies import LONGEST_WAIT_S, Reply, TooSlowError, UnreachableError, UnusableError
from refine_eval.errors import ModelError, first_line

_CONNECT_TIMEOUT_S = 10.0
_FIRST_BACKOFF_S, _LONGEST_BACKOFF_S = 0.5, 8.0
# Far above any completion: a text of a million tokens has a few million characters.
_MOST_BYTES = 16 * 2**20
_MOST_BYTES_OF_AN_ERROR = 64 * 2**10
_MOST_REDIRECTS = 5
_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_PASSING = frozenset({408, 409, 429})


class Client:
    """Connections to the server at `base_url`, all of one event loop; `open` and `close` run in it.

    A request that meets a busy server or a broken connection is sent again, later each time. A redirect is followed on
    the same origin alone, so that neither prompts nor the key go to another host.
    """

    def __init__(self, base_url: str, key: str, connections: int) -> None:
        self.proxy = proxy_for(base_url)
        self._base_url = base_url
        self._headers = {"Content-Type": "application/json", "User-Agent": "refine-eval"}
        if key:
            self._headers["Authorization"] = f"Bearer {key}"
        self._connections = connections

    async def open(self) -> None:
        """Connects to nothing yet."""
        # trust_env would send a user's .netrc password, and what is for this machine to a proxy.
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=self._connections),
            headers=self._headers,
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=_CONNECT_TIMEOUT_S),
            cookie_jar=aiohttp.DummyCookieJar(),
            trust_env=False,
        )

    async def close(self) -> None:
        """Closes the connections."""
        await self._session.close()

    async def ask(self, path: str, content: bytes | None = None, *, timeout: float, retries: int) -> Reply:
        """What the server answers in the end: to a POST of `content`, or without it to a GET.

        `timeout` is for each attempt as a whole, from the connection to the last byte. UnreachableError, TooSlowError
        or UnusableError where there is no answer.
        """
        for attempt in count():
            wait = None
            try:
                async with asyncio.timeout(timeout):
                    reply = await self._once(URL(self._base_url + path), content)
                if attempt == retries or not reply.passing:
                    return reply
                wait = reply.wait
            except aiohttp.ConnectionTimeoutError:
                if attempt == retries:
                    raise UnreachableError from None
            except TimeoutError:
                if attempt == retries:
                    raise TooSlowError from None
            except aiohttp.ClientHttpProxyError as error:
                raise UnusableError(
                    f"is not reached, as the proxy of the environment answers {error.status}",
                    "set the environment variable NO_PROXY to the server's host, or see the proxy's log",
                ) from None
            except (aiohttp.ClientSSLError, aiohttp.ClientResponseError, aiohttp.InvalidURL) as error:
                raise UnusableError(*_breach(error)) from None
            except (aiohttp.ClientError, OSError):
                if attempt == retries:
                    raise UnreachableError from None
            await asyncio.sleep(_pause(attempt, wait))
        raise AssertionError("unreachable")

    async def _once(self, url: URL, content: bytes | None) -> Reply:
        for _ in range(_MOST_REDIRECTS):
            async with self._session.request(
                "GET" if content is None else "POST", url, data=content, allow_redirects=False, proxy=self.proxy
            ) as response:
                if response.status not in _REDIRECTS:
                    return Reply(
                        status=response.status,
                        body=await _body(response),
                        wait=_asked_wait(response.headers),
                        passing=_passes(response),
                    )
                url = _target(url, response.headers.get("Location", ""))
        raise UnusableError(f"redirects more than {_MOST_REDIRECTS} times", "check base_url")


def proxy_for(url: str) -> str | None:
    """The proxy that the environment (HTTP_PROXY, HTTPS_PROXY, ALL_PROXY, NO_PROXY) has for a server; None: none.

    What runs on this machine is never reached through a proxy, which would look for it on its own. ModelError for a
    proxy that does not speak HTTP; the message does not repeat its address, which may hold a password.
    """
    parts = urlsplit(url)
    host, proxies = parts.hostname or "", urllib.request.getproxies()
    proxy = proxies.get(parts.scheme) or proxies.get("all")
    if not proxy or _is_here(host) or urllib.request.proxy_bypass(host):
        return None
    proxy = proxy if "://" in proxy else f"http://{proxy}"
    try:
        usable = urlsplit(proxy).scheme in ("http", "https") and bool(URL(proxy).host)
    except ValueError:
        usable = False
    if not usable:
        raise ModelError(
            f"The environment names a proxy for {host} that is not of the form http://host:port; correct "
            f"{parts.scheme.upper()}_PROXY or ALL_PROXY, or set NO_PROXY={host}"
        )
    return proxy


def _is_here(host: str) -> bool:
    """Whether a host's name or address says that it is this machine."""
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")
    return address.is_loopback or address.is_unspecified


def _target(url: URL, location: str) -> URL:
    """Where a redirect leads; UnusableError where that is not the same origin."""
    try:
        target = url.join(URL(location))
        origin = str(target.origin())
    except ValueError:
        target, origin = url, ""
    if not location or not origin:
        raise UnusableError("redirects without a usable address", "check base_url")
    if target.origin() != url.origin():
        raise UnusableError(
            f"redirects to {origin}",
            "neither prompts nor the key are sent to another host, so name it in base_url if the model is served there",
        )
    return target


async def _body(response: aiohttp.ClientResponse) -> bytes:
    """The whole body, of an error its beginning; UnusableError where it is larger than any completion."""
    most = _MOST_BYTES_OF_AN_ERROR if response.status >= 400 else _MOST_BYTES
    content = bytearray()
    async for chunk in response.content.iter_any():
        content += chunk
        if len(content) > most:
            response.close()
            if response.status >= 400:
                break
            raise UnusableError(
                f"answers with more than {most // 2**20} MB", "check that base_url is an OpenAI-compatible server's"
            )
    return bytes(content[:most])


def _passes(response: aiohttp.ClientResponse) -> bool:
    """Whether the same request may succeed later; OpenAI's servers say so themselves."""
    said = response.headers.get("x-should-retry")
    return said == "true" if said in ("true", "false") else response.status in _PASSING or response.status >= 500


def _asked_wait(headers: Mapping[str, str]) -> float | None:
    """The seconds of Retry-After, which may be a date, or of OpenAI's Retry-After-Ms."""
    for name, unit in (("Retry-After-Ms", 0.001), ("Retry-After", 1.0)):
        try:
            wait = float(headers.get(name, "")) * unit
        except ValueError:
            continue
        if math.isfinite(wait):
            return wait
    try:
        return email.utils.parsedate_to_datetime(headers.get("Retry-After", "")).timestamp() - time.time()
    except (ValueError, OverflowError, TypeError):
        return None


def _pause(attempt: int, wait: float | None) -> float:
    if wait is not None and 0 < wait <= LONGEST_WAIT_S:
        return wait
    return min(_FIRST_BACKOFF_S * 2.0 ** min(attempt, 10), _LONGEST_BACKOFF_S) * random.uniform(0.75, 1.0)


def _breach(error: Exception) -> tuple[str, str]:
    """What a server did that breaks HTTP or TLS, and the advice."""
    if isinstance(error, aiohttp.ClientSSLError):
        return f"makes no secure connection ({first_line(error)})", "check base_url and the server's certificate"
    if isinstance(error, aiohttp.InvalidURL):
        return f"has no usable address ({first_line(error)})", "check base_url"
    said = error.message if isinstance(error, aiohttp.ClientResponseError) else error
    return (
        f"does not answer in HTTP, or with headers over 8 kB ({first_line(Exception(said))})",
        "check that base_url is an OpenAI-compatible server's",
    )
