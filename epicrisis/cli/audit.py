"""`epicrisis checkpoint | witness | audit …`: proof, and who vouches for it."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Annotated

import typer

from epicrisis.cli.accesses import As, Reason, record
from epicrisis.cli.app import app
from epicrisis.cli.output import counted
from epicrisis.cli.roles import MetricsHost, MetricsPort, listen, when_stopped

audit = typer.Typer(help="Histories that are proved offline, and what proves them.")
app.add_typer(audit, name="audit")


@app.command(epilog="Example: epicrisis checkpoint --every 60")
def checkpoint(
    every: Annotated[float, typer.Option(help="Seconds from one to the next.", min=1, max=60)] = 60,
    once: Annotated[bool, typer.Option("--once", help="Make one, have it cosigned, and end.")] = False,
    metrics_port: MetricsPort = None,
    metrics_host: MetricsHost = "127.0.0.1",
) -> None:
    """Sign what the ledger holds, every minute, and have the witnesses cosign it, until stopped (SIGTERM)."""
    from epicrisis import logging
    from epicrisis.audit import role
    from epicrisis.audit.assembled import checkpoints
    from epicrisis.settings import Settings

    logging.configure("checkpoint")
    made = checkpoints(Settings.read())
    if once:
        while role.once(made, role.post).more:
            pass
        return
    listen(metrics_host, metrics_port)
    stop = threading.Event()
    when_stopped(stop.set)
    role.run(made, stop, every=every)


@app.command(epilog="Example: epicrisis witness --name witness.charite.example --logs cluster.policy --port 8090")
def witness(
    name: Annotated[str, typer.Option(help="The witness's own name, as in trust policies.")],
    logs: Annotated[Path | None, typer.Option(help="The logs to watch: the `log` lines of a trust policy.")] = None,
    keys: Annotated[bool, typer.Option("--keys", help="Show its lines for a trust policy, and end.")] = False,
    host: Annotated[str, typer.Option(help="Where to listen.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Where to listen.")] = 8090,
) -> None:
    """Remember the checkpoints of a log and cosign those that follow them (C2SP tlog-witness); refuse any others.

    Run by somebody else than the log. It needs no server, only the state folder, and sees no patient's data.
    """
    from epicrisis.audit.signing import Signer
    from epicrisis.errors import SettingsError
    from epicrisis.settings import Settings

    settings = Settings.read()
    signer = Signer.witness(name, settings.witness_key_bytes())
    if keys:
        for number, key in enumerate(signer.keys):
            typer.echo(f"witness {name}{'-pq' if number else ''} {key} http://{host}:{port}")
        typer.echo(f"group {name}-both all {name} {name}-pq")
        return
    if logs is None:
        raise typer.BadParameter("name the logs to watch: --logs FILE")
    import uvicorn

    from epicrisis import logging
    from epicrisis.audit.role import witness_app
    from epicrisis.audit.verifier.merkle import Wrong
    from epicrisis.audit.verifier.note import Policy
    from epicrisis.audit.witness import Witness

    try:
        watched = Policy.parse(logs.read_text(encoding="utf-8")).logs
    except (OSError, UnicodeDecodeError, Wrong) as problem:
        raise SettingsError(f"--logs: {problem}: correct it and start again") from None
    logging.configure("witness")
    settings.state.mkdir(mode=0o711, parents=True, exist_ok=True)
    memory = Witness(signer, watched, settings.state / f"witness-{settings.namespace}.sqlite")
    try:
        uvicorn.Server(
            uvicorn.Config(witness_app(memory), host=host, port=port, log_config=None, access_log=False)
        ).run()
    finally:
        memory.close()


@audit.command("export", epilog="Example: epicrisis audit export Patient/0192f… -o history.zip")
def audit_export(
    patient: Annotated[str, typer.Argument(help="The patient's id in the cluster.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="The file to write.")],
    as_: As = None,
    reason: Reason = "",
) -> None:
    """Write a patient's whole history with what proves it, or the proof that there is none, as one file.

    Anybody checks it offline: epicrisis-verify FILE --policy POLICY
    """
    from epicrisis.audit.assembled import export_of
    from epicrisis.errors import Refused
    from epicrisis.replay import subject_of
    from epicrisis.settings import Settings

    subject = subject_of(patient)
    settings = Settings.read()
    raw, verdict = export_of(settings, subject)
    if verdict.events:
        record(settings, "audit-export", [subject], by=as_, reason=reason, export=True)
    else:  # that there is nothing
        record(settings, "audit", [], by=as_, reason=reason, asked=f"export {subject}")
    try:
        output.write_bytes(raw)
    except OSError as problem:
        raise Refused(f"{output} cannot be written: {problem.strerror}") from None
    typer.echo(
        f"{output}: {counted(len(verdict.events), 'event')} of patient {subject}, "
        f"as of checkpoint {verdict.head} ({verdict.time})"
    )


@audit.command("policy", epilog="Example: epicrisis audit policy > cluster.policy")
def audit_policy() -> None:
    """Show whose signatures count: the log's keys and its witnesses, as published with the newest checkpoint.

    Keep it apart from the files that it judges, and compare the keys with what log and witnesses say themselves.
    """
    from epicrisis.audit.assembled import published_policy
    from epicrisis.settings import Settings

    typer.echo(published_policy(Settings.read()), nl=False)


@audit.command("recount", epilog="Example: epicrisis audit recount || echo 'look here'")
def audit_recount() -> None:
    """Make everything that the newest checkpoint says anew from the ledger's entries. Exit code 1 if it differs."""
    from epicrisis.audit.assembled import recounted
    from epicrisis.settings import Settings

    found = recounted(Settings.read())
    for line in found:
        typer.echo(line)
    if found:
        raise typer.Exit(1)
    typer.echo("the newest checkpoint says what the ledger's entries say")


@audit.command("tiles", epilog="Example: epicrisis audit tiles /var/www/records")
def audit_tiles(folder: Annotated[Path, typer.Argument(help="Where to write them; again adds what is new.")]) -> None:
    """Write the trees of the newest trusted checkpoint as static files, as C2SP tlog-tiles lays them out.

    Hashes, signatures and heads alone: no patient is named in them. Any web server can serve them.
    """
    from epicrisis.audit.assembled import publish_tiles
    from epicrisis.settings import Settings

    typer.echo(f"{folder}: {counted(publish_tiles(Settings.read(), folder), 'new file')}")
