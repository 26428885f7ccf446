"""The errors of outbound requests, in one tree.

    OutboundError
    ├── Refused              not allowed, or permanently impossible: a retry changes nothing
    │   ├── InvalidRequest      the URL or a header is not valid
    │   ├── AddressRefused      the URL leads to an address that is not allowed
    │   ├── CertificateRefused  the certificate is not valid for the host, or not trusted
    │   ├── RedirectRefused     too many redirects, a redirect to plain http, or to no URL
    │   └── AnswerRefused       the response is too large, or in an encoding that was not requested
    └── Failed               may be temporary: a retry can succeed
        ├── NotConnected        no address, no connection or no TLS: the request was not sent
        └── Interrupted         no complete response: the server may have processed the request
            └── Stale           the server has closed a kept connection and answers nothing

A message names scheme, host and port. It never contains the path or query (which may hold a token), the resolved
address, or any part of the response.
"""


class OutboundError(Exception):
    """Base of all errors of outbound requests."""


class Refused(OutboundError):
    """A permanent error: it is not retried."""


class InvalidRequest(Refused):
    """The URL or a header is not valid."""


class AddressRefused(Refused):
    """The URL leads to an address that is not allowed."""


class CertificateRefused(Refused):
    """The certificate is not valid for the host, or not trusted."""


class RedirectRefused(Refused):
    """Too many redirects, a redirect to plain http, or to no URL."""


class AnswerRefused(Refused):
    """The response is too large, or in an encoding that was not requested."""


class Failed(OutboundError):
    """A temporary error: it may be retried."""


class NotConnected(Failed):
    """No address, no connection or no TLS. The request was not sent."""


class Interrupted(Failed):
    """No complete response. The server may have processed the request."""


class Stale(Interrupted):
    """The server has closed a kept connection, and sent nothing in answer to a further request."""
