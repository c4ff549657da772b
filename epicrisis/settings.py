"""The settings: one typed class, read once where a process starts, passed down from there.

Every setting is an environment variable that starts with `EPICRISIS_`. None is needed on one machine: the local
servers and their generated secrets stand in. No secret has a default. Three more come from outside:

    EPICRISIS_DSN               an administrator's connection to a PostgreSQL server: makes databases and roles
    EPICRISIS_DSN_<DATABASE>    a role's own connection to one database, e.g. EPICRISIS_DSN_REGISTRATION
    EPICRISIS_KAFKA_USER        this process's own Kafka user (or, for the provisioning step, the administrator)
"""

from __future__ import annotations

import base64
import os
import re
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, SecretStr, ValidationError, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from epicrisis.errors import SettingsError
from epicrisis.event import SLICES
from epicrisis.local.state import State

PREFIX = "EPICRISIS_"
DSN_PREFIX = "EPICRISIS_DSN_"
OPERATOR = "operator-"
"""How the logical Kafka users of operators begin: `operator-charite`."""

Security = Literal["SASL_PLAINTEXT", "SASL_SSL", "PLAINTEXT", "SSL"]


def dsns_from_environment() -> dict[str, SecretStr]:
    """Every EPICRISIS_DSN_<DATABASE>, by the database's name in small letters."""
    return {
        name.removeprefix(DSN_PREFIX).lower(): SecretStr(value)
        for name, value in os.environ.items()
        if name.startswith(DSN_PREFIX) and value
    }


