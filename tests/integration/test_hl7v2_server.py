"""The MLLP server on real sockets: many connections, bad streams, TLS; and with the real intake behind it."""

from __future__ import annotations

import asyncio
import socket
import ssl
import subprocess
import sys
import threading
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from hl7.client import MLLPClient

from epicrisis.assembly import intake, quarantine
from epicrisis.doors.hl7v2.door import Door, Maps
from epicrisis.doors.hl7v2.frames import framed
from epicrisis.doors.hl7v2.senders import Senders
from epicrisis.doors.hl7v2.server import Answers, Limits, Server, tls_context
from epicrisis.errors import SettingsError
from epicrisis.quarantine import WAITING
from epicrisis.settings import Settings
from tests.acceptance.support import environment, rows
from tests.hl7v2 import PV1, STJUDE, message
from tests.infra import free_port
from tests.kernel_support import wait_until

SECONDS = 30.0
"""Ends a test that would never end."""


class Echo:
    """Answers with the content, and the certificate where there is one."""

    def answer(self, content: bytes, certificate: str = "") -> bytes:
        return content + certificate.encode()


@contextmanager
def serving(door: Callable[[], Answers], limits: Limits, tls: ssl.SSLContext | None = None) -> Iterator[int]:
    """The port of a server in a thread with a loop of its own."""
    ready: list[int] = []
    told = threading.Event()
    loop = asyncio.new_event_loop()
    stopped = asyncio.Event()

    async def run() -> None:
        server = Server(door, limits)
        listening = await server.listen(socket.create_server(("127.0.0.1", 0)), tls)
        ready.append(listening.sockets[0].getsockname()[1])
        told.set()
        await stopped.wait()
        listening.close()
        await server.stop()

    thread = threading.Thread(target=loop.run_until_complete, args=(run(),))
    thread.start()
    assert told.wait(SECONDS)
    try:
        yield ready[0]
    finally:
        loop.call_soon_threadsafe(stopped.set)
        thread.join(SECONDS)
        assert not thread.is_alive()
        loop.close()


@contextmanager
def connected(port: int) -> Iterator[socket.socket]:
    with socket.create_connection(("127.0.0.1", port), timeout=SECONDS) as line:
        yield line


def received(line: socket.socket) -> bytes:
    """One frame; empty where the server closed."""
    data = b""
    while not data.endswith(b"\x1c\r"):
        try:
            more = line.recv(65536)
        except ConnectionResetError:
            return b""
        if not more:
            return b""
        data += more
    return data


LIMITS = Limits(frame=2000, held=20_000, idle=SECONDS, complete=SECONDS, connections=40, messages=2)


@pytest.fixture(scope="module")
def echo() -> Iterator[int]:
    with serving(Echo, LIMITS) as port:
        yield port


def test_two_frames_in_one_packet_and_one_in_many(echo: int) -> None:
    with connected(echo) as line:
        line.sendall(framed(b"one") + framed(b"two"))
        found = received(line)
        while found.count(b"\x0b") < 2:
            found += received(line)
        assert found == framed(b"one") + framed(b"two")
        for byte in framed(b"three"):
            line.sendall(bytes([byte]))
        assert received(line) == framed(b"three")


def test_garbage_between_frames_is_skipped(echo: int) -> None:
    with connected(echo) as line:
        line.sendall(b"GET / HTTP/1.1\r\n\r\n\x1c\r\x00\xff" + framed(b"one") + b"\r\n\r\n" + framed(b"two"))
        found = received(line)
        while found.count(b"\x0b") < 2:
            found += received(line)
        assert found == framed(b"one") + framed(b"two")


def test_a_frame_over_the_cap_is_rejected_and_the_connection_closed(echo: int) -> None:
    with connected(echo) as line:
        line.sendall(b"\x0bMSH|^~\\&|A|B|C|D|||ADT^A01|77|P|2.5\r" + b"x" * 2000)
        answer = received(line)
        assert b"MSA|AR|77" in answer
        assert b"a frame may have 2000 bytes" in answer
        assert received(line) == b""


