"""`epicrisis operator …`: the operators and their clients."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from epicrisis.cli.app import app

operator = typer.Typer(no_args_is_help=True, help="The operators and their clients.", rich_markup_mode=None)
app.add_typer(operator, name="operator")


@operator.command(epilog='Example: curl -H "Authorization: Bearer $(epicrisis operator token charite)" …')
def token(
    name: Annotated[str, typer.Argument(help="A simulated operator, or with --key the id of a client.")],
    scope: Annotated[str, typer.Option(help="What to ask for.")] = "system/*.cruds",
    key: Annotated[Path | None, typer.Option(help="The client's private key, as a JWK.")] = None,
    url: Annotated[str, typer.Option(help="The door's address; by default that of `serve` on this machine.")] = "",
) -> None:
    """Get an access token for FHIR over HTTP, as a client does, and print it. It is valid for five minutes."""
    from joserfc.errors import JoseError
    from joserfc.jwk import import_key

    from epicrisis.doors.fhir_http.app import PREFIX
    from epicrisis.doors.fhir_http.client import access_token
    from epicrisis.errors import SettingsError
    from epicrisis.local.operators import client_of, private_key
    from epicrisis.local.roles import serve_port
    from epicrisis.local.state import read
    from epicrisis.settings import Settings

    settings = Settings.read()
    client = name if key else client_of(name)
    file = key or private_key(settings, client)
    try:
        signing = import_key(read(file))
    except (JoseError, ValueError, KeyError):
        raise SettingsError(
            f"{file}: there is no private key here: name it with --key, or an operator of the demo"
        ) from None
    typer.echo(access_token(url or f"http://127.0.0.1:{serve_port(settings) or 8080}{PREFIX}", client, signing, scope))


@operator.command(
    epilog="Example: (umask 077; epicrisis operator kafka charite > charite.conf); kcat -F charite.conf …"
)
def kafka(name: Annotated[str, typer.Argument(help="An operator whose manifest has an [inbox].")]) -> None:
    """Print how the operator's own Kafka client connects, with its password: a file for kcat and other librdkafka's.

    For the operator, and nobody else. `epicrisis provision` has made the user.
    """
    from epicrisis.errors import SettingsError
    from epicrisis.operators import read_operators
    from epicrisis.settings import OPERATOR, Settings

    settings = Settings.read()
    known = read_operators(settings.operators_folder).get(name)
    if known is None or known.inbox is None:
        raise SettingsError(f"{settings.operators_folder}: no manifest gives {name} an [inbox]")
    user = f"{OPERATOR}{name}"
    client = settings.model_copy(update={"kafka_user": None}).kafka(user)
    servers = client["bootstrap_servers"]
    lines = {
        "bootstrap.servers": servers if isinstance(servers, str) else ",".join(servers),
        "security.protocol": client["security_protocol"],
        "ssl.ca.location": client.get("ssl_cafile"),
        "sasl.mechanisms": client.get("sasl_mechanism"),
        "sasl.username": client.get("sasl_plain_username"),
        "sasl.password": client.get("sasl_plain_password"),
    }
    typer.echo("\n".join(f"{key}={value}" for key, value in lines.items() if value is not None))