class Settings(BaseSettings):
    """What an installation may set. `Settings.read()` reads it and explains what is wrong."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX, frozen=True, hide_input_in_errors=True, env_ignore_empty=True, extra="forbid"
    )

    state: Path = Path(".epicrisis")
    """The folder with generated secrets and the local servers' data."""
    namespace: str = "epicrisis"
    """The prefix of every topic, database, role and group, so that installations can share servers."""
    operators: Path | None = None
    """The folder with a folder per operator; `operators` in the state folder if not given."""
    http_url: str | None = None
    """The address of FHIR over HTTP as clients know it, where a proxy stands before it: they sign it into their
    assertions. `https://fhir.example.org/fhir`."""
    partitions: int = 16
    """Partitions of the event topic. Divides 1,024, so that a slice never spans two of them."""

    kafka_bootstrap: str | None = None
    kafka_security: Security = "SASL_PLAINTEXT"
    kafka_user: str | None = None
    kafka_password: SecretStr | None = None
    kafka_admin_user: str = "admin"
    kafka_admin_password: SecretStr | None = None
    """The administrator, used by the provisioning step alone; other users keep their own passwords."""
    kafka_ca: Path | None = None
    kafka_replication: int = Field(default=1, ge=1)

    kafka_operators: dict[str, SecretStr] = Field(default_factory=dict)
    """The passwords of operators' users, by operator, where they are not to be generated."""

    dsn: SecretStr | None = None
    dsns: dict[str, SecretStr] = Field(default_factory=dsns_from_environment)
    mllp_tls_certificate: Path | None = None
    mllp_tls_key: Path | None = None
    mllp_tls_clients: Path | None = None
    """The certificates that clients' certificates must be issued by, or be; TLS is on where these three are given."""
    mllp_frame_bytes: int = Field(default=1024 * 1024, ge=1024, le=16 * 1024 * 1024)
    mllp_idle_seconds: float = Field(default=600, gt=0)
    mllp_connections: int = Field(default=256, ge=1)
    mllp_messages: int = Field(default=16, ge=1, le=64)

    wrapping_key: SecretStr | None = None
    """32 bytes in base64: wraps the subjects' data keys. Lose it and every body is unreadable."""

    origin: str | None = None
    checkpoint_key: SecretStr | None = None
    """32 bytes in base64: signs checkpoints. Who has it can sign in the log's name, though not in its witnesses'."""
    witnesses: Path | None = None
    """The lines of a C2SP trust policy that name the witnesses, and how many of them are enough. Not set: none."""
    witness_key: SecretStr | None = None

    @classmethod
    def read(cls, **given: Any) -> Settings:
        """The settings from the environment; SettingsError names the variables that are wrong, never their values."""
        try:
            return cls(**given)
        except ValidationError as error:
            wrong = "; ".join(
                f"{PREFIX}{'_'.join(str(part) for part in detail['loc']).upper()}: {detail['msg']}"
                for detail in error.errors(include_url=False, include_input=False, include_context=False)
            )
            raise SettingsError(f"correct these settings and start again: {wrong}") from None

    @field_validator("namespace")
    @classmethod
    def _namespace_is_a_plain_word(cls, value: str) -> str:
        if not re.fullmatch(r"[a-z][a-z0-9_]{0,30}", value):
            raise ValueError("starts with a small letter, then small letters, digits and _, at most 31 in all")
        return value

    @field_validator("origin")
    @classmethod
    def _origin_is_a_name(cls, value: str | None) -> str | None:
        if value is not None and not re.fullmatch(r"[!-*,-~]{1,200}", value):
            raise ValueError("is a name like cluster.example/log: printable ASCII without spaces or +, at most 200")
        return value

    @field_validator("partitions")
    @classmethod
    def _partitions_divide_slices(cls, value: int) -> int:
        if value < 1 or SLICES % value:
            raise ValueError("must divide 1024: take 1, 2, 4, 8, 16, 32, 64, …")
        return value

    @field_validator("state")
    @classmethod
    def _state_is_absolute(cls, value: Path) -> Path:
        return value.expanduser().absolute()

    @property
    def log_origin(self) -> str:
        """The name of the log of heads, the first line of its checkpoints."""
        return self.origin or self.namespace

    @property
    def operators_folder(self) -> Path:
        """Where the operators' manifests are."""
        return self.operators or self.state / "operators"

    # Names

    def database(self, name: str) -> str:
        """The name of a database on the server: `epicrisis_registration`."""
        return f"{self.namespace}_{name}"

    def role(self, name: str) -> str:
        """The name of a role on the server: `epicrisis_relay`."""
        return f"{self.namespace}_{name}"

    def topic(self, name: str = "events.g1") -> str:
        """The name of a topic: `epicrisis.events.g1`."""
        return f"{self.namespace}.{name}"

    def group(self, name: str) -> str:
        """The name of a consumer group: `epicrisis.worker`."""
        return f"{self.namespace}.{name}"

    def inbox(self, operator: str) -> str:
        """The topic into which an operator writes: `epicrisis.inbox.charite`."""
        return self.topic(f"inbox.{operator}")

    def replies(self, operator: str) -> str:
        """The topic with the answers to it: `epicrisis.replies.charite`."""
        return self.topic(f"replies.{operator}")

    def kafka_name(self, user: str) -> str:
        """The SCRAM name of a logical user: `epicrisis-relay`; the administrator has a name of its own."""
        return self.kafka_admin_user if user == "admin" else f"{self.namespace}-{user}"

    # Where the servers are

    @property
    def local_kafka(self) -> bool:
        return self.kafka_bootstrap is None

    @property
    def local_postgres(self) -> bool:
        return self.dsn is None and not self.dsns

    @cached_property
    def _state(self) -> State:
        return State(self.state)

    def address(self, server: str) -> str:
        """Where the `kafka` or `postgres` named in the settings is, without user and password."""
        if server == "kafka":
            return self.kafka_bootstrap or ""
        from psycopg.conninfo import conninfo_to_dict

        named = self.dsn or next(iter(self.dsns.values()), None)
        parts = conninfo_to_dict(named.get_secret_value()) if named else {}
        return f"{parts.get('host', '')}:{parts.get('port', 5432)}"

    # Secrets

    def secret(self, name: str, *, create: bool | None = None) -> str:
        """A generated secret of this namespace, 32 random bytes in URL-safe base64.

        It is made at the first call where the servers are local, or with `create=True` (the provisioning step).
        """
        may_create = (self.local_kafka and self.local_postgres) if create is None else create
        found = self._state.secret(f"{self.namespace}/{name}", create=may_create)
        if found is None:
            raise SettingsError(
                f"there is no secret {self.namespace}/{name} in {self._state.secrets_file}: "
                "run `epicrisis provision`, or give this process its own user and password in the environment"
            )
        return found

    def forget_secrets(self) -> None:
        """Remove this namespace's generated secrets, once its databases and users are gone."""
        self._state.forget(f"{self.namespace}/")

    def wrapping_key_bytes(self) -> bytes:
        """The 32 bytes that wrap the data keys."""
        return self._key_bytes("wrapping_key", self.wrapping_key)

    def checkpoint_key_bytes(self) -> bytes:
        """The 32 bytes that sign checkpoints."""
        return self._key_bytes("checkpoint_key", self.checkpoint_key)

    def witness_key_bytes(self) -> bytes:
        """The 32 bytes that a witness signs with: made at its first start, in its own state folder, if not given."""
        return self._key_bytes("witness_key", self.witness_key, create=True)

    def _key_bytes(self, name: str, given: SecretStr | None, *, create: bool | None = None) -> bytes:
        variable = f"{PREFIX}{name.upper()}"
        if given is not None:
            text = given.get_secret_value()
        else:
            try:
                text = self.secret(name, create=create)
            except SettingsError:
                raise SettingsError(f"set {variable} to 32 bytes in base64 and start again") from None
        try:
            key = base64.b64decode(text.strip().rstrip("=").replace("-", "+").replace("_", "/") + "=", validate=True)
        except ValueError:  # binascii's own error is one
            key = b""
        if len(key) != 32:
            raise SettingsError(f"{variable} is not 32 bytes in base64: correct it and start again")
        return key

    def kafka_secret(self, user: str, *, create: bool = False) -> str:
        """A Kafka user's password: an operator's from the settings where it is there, else a generated one.

        Only the provisioning step, which makes the user, makes it.
        """
        given = self.kafka_operators.get(user.removeprefix(OPERATOR)) if user.startswith(OPERATOR) else None
        return self.secret(f"kafka.{user}", create=create) if given is None else given.get_secret_value()

    # PostgreSQL

    def admin_dsn(self, database: str = "postgres") -> str:
        """An administrator's connection: for the provisioning step and tests alone."""
        if self.dsn is not None:
            return changed(self.dsn.get_secret_value(), dbname=database)
        if not self.local_postgres:
            raise SettingsError("set EPICRISIS_DSN to an administrator's connection to make databases and roles")
        from epicrisis.local.postgres import SECRET, SUPERUSER

        password = self._state.secret(SECRET, create=False) or ""
        return changed(self._local_server(), dbname=database, user=SUPERUSER, password=password)

    def dsn_for(self, database: str, role: str) -> str:
        """The connection of `role` to `database` (both without the namespace's prefix)."""
        if (named := self.dsns.get(database.lower())) is not None:
            return named.get_secret_value()
        if self.dsn is None and not self.local_postgres:
            raise SettingsError(f"set {DSN_PREFIX}{database.upper()} to the connection of the role `{role}`")
        server = self._local_server() if self.dsn is None else self.dsn.get_secret_value()
        password = self.secret(f"role.{role}", create=False)  # the provisioning step makes it, with the role
        return changed(server, dbname=self.database(database), user=self.role(role), password=password)

    def _local_server(self) -> str:
        from epicrisis.local.process import LOOPBACK
        from epicrisis.local.servers import postgres_port

        return f"host={LOOPBACK} port={postgres_port(self)}"

    # Kafka

    def kafka(self, user: str) -> dict[str, Any]:
        """What a kafka-python client needs to reach the broker as `user` (`admin`, `relay`, `operator-charite`, …)."""
        from epicrisis.local import kafka as local
        from epicrisis.local.servers import kafka_port

        if self.kafka_bootstrap is None:
            port = kafka_port(self)
            if user == "admin":
                password = self._state.secret(local.SECRET, create=False) or ""
                return local.client_settings(port, local.ADMIN, password)
            return local.client_settings(port, self.kafka_name(user), self.kafka_secret(user))
        client: dict[str, Any] = {
            "bootstrap_servers": self.kafka_bootstrap.split(","),
            "security_protocol": self.kafka_security,
        }
        if self.kafka_ca is not None:
            client["ssl_cafile"] = str(self.kafka_ca)
        if self.kafka_security.startswith("SASL_"):
            name, password = self._external_kafka_user(user)
            client |= {"sasl_mechanism": "SCRAM-SHA-512", "sasl_plain_username": name, "sasl_plain_password": password}
        return client

    def _external_kafka_user(self, user: str) -> tuple[str, str]:
        if self.kafka_user is not None:
            if self.kafka_password is None:
                raise SettingsError("EPICRISIS_KAFKA_USER is set: set EPICRISIS_KAFKA_PASSWORD too")
            return self.kafka_user, self.kafka_password.get_secret_value()
        if user != "admin":
            return self.kafka_name(user), self.kafka_secret(user)
        if self.kafka_admin_password is None:
            raise SettingsError("set EPICRISIS_KAFKA_ADMIN_PASSWORD (or EPICRISIS_KAFKA_USER and …_PASSWORD)")
        return self.kafka_admin_user, self.kafka_admin_password.get_secret_value()


def changed(dsn: str, **parts: str) -> str:
    """A connection string with some of its parts replaced; everything else (TLS, time limits) stays."""
    from psycopg import ProgrammingError
    from psycopg.conninfo import make_conninfo

    try:
        return make_conninfo(dsn, **parts)
    except ProgrammingError:
        raise SettingsError("EPICRISIS_DSN is not a PostgreSQL connection string: correct it, start again") from None
