"""Become a server: write the record of this process, give up root where asked, and exec the command.

Used as a script by a bare interpreter: `python -I -S launch.py RECORD PORT USER COMMAND…`. The record is written
by the process that becomes the server (an exec keeps pid and start time), so that a server without a record
cannot exist, whenever its parent is killed. RECORD may be `-`: none.

USER is `-`, or `UID:GID`, or `UID:GID:keep`. PostgreSQL refuses to run as root; with `keep` it keeps one right of
root's, to pass through folders that are closed to others (CAP_DAC_OVERRIDE, Linux only): a checkout under root's
own home works without opening that home to everyone.
"""

from __future__ import annotations

import ctypes
import json
import os
import subprocess
import sys

PR_SET_KEEPCAPS = 8
PR_CAP_AMBIENT = 47
PR_CAP_AMBIENT_RAISE = 2
CAP_DAC_OVERRIDE = 1
CAPABILITY_VERSION_3 = 0x20080522


def start_time(pid: int) -> str | None:
    """When a process started, as an opaque text, or None if there is none (a zombie is none).

    A pid alone may have been given to another process since; pid and start time together may not.
    """
    try:
        with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as file:  # noqa: PTH123  (no pathlib: fast)
            stat = file.read()
    except OSError:
        if sys.platform.startswith("linux"):
            return None
    else:
        fields = stat.rpartition(")")[2].split()
        return None if fields[0] in "ZX" else fields[19]
    listed = subprocess.run(["ps", "-o", "lstart=", "-p", str(pid)], capture_output=True, text=True, check=False)
    return listed.stdout.strip() or None


def write_record(file: str, port: int) -> None:
    record = {"pid": os.getpid(), "started": start_time(os.getpid()), "port": port}
    handle = os.open(f"{file}.new", os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(handle, "w") as out:
        json.dump(record, out)
    os.replace(f"{file}.new", file)  # noqa: PTH105


def change_user(uid: int, gid: int) -> None:
    os.setgroups([])
    os.setgid(gid)
    os.setuid(uid)


def change_user_but_keep_access(uid: int, gid: int) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    header = (ctypes.c_uint32 * 2)(CAPABILITY_VERSION_3, 0)
    bit = 1 << CAP_DAC_OVERRIDE
    sets = (ctypes.c_uint32 * 6)(bit, bit, bit, 0, 0, 0)  # effective, permitted, inheritable; twice 32 bits

    def call(result: int) -> None:
        if result != 0:
            raise OSError(ctypes.get_errno(), "the kernel refused to keep the right to pass closed folders")

    call(libc.prctl(PR_SET_KEEPCAPS, 1, 0, 0, 0))
    change_user(uid, gid)
    call(libc.capset(ctypes.byref(header), ctypes.byref(sets)))
    call(libc.prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, CAP_DAC_OVERRIDE, 0, 0))


def main() -> None:
    record, port, user, *command = sys.argv[1:]
    if record != "-":
        write_record(record, int(port))
    if user != "-":
        uid, gid, *keep = user.split(":")
        (change_user_but_keep_access if keep else change_user)(int(uid), int(gid))
    os.execv(command[0], command)  # noqa: S606  (no shell is the point)


if __name__ == "__main__":
    main()
