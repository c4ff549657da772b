"""How much of anything is accepted."""

from dataclasses import dataclass

MIB = 1024 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Caps in bytes: of a Bundle, of a resource, and of a file after decompression."""

    bundle: int = 16 * MIB
    resource: int = MIB
    file: int = 1024 * MIB
