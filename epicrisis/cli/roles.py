"""`epicrisis provision | serve | inbox | relay | work | ledger`: the roles that run as processes."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from tempfile import TemporaryDirectory
from typing import Annotated

import typer

from epicrisis.cli.app import app

MetricsPort = Annotated[
    int | None, typer.Option(envvar="EPICRISIS_METRICS_PORT", help="Answer GET /metrics here, for Prometheus.")
]
MetricsHost = Annotated[str, typer.Option(envvar="EPICRISIS_METRICS_HOST", help="Where to listen for that.")]


@app.command(epilog="Example: epicrisis provision")
def provision() -> None:
    """Make the databases, roles, tables, topics and users that are missing. May be repeated."""
    from epicrisis import logging
    from epicrisis.provision import databases
    from epicrisis.provision import provision as make
    from epicrisis.settings import Settings

    logging.configure("provision")
    settings = Settings.read()
    to_rebuild = make(settings)
    typer.echo(f"ready: {len(databases())} databases and the topic {settings.topic()}")
    if to_rebuild:
        typer.echo(f"another version is read than this release's: epicrisis rebuild {' '.join(to_rebuild)}")


@app.command(epilog="Example: epicrisis serve --port 8080 --relay")
def serve(
    host: Annotated[str, typer.Option(envvar="EPICRISIS_SERVE_HOST", help="Where to listen.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(envvar="EPICRISIS_SERVE_PORT", help="Where to listen.")] = 8080,
    service: Annotated[list[str] | None, typer.Option(help="With --relay: only these services' journals.")] = None,
    relay: Annotated[bool, typer.Option("--relay", help="Relay in this process too.")] = False,
    workers: Annotated[
        int, typer.Option(envvar="EPICRISIS_SERVE_WORKERS", help="So many processes answer.", min=1, max=64)
    ] = 1,
) -> None:
    """Answer FHIR over HTTP, and finish what was killed in between; schema registry (read-only), health, metrics."""
    with counted_together(workers):
        from epicrisis import logging
        from epicrisis.found import services_named
        from epicrisis.serve import run
        from epicrisis.settings import Settings

        logging.configure("serve")
        relayed = services_named(service or ()) if relay else ()
        run(Settings.read(), host=host, port=port, relayed=relayed, workers=workers)


@app.command(epilog="Example: epicrisis relay --service referral")
def relay(
    service: Annotated[list[str] | None, typer.Option(help="Only this service's journal; may be repeated.")] = None,
    metrics_port: MetricsPort = None,
    metrics_host: MetricsHost = "127.0.0.1",
) -> None:
    """Pump journals to Kafka until stopped (SIGTERM)."""
    from epicrisis import logging
    from epicrisis.assembly import seldom_collect
    from epicrisis.found import services_named
    from epicrisis.relay import Relay
    from epicrisis.settings import Settings

    logging.configure("relay")
    listen(metrics_host, metrics_port)
    seldom_collect()
    pumps = Relay(Settings.read(), services_named(service or ()))
    stopped = threading.Event()
    when_stopped(stopped.set)
    pumps.start()
    stopped.wait()
    pumps.stop()


@app.command(epilog="Example: epicrisis work --projection clinic_referrals")
def work(
    projection: Annotated[
        list[str] | None, typer.Option(help="Only this projection, or `ledger`; may be repeated.")
    ] = None,
    metrics_port: MetricsPort = None,
    metrics_host: MetricsHost = "127.0.0.1",
) -> None:
    """Apply the log to the ledger and the read models until stopped (SIGTERM)."""
    from epicrisis import logging
    from epicrisis.assembly import seldom_collect, worker
    from epicrisis.settings import Settings

    logging.configure("work")
    listen(metrics_host, metrics_port)
    seldom_collect()
    made = worker(Settings.read(), projection or ())
    when_stopped(made.stop)
    made.run()


@app.command(epilog="Example: epicrisis inbox --threads 4")
def inbox(
    threads: Annotated[int, typer.Option(help="How many messages are judged at once.", min=1, max=32)] = 4,
    metrics_port: MetricsPort = None,
    metrics_host: MetricsHost = "127.0.0.1",
) -> None:
    """Take messages from the operators' Kafka inboxes and answer them, until stopped (SIGTERM)."""
    from epicrisis import logging
    from epicrisis.doors.kafka_inbox.assembled import inboxes
    from epicrisis.settings import Settings

    logging.configure("inbox")
    listen(metrics_host, metrics_port)
    made = inboxes(Settings.read(), threads)
    when_stopped(made.stop)
    made.run()


@app.command(epilog="Example: epicrisis ledger")
def ledger(metrics_port: MetricsPort = None, metrics_host: MetricsHost = "127.0.0.1") -> None:
    """Apply the log to the ledger alone, until stopped: where read models run elsewhere (`work --projection …`)."""
    work(["ledger"], metrics_port, metrics_host)


@contextmanager
def counted_together(processes: int) -> Iterator[None]:
    """What several processes count is answered as one's. To be said before prometheus_client is imported."""
    if processes == 1:
        yield
        return
    with TemporaryDirectory(prefix="epicrisis-metrics-") as folder:
        os.environ["PROMETHEUS_MULTIPROC_DIR"] = folder
        yield


def listen(host: str, port: int | None) -> None:
    """Answer GET ``/metrics`` there, if a port is given."""
    if port is not None:
        from epicrisis import metrics

        metrics.listen(host, port)


def when_stopped(stop: Callable[[], object]) -> None:
    """Call this at SIGTERM, and at Ctrl-C."""
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop())
