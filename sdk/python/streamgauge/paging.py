"""Lists that come in pages: iterate over the items, or over the pages when the place in the list matters."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import dataclass
from typing import Generic, TypeVar

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Page(Generic[T]):
    """One page. `next_page_token` is empty on the last one; `total_size` counts all pages, None when not told."""

    items: tuple[T, ...]
    next_page_token: str
    total_size: int | None = None


class Pager(Generic[T]):
    """The items of a list, fetched page by page as they are needed. Every iteration asks the server anew.

    Example:
        >>> for source in client.sources.list(labels={"team": "orders"}):
        ...     print(source.name)
        >>> first = next(client.sources.list(page_size=20).pages())
        >>> rest = client.sources.list(page_size=20, page_token=first.next_page_token)
    """

    def __init__(self, fetch: Callable[[str], Page[T]], page_token: str = "") -> None:
        self._fetch = fetch
        self._first = page_token

    def pages(self) -> Iterator[Page[T]]:
        """Yields the pages."""
        page = self._fetch(self._first)
        yield page
        while page.next_page_token:
            page = self._fetch(page.next_page_token)
            yield page

    def __iter__(self) -> Iterator[T]:
        for page in self.pages():
            yield from page.items


class AsyncPager(Generic[T]):
    """The items of a list, fetched page by page as they are needed: `async for`. See `Pager`."""

    def __init__(self, fetch: Callable[[str], Awaitable[Page[T]]], page_token: str = "") -> None:
        self._fetch = fetch
        self._first = page_token

    async def pages(self) -> AsyncIterator[Page[T]]:
        """Yields the pages."""
        page = await self._fetch(self._first)
        yield page
        while page.next_page_token:
            page = await self._fetch(page.next_page_token)
            yield page

    async def __aiter__(self) -> AsyncIterator[T]:
        async for page in self.pages():
            for item in page.items:
                yield item
