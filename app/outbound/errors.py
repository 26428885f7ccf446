"""Why a request to a URL of a user's failed, in one tree.

    OutboundError
    ├── Refused              not allowed, or never will be: trying again changes nothing
    │   ├── InvalidRequest      the URL or a header is not one that we send
    │   ├── AddressRefused      it leads where tasks may not go
    │   ├── CertificateRefused  the certificate is not the host's, or from nobody that this machine trusts
    │   ├── RedirectRefused     too many, to plain http, or to no URL
    │   └── AnswerRefused       larger than allowed, or encoded as nobody asked for
    └── Failed               may pass: trying again can help
        ├── NotConnected        no address, nobody there, no TLS: the request was not sent
        └── Interrupted         no whole answer: the request may have been heard

A message names scheme, host and port, never the path or query (which may hold a token), the address that the name
resolved to, or anything that was answered.
"""


class OutboundError(Exception):
    """Base of them all."""


class Refused(OutboundError):
    """Not tried again."""


class InvalidRequest(Refused):
    pass


class AddressRefused(Refused):
    pass


class CertificateRefused(Refused):
    pass


class RedirectRefused(Refused):
    pass


class AnswerRefused(Refused):
    pass


class Failed(OutboundError):
    """May pass."""


class NotConnected(Failed):
    pass


class Interrupted(Failed):
    pass
