"""HL7 v2 over MLLP: admissions acknowledged on a pool of 8 connections, and the server's memory under a flood.

A connection sends its next message when the one before is acknowledged. Every message is about another patient, with a
visit and a next of kin, about as many bytes as hospitals send. The flood: connections that begin frames of the longest
length and never end them, beside others that send.
"""

from __future__ import annotations

import os
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, suppress

from bench.row import Row
from bench.stage import Role, Watch, listening, stage
from epicrisis.doors.hl7v2.frames import framed
from epicrisis.local.process import LOOPBACK
from epicrisis.settings import Settings

CONNECTIONS = 8
WORKERS = 2
MESSAGES = 6_000
FLOOD_CONNECTIONS = 200
FLOOD_SECONDS = int(os.environ.get("FLOOD", "40"))
AT_MOST = 240 + FLOOD_SECONDS
LONG = 600
"""In so many seconds a server has all that it keeps: before, it still warms up."""
PAUSE = 0.05
"""Between two rounds of honest messages under a flood, in seconds: memory is measured there, not speed."""
MANIFEST = """
title = "Bench"
country = "AT"
clinics = ["main"]

[[mllp]]
clinic = "main"
application = "HIS"
facility = "BENCH"
"""


def run(short: bool = False) -> Iterator[Row]:
    """Rows: admissions/s acknowledged, processor time each; of a process under a flood the most memory, and by how much
    it grows in the second half.
    """
    with stage(kafka=False, own=False) as settings:
        with server(settings, WORKERS) as (role, port):
            yield from acknowledged(role, port, 40 if short else MESSAGES)
        with server(settings, 1) as (role, port):
            yield from flood(role, port, 1 if short else FLOOD_SECONDS, 8 if short else FLOOD_CONNECTIONS)


def server(settings: Settings, workers: int) -> AbstractContextManager[tuple[Role, int]]:
    """`epicrisis mllp` as a process, with an operator of its own; when it listens."""
    files = {"manifest.toml": MANIFEST}
    return listening(settings, "mllp", "--workers", str(workers), operator="bench", files=files)


def acknowledged(role: Role, port: int, number: int) -> Iterator[Row]:
    """All connections at once, each with its share; after a first round that opens everything that is lazy."""
    drive(port, 2 * CONNECTIONS, "warm")
    before = role.cpu_seconds()
    watch = Watch()
    sent = drive(port, number, "run")
    seconds, busy = watch()
    processor = role.cpu_seconds() - before
    note = f"{sent} ADT^A01, {CONNECTIONS} connections, {WORKERS} processes, machine {busy:.0%} busy"
    yield {"row": "ADT acknowledged", "value": sent / seconds, "unit": "messages/s", "goal": 1500, "note": note}
    note = "of the server's processes; PostgreSQL's is apart"
    yield {"row": "processor time per ADT", "value": processor / sent * 1e6, "unit": "µs", "note": note}


def flood(role: Role, port: int, seconds: int, connections: int) -> Iterator[Row]:
    """The peak memory of the process; the note says how many honest messages went through meanwhile."""
    lines = [socket.create_connection((LOOPBACK, port), timeout=60) for _ in range(connections)]
    half, ended = time.monotonic() + seconds / 2, time.monotonic() + seconds
    rubbish = b"\x0bMSH|^~\\&|HIS|BENCH|" + b"x" * 1_000_000
    for line in lines:
        line.setblocking(False)
    sent, peak_by_half = 0, 0.0
    at = dict.fromkeys(lines, 0)

    def pour() -> None:
        while time.monotonic() < ended and at:
            for line in list(at):
                with suppress(BlockingIOError):
                    try:
                        at[line] += line.send(rubbish[at[line] : at[line] + 100_000])
                    except OSError as error:
                        if isinstance(error, BlockingIOError):
                            raise
                        del at[line]
            time.sleep(0.01)

    pouring = threading.Thread(target=pour)
    pouring.start()
    while (now := time.monotonic()) < ended:
        if not peak_by_half and now >= half:
            peak_by_half = role.peak_mib()
        sent += drive(port, CONNECTIONS, f"flood{sent}")
        time.sleep(PAUSE)
    pouring.join()
    for line in lines:
        line.close()
    peak = role.peak_mib()
    note = f"{len(lines)} connections with frames of 1 MB that never end; {sent} messages acknowledged beside them"
    yield {"row": "memory under a flood", "value": peak, "unit": "MiB peak", "goal": -300, "note": note}
    yield {
        "row": "memory under a flood, its growth",
        "value": peak / (peak_by_half or peak),
        "unit": "times",
        "goal": -1.05 if seconds >= LONG else None,
        "note": f"the peak of all {seconds} s over that of the first half; of {LONG} s it has a goal",
    }


def drive(port: int, number: int, name: str) -> int:
    """Send messages on all connections; how many were acknowledged with AA, which must be all."""
    shares = [
        [framed(admission(f"{name}-{n}")) for n in range(first, number, CONNECTIONS)] for first in range(CONNECTIONS)
    ]
    failed: list[BaseException] = []
    threads = [threading.Thread(target=_send, args=(port, share, failed)) for share in shares]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failed:
        raise failed[0]
    return number


def _send(port: int, messages: list[bytes], failed: list[BaseException]) -> None:
    try:
        with socket.create_connection((LOOPBACK, port), timeout=60) as line:
            for message in messages:
                line.sendall(message)
                answer = line.recv(4096)
                while not answer.endswith(b"\x1c\r"):
                    answer += line.recv(4096)
                if b"\rMSA|AA|" not in answer:
                    raise RuntimeError("not acknowledged")
    except BaseException as problem:
        failed.append(problem)


def admission(name: str) -> bytes:
    """An ADT^A01, about 800 bytes."""
    return (
        f"MSH|^~\\&|HIS|BENCH|EPICRISIS||20260301083000+0100||ADT^A01^ADT_A01|{name}|P|2.5.1|||||||UNICODE UTF-8\r"
        "EVN|A01|20260301083000+0100|||CLERK^Huber^Paula\r"
        f"PID|1||{name}^^^BENCH&2.999.40&ISO^MR||Meier-{name}^Anna^Maria^^Dr.^^L||19700412|F|||"
        "Hauptstrasse 12/3^^Wien^^1010^AT^H||+43 1 5550123^PRN^PH~anna@example.org^NET^Internet||de|M|||||||||||||||N\r"
        "PD1||||7711^Gruber^Eva^^^Dr.\r"
        "NK1|1|Meier^Hans|SPO^Spouse^HL70063||+43 664 5550124^PRN^CP||C^Emergency Contact^HL70131\r"
        f"PV1|1|I|ONC^12^1^BENCH^^^^2||||1234^Arzt^Peter^^^Dr.|5678^Wagner^Iris^^^Dr.||ONC||||7|||1234^Arzt^Peter|IP|"
        f"V{name}^^^BENCH&2.999.41&ISO^VN|||||||||||||||||||||||||202603010800+0100\r"
        "AL1|1|DA|7980^Penicillin^RXNORM|MO|Rash|20190301\r"
    ).encode()
