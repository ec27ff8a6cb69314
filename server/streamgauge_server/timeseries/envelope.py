"""The sealed envelope of stored messages: a version and a checksum before the content.

A sealed message is a protobuf message whose first two fields are `uint32 format = 1` and `fixed32 crc32 = 2`, always
written in this order and in seven bytes, so that the checksum covers every byte after it without a second parse.
"""

from __future__ import annotations

import struct
from zlib import crc32

from google.protobuf.message import DecodeError

FORMAT = 1
"""The version of every layout in `streamgauge.internal.v1` that this program writes and reads."""

SEAL_BYTES = 7
_HEAD = bytes((0x08, FORMAT, 0x15))  # tag of field 1, its varint, tag of field 2


CONTRADICTIONS = (DecodeError, ValueError, IndexError, struct.error)
"""What reading raises where content does not fit together although its checksum does; told as BlockCorrupt."""


class BlockCorrupt(Exception):
    """Stored bytes are damaged, or of a version that this program does not know."""


def seal(content: bytes) -> bytes:
    """Returns serialized fields with the seal before them: one valid message."""
    return _HEAD + crc32(content).to_bytes(4, "little") + content


def unseal(data: bytes) -> bytes:
    """Returns the fields after the seal. Raises BlockCorrupt."""
    content = data[SEAL_BYTES:]
    if data[:3] != _HEAD:
        raise BlockCorrupt(f"stored bytes do not begin with a seal of format {FORMAT}: {data[:3].hex()}")
    if len(data) < SEAL_BYTES or crc32(content) != int.from_bytes(data[3:SEAL_BYTES], "little"):
        raise BlockCorrupt(f"checksum of {len(data)} stored bytes does not match")
    return content
