"""From an event to the bytes of a Kafka record, and back: Avro, framing, compression, seal, keys."""

from epicrisis.codec.catalogue import Catalogue
from epicrisis.codec.codec import Codec, Sealed
from epicrisis.codec.dictionaries import Dictionaries
from epicrisis.codec.envelope import MAX_BATCH, MAX_RECORD, MAX_VALUE
from epicrisis.codec.headers import headers, written_headers
from epicrisis.codec.keys import DataKey, KeyStore, LocalWrapping, MemoryKeyStore, Wrapping
from epicrisis.codec.postgres_keys import PostgresKeyStore

__all__ = [
    "MAX_BATCH",
    "MAX_RECORD",
    "MAX_VALUE",
    "Catalogue",
    "Codec",
    "DataKey",
    "Dictionaries",
    "KeyStore",
    "LocalWrapping",
    "MemoryKeyStore",
    "PostgresKeyStore",
    "Sealed",
    "Wrapping",
    "headers",
    "written_headers",
]
