#!/usr/bin/env python3
"""What QUIC itself does on this machine: quinnlab's two sides on loopback, in one line each.

Knobs are given as NAME=VALUE (CC=bbr GSO=0 CIPHER=aes256 ...); tests/bench/quinnlab/src/main.rs has them all.
"""
import argparse
import os
import pathlib
import subprocess
import sys


def main():
    parser = argparse.ArgumentParser(prog="scripts/bench.sh quic", description=__doc__)
    for hidden in ("--programs", "--fluidity", "--commit"):
        parser.add_argument(hidden, help=argparse.SUPPRESS)
    parser.add_argument("--streams", type=int, default=1, help="streams at once (1)")
    parser.add_argument("--seconds", type=float, default=4, help="how long (4)")
    parser.add_argument("--up", action="store_true", help="from the client to the server")
    parser.add_argument("--port", type=int, default=22999, help="UDP port on loopback (22999)")
    parser.add_argument("knobs", nargs="*", metavar="NAME=VALUE")
    asked = parser.parse_args()
    if bad := [knob for knob in asked.knobs if "=" not in knob]:
        parser.error(f"{bad[0]} is no NAME=VALUE")
    environment = os.environ | dict(knob.split("=", 1) for knob in asked.knobs)
    program = pathlib.Path(asked.programs) / "build" / "quinnlab" / "release" / "quinnlab"
    address = f"127.0.0.1:{asked.port}"
    server = subprocess.Popen([program, "server", address], env=environment, stdout=subprocess.PIPE, text=True)
    try:
        if server.stdout.readline() != "ready\n":
            sys.exit("the server did not start")
        direction = "up" if asked.up else "down"
        client = [program, "client", address, str(asked.streams), str(asked.seconds), direction]
        subprocess.run(client, env=environment, check=True)
        print(server.stdout.readline(), end="")
    finally:
        server.terminate()
        server.wait()


if __name__ == "__main__":
    main()
