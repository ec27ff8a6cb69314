"""The authorization that goes with requests to a cluster: of a secret that may be replaced while the server runs."""

from __future__ import annotations

import asyncio
from base64 import b64encode
from collections.abc import Callable


class Credentials:
    """A bearer token, or with a user the password of HTTP basic authentication. Its `repr` tells no secret."""

    def __init__(self, read: Callable[[], str], user: str | None = None) -> None:
        """`read` returns the secret as it is now, and raises OSError or ValueError when it cannot be had.

        Raises:
            OSError, ValueError: from `read`.
        """
        self._read = read
        self._user = user
        self.authorization = self._authorization(read())
        """The header's value."""

    async def renew(self, refused: str) -> bool:
        """Reads the secret anew, after the cluster has refused an authorization. Tells whether it is another one now.

        Raises:
            OSError, ValueError: from `read`; the secret stays as it was.
        """
        if self.authorization == refused:
            self.authorization = self._authorization(await asyncio.to_thread(self._read))
        return self.authorization != refused

    def _authorization(self, secret: str) -> str:
        if self._user is None:
            return f"Bearer {secret}"
        return f"Basic {b64encode(f'{self._user}:{secret}'.encode()).decode()}"