def test_many_connections_at_once_each_in_order(echo: int) -> None:
    def talk(number: int, failed: list[Any]) -> None:
        try:
            with connected(echo) as line:
                for count in range(20):
                    content = f"{number}/{count}".encode()
                    line.sendall(framed(content))
                    assert received(line) == framed(content)
        except BaseException as problem:
            failed.append(problem)

    failed: list[Any] = []
    threads = [threading.Thread(target=talk, args=(n, failed)) for n in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(SECONDS)
    assert not failed


def test_half_frames_that_fill_the_store_hold_nobody_up_for_ever() -> None:
    limits = Limits(frame=2000, held=4000, idle=SECONDS, complete=0.5, connections=40, messages=2)
    with serving(Echo, limits) as port, connected(port) as good:
        lines = [socket.create_connection(("127.0.0.1", port), timeout=SECONDS) for _ in range(6)]
        for line in lines:
            line.sendall(b"\x0b" + b"x" * 1500)
        good.sendall(framed(b"still there"))
        assert received(good) == framed(b"still there")
        for line in lines:
            assert received(line) == b""
            line.close()


def test_silence_and_too_many_connections_are_closed() -> None:
    limits = Limits(idle=0.3, connections=2, messages=1)
    with serving(Echo, limits) as port, connected(port) as one, connected(port) as two:
        one.sendall(framed(b"here"))
        assert received(one) == framed(b"here")
        with connected(port) as third:
            assert received(third) == b""
        assert received(one) == b""
        assert received(two) == b""


def test_nothing_is_read_while_a_message_is_handled_and_a_stop_lets_it_be_answered() -> None:
    begun, go = threading.Event(), threading.Event()

    class Slow:
        def answer(self, content: bytes, certificate: str = "") -> bytes:
            begun.set()
            assert go.wait(SECONDS)
            return content

    with serving(Slow, Limits(frame=100_000, messages=1)) as port, connected(port) as line:
        line.sendall(framed(b"first"))
        assert begun.wait(SECONDS)
        line.settimeout(0.5)
        sent = 0
        with suppress(TimeoutError):
            while sent < 200_000_000:
                sent += line.send(framed(b"y" * 60_000))
        assert sent < 50_000_000
        go.set()
        line.settimeout(SECONDS)
        assert line.recv(7) == framed(b"first")[:7]


def test_a_broken_line_in_the_middle_of_a_message_is_no_ones_trouble(echo: int) -> None:
    for _ in range(20):
        with connected(echo) as line:
            line.sendall(framed(b"a")[:2])
            line.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\x00\x00\x00\x00\x00\x00\x00")
    with connected(echo) as line:
        line.sendall(framed(b"fine"))
        assert received(line) == framed(b"fine")


def test_a_door_that_cannot_be_made_or_breaks_is_answered_and_the_connection_stays() -> None:
    broken = [True]

    def door() -> Answers:
        if broken:
            raise RuntimeError("no database")
        return Echo()

    with serving(door, LIMITS) as port, connected(port) as line:
        line.sendall(framed(message(control="9")))
        assert b"\rMSA|AR|9\r" in received(line)
        broken.clear()
        line.sendall(framed(b"better"))
        assert received(line) == framed(b"better")


# TLS


def certificate(folder: Path, name: str) -> tuple[Path, Path, str]:
    """A certificate that vouches for itself, its key, its fingerprint."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=2))
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .sign(key, hashes.SHA256())
    )
    files = folder / f"{name}.pem", folder / f"{name}.key"
    files[0].write_bytes(made.public_bytes(serialization.Encoding.PEM))
    form = serialization.PrivateFormat.PKCS8
    files[1].write_bytes(key.private_bytes(serialization.Encoding.PEM, form, serialization.NoEncryption()))
    return (*files, sha256(made.public_bytes(serialization.Encoding.DER)).hexdigest())


def said_over(context: ssl.SSLContext, port: int) -> bytes:
    """The answer to a greeting; empty where the server would not have it."""
    with (
        suppress(ssl.SSLError, ConnectionError),
        connected(port) as raw,
        context.wrap_socket(raw, server_hostname="localhost") as line,
    ):
        line.sendall(framed(b"hello "))
        return received(line)
    return b""


def test_over_tls_the_clients_certificate_says_who_it_is(tmp_path: Path) -> None:
    server, known, other = (certificate(tmp_path, name) for name in ("server", "known", "other"))
    tls = tls_context(server[0], server[1], known[0])
    with serving(Echo, LIMITS, tls) as port:
        context = ssl.create_default_context(cafile=str(server[0]))
        context.load_cert_chain(str(known[0]), str(known[1]))
        assert said_over(context, port) == framed(b"hello " + known[2].encode())
        for chain in ((other[0], other[1]), None):
            stranger = ssl.create_default_context(cafile=str(server[0]))
            if chain:
                stranger.load_cert_chain(str(chain[0]), str(chain[1]))
            assert said_over(stranger, port) == b""
        with connected(port) as plain:
            plain.sendall(framed(b"hello"))
            assert not received(plain).startswith(b"\x0b")


def test_tls_without_its_files_names_the_settings(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="EPICRISIS_MLLP_TLS_CERTIFICATE"):
        tls_context(tmp_path / "a", tmp_path / "b", tmp_path / "c")


# With all behind it


@pytest.mark.servers
def test_messages_of_a_foreign_client_become_events_and_are_known_again(cluster: Settings) -> None:
    operators = {"stjude": STJUDE}
    kept = quarantine(cluster)
    senders, maps = Senders(operators), Maps(operators)
    with serving(lambda: Door(senders, maps, intake(cluster), kept), LIMITS) as port:
        with MLLPClient("127.0.0.1", port) as client:
            first = client.send_message(message())
            assert b"\rMSA|AA|1\r" in first
            assert b"\rMSA|AA|2\r" in client.send_message(message("ADT^A03", control="2"))
            assert b"\rMSA|AE|3\rERR||PID^1^8^1|103^" in client.send_message(
                message(control="3", pid="PID|1||4711^^^STJUDE^MR||Meier||19700412|X")
            )
        with MLLPClient("127.0.0.1", port) as another:
            assert another.send_message(message()) == first
        results: list[bytes] = []

        def send(number: int) -> None:
            with MLLPClient("127.0.0.1", port) as own:
                for count in range(5):
                    pid = f"PID|1||{number}^^^STJUDE^MR||Huber{number}^Eva||19600101|F"
                    pv1 = PV1.replace("V1^", f"V{number}^")
                    raw = message("ADT^A08", control=f"{number}.{count}", pid=pid, pv1=pv1)
                    results.append(own.send_message(raw))

        threads = [threading.Thread(target=send, args=(n,)) for n in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(SECONDS)
        assert len(results) == 20
        assert all(b"\rMSA|AA|" in one for one in results)
    [held] = kept.rows("stjude", state=WAITING)
    assert (held.door, list(held.problems)) == ("hl7v2", [("code-invalid", "PID-8")])
    found = intake(cluster)
    again = found.receive(b"", operator="stjude", clinic="stjude/main", door="hl7v2", name="HIS|STJUDE|1")
    assert again.repeated
    assert dict(again.events) == {"registration": 1, "chart": 1}


@contextmanager
def role(settings: Settings, operators: Path, port: int, *more: str) -> Iterator[subprocess.Popen[bytes]]:
    """`epicrisis mllp` as a process; killed at the end, if it still runs."""
    words = [sys.executable, "-m", "epicrisis", "mllp", "--port", str(port), *more]
    process = subprocess.Popen(
        words, env=environment(settings) | {"EPICRISIS_OPERATORS": str(operators)}, stderr=subprocess.DEVNULL
    )

    def listens() -> bool:
        assert process.poll() is None
        with suppress(OSError), connected(port):
            return True
        return False

    try:
        wait_until(listens, "the role listens", 60)
        yield process
    finally:
        process.kill()
        process.wait(SECONDS)


def sender(operators: Path, operator: str) -> None:
    """The manifest of an operator that sends as STJUDE."""
    (operators / operator).mkdir()
    manifest = 'title = "K"\ncountry = "AT"\nclinics = ["main"]\n[[mllp]]\nclinic = "main"\nfacility = "STJUDE"\n'
    (operators / operator / "manifest.toml").write_text(manifest, encoding="utf-8")


def of_patient(name: str) -> bytes:
    return message(control=name, pid=f"PID|1||{name}^^^STJUDE^MR||Huber||1960", pv1=PV1.replace("V1^", f"{name}^"))


@pytest.mark.servers
def test_several_processes_answer_in_turn_and_are_counted_as_one(cluster: Settings, tmp_path: Path) -> None:
    sender(tmp_path, "several")
    port, shown = free_port(), free_port()
    with role(cluster, tmp_path, port, "--workers", "2", "--metrics-port", str(shown)) as process, ExitStack() as held:
        clients = [held.enter_context(MLLPClient("127.0.0.1", port)) for _ in range(4)]
        for n in range(3):
            assert all(b"\rMSA|AA|" in one.send_message(of_patient(f"s{n}.{id(one)}")) for one in clients)
        connected_to = [len(connections_of(child, port)) for child in children_of(process.pid)]
        assert sorted(connected_to)[-2:] == [2, 2]
        with urllib.request.urlopen(f"http://127.0.0.1:{shown}/metrics", timeout=SECONDS) as answer:
            lines = answer.read().decode().splitlines()
        assert 'epicrisis_hl7v2_messages_total{code="AA",operator="several"} 12.0' in lines


def children_of(pid: int) -> list[int]:
    return [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def connections_of(pid: int, port: int) -> set[str]:
    """The inodes of a process's connections to clients of this port."""
    table = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    ours = {line[9] for line in table if line[1].endswith(f":{port:04X}") and line[3] == "01"}
    open_ = {str(one.readlink()) for one in Path(f"/proc/{pid}/fd").iterdir()}
    return {inode for inode in ours if f"socket:[{inode}]" in open_}


@pytest.mark.servers
def test_kill_9_in_the_middle_loses_nothing_doubles_nothing_and_every_answer_holds(
    cluster: Settings, tmp_path: Path
) -> None:
    sender(tmp_path, "killed")
    port, number = free_port(), 40
    raws = [of_patient(f"k{n}") for n in range(number)]

    def told(shares: Sequence[bytes], answers: dict[bytes, bytes]) -> None:
        with suppress(OSError), MLLPClient("127.0.0.1", port) as client:
            for raw in shares:
                if answer := client.send_message(raw):
                    answers[raw] = answer

    def events(service: str) -> int:
        return int(rows(cluster, service, "SELECT count(*) FROM journal.event")[0][0])

    def all_told() -> dict[bytes, bytes]:
        answers: dict[bytes, bytes] = {}
        threads = [threading.Thread(target=told, args=(raws[first::4], answers)) for first in range(4)]
        for thread in threads:
            thread.start()
        if process is not None:
            wait_until(lambda: len(answers) >= number // 4, "some are answered")
            process.kill()
        for thread in threads:
            thread.join(SECONDS)
        return answers

    before = events("registration"), events("chart")
    with role(cluster, tmp_path, port) as process:
        first = all_told()
    assert number // 4 <= len(first) < number
    with role(cluster, tmp_path, port):
        process = None
        second = all_told()
    assert second.keys() == set(raws)
    assert all(b"\rMSA|AA|" in answer for answer in second.values())
    assert {raw: second[raw] for raw in first} == first
    assert (events("registration"), events("chart")) == (before[0] + number, before[1] + number)
    assert not rows(cluster, "intake", "SELECT 1 FROM inbox.busy")
