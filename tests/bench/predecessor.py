#!/usr/bin/env python3
"""The predecessor's algorithm for locks, for tests/bench/locks: what recipe-ci is compared with.

    predecessor.py acquire LOCK-DIR DOMAIN [--hold]
    predecessor.py sweep LOCK-DIR ZONE [--docker]

recipe-ci's predecessor is a Python harness. This is not its code but what it is known to do, written as plainly as
Python allows: one process; the parent-death signal through ctypes, then the parent check again; handlers for the
signals that end a run, an alarm for the deadline; `flock` on `cc-ci-app-<domain>.lock`, tried first and then waited
for, with the inode compared after every acquisition. The janitor probes every lock file, removes while it holds the
lock, unlinks, and lets go.

It imports what such a harness cannot do without, and nothing is slowed down. Where it is unknown what the predecessor
did, this does less: it has no supervisor, and the sweep asks nobody whether a lock file has an app behind it. With
`--docker` it asks once, before it probes, with the docker client and one call for each kind of object.
"""

import argparse
import ctypes
import fcntl
import hashlib  # noqa: F401  names of apps
import json  # noqa: F401  results
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

PR_SET_PDEATHSIG = 1
DEADLINE_S = 3600


def teardown(number, _frame):
    sys.exit(128 + number)


def arm():
    parent = os.getppid()
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl")
    if os.getppid() != parent:
        sys.exit("orphaned")
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGALRM):
        signal.signal(number, teardown)
    signal.alarm(DEADLINE_S)


def is_current(fd, path):
    ours = os.fstat(fd)
    try:
        there = os.stat(path)
    except FileNotFoundError:
        return False
    return (ours.st_dev, ours.st_ino) == (there.st_dev, there.st_ino)


def probe(path):
    """Returns a descriptor that holds the lock, or None when somebody has it."""
    while True:
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(fd)
            return None
        if is_current(fd, path):
            return fd
        os.close(fd)


def wait(path):
    while True:
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        fcntl.flock(fd, fcntl.LOCK_EX)
        if is_current(fd, path):
            return fd
        os.close(fd)


def acquire(args):
    arm()
    path = Path(args.locks) / f"cc-ci-app-{args.name}.lock"
    fd = probe(path)
    if fd is None:
        print("waiting", flush=True)
        fd = wait(path)
    os.utime(fd)
    print("acquired", flush=True)
    if args.hold:
        signal.pause()


def apps(zone):
    """Names of the objects of a stack, by the client; recipe-ci's sweep asks for containers, too."""
    names = set()
    for kind in ("service", "network", "volume", "secret", "config"):
        words = [kind, "ls", "--format", "{{.Name}}"]
        done = subprocess.run(["docker", *words], capture_output=True, text=True, check=True)
        names.update(done.stdout.split())
    tail = "_" + zone.replace(".", "_") + "_"
    return {name.split(tail)[0] + "." + zone for name in names if tail in name}


def sweep(args):
    arm()
    pattern = re.compile(rf"cc-ci-app-([a-z0-9]{{1,4}}-[0-9a-f]{{6}}\.{re.escape(args.name)})\.lock")
    present = apps(args.name) if args.docker else set()
    for path in Path(args.locks).iterdir():
        found = pattern.fullmatch(path.name)
        if not found or found[1] in present:
            continue
        fd = probe(path)
        if fd is not None:
            path.unlink()
            os.close(fd)


def main():
    parser = argparse.ArgumentParser()
    commands = parser.add_subparsers(required=True)
    command = commands.add_parser("acquire")
    command.add_argument("locks")
    command.add_argument("name")
    command.add_argument("--hold", action="store_true")
    command.set_defaults(run=acquire)
    command = commands.add_parser("sweep")
    command.add_argument("locks")
    command.add_argument("name")
    command.add_argument("--docker", action="store_true")
    command.set_defaults(run=sweep)
    args = parser.parse_args()
    args.run(args)


if __name__ == "__main__":
    main()
