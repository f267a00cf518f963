#!/usr/bin/env python3
"""The aws command line tool, imported once: the tests call it some two thousand times, and most of a call is Python's
imports.

`serve` waits on a socket with the tool in memory. For each call it forks, and the child is `aws` with the caller's
arguments, variables, directory and files. `call` is what stands in PATH as `aws`. What answers is the installed tool
itself, unchanged. The server ends when its standard input does.
"""

import contextlib
import os
import socket
import sys

# What the scripts call.
SERVICES = ("apigateway", "cloudformation", "ecr", "ecs", "s3", "secretsmanager", "ssm", "sts")


def call(address, arguments):
    import json

    connection = socket.socket(socket.AF_UNIX)
    connection.connect(address)
    asked = json.dumps([arguments, dict(os.environ), os.getcwd()]).encode()
    socket.send_fds(connection, [len(asked).to_bytes(4, "big")], [0, 1, 2])
    connection.sendall(asked)
    status = connection.recv(1)
    # Nothing is received when the child has died.
    return status[0] if status else 255


def serve(address):
    import gc
    import select
    import signal

    driver = ready_driver()
    # Nothing of what is here is looked at again by a child's collector, which would copy it.
    gc.collect()
    gc.freeze()
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(address)
    listener.listen(64)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    while True:
        ready, _, _ = select.select([listener, 0], [], [])
        if 0 in ready:
            return
        connection, _ = listener.accept()
        if os.fork() == 0:
            listener.close()
            os._exit(answer(connection, driver))
        connection.close()


def ready_driver():
    """The tool's main object, as its own main() makes it, with the files read that it would read at its first call."""
    import awscli.clidriver

    driver = awscli.clidriver.create_clidriver()
    driver._get_command_table()
    loader = driver.session.get_component("data_loader")
    for service in SERVICES:
        for kind in ("service-2", "paginators-1", "endpoint-rule-set-1"):
            # A service without pages has no file that describes them.
            with contextlib.suppress(Exception):
                loader.load_service_model(service, kind)
    for file in ("endpoints", "partitions", "sdk-default-configuration", "cli"):
        loader.load_data(file)
    return driver


def answer(connection, driver):
    import json
    import signal

    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    length, files, _, _ = socket.recv_fds(connection, 4, 3)
    asked = b""
    while len(asked) < int.from_bytes(length, "big"):
        asked += connection.recv(65536)
    arguments, variables, directory = json.loads(asked)
    for number, file in enumerate(files):
        os.dup2(file, number)
    os.chdir(directory)
    # The tool tells itself by a variable, when it is imported, where its data is.
    variables.setdefault("AWS_DATA_PATH", os.environ["AWS_DATA_PATH"])
    # The same object: the driver looks into it when it wants to know something.
    os.environ.clear()
    os.environ.update(variables)
    sys.argv = ["aws", *arguments]
    try:
        status = driver.main(arguments)
    except SystemExit as end:
        status = end.code if isinstance(end.code, int) else int(bool(end.code))
    except BaseException as error:
        print(repr(error), file=sys.stderr)
        status = 255
    sys.stdout.flush()
    sys.stderr.flush()
    connection.sendall(bytes([status & 0xFF]))
    return 0


if __name__ == "__main__":
    if sys.argv[1] == "serve":
        serve(sys.argv[2])
    else:
        sys.exit(call(sys.argv[2], sys.argv[3:]))
