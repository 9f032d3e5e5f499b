#!/usr/bin/env python3
"""Makes the virtual environment of the AWS emulator in target/aws-emulator. Does nothing when it is as it should be."""

import hashlib
import pathlib
import subprocess
import sys
import venv

HERE = pathlib.Path(__file__).resolve().parent
REQUIREMENTS = HERE / "requirements.txt"
TARGET = HERE.parents[3] / "target" / "aws-emulator"


def main():
    wanted = hashlib.sha256(REQUIREMENTS.read_bytes() + sys.version.encode()).hexdigest()
    stamp = TARGET / "stamp"
    if stamp.exists() and stamp.read_text() == wanted:
        return 0
    print(f"making {TARGET} (moto and what it needs; about half a minute)", flush=True)
    venv.create(TARGET, with_pip=True, clear=True)
    pip = [TARGET / "bin" / "python", "-m", "pip", "--disable-pip-version-check", "install", "--quiet"]
    done = subprocess.run([*pip, "--requirement", REQUIREMENTS], check=False)
    if done.returncode:
        print(f"pip failed; is a package index reachable? Remove {TARGET} and try again", file=sys.stderr)
        return 1
    stamp.write_text(wanted)
    return 0


if __name__ == "__main__":
    sys.exit(main())
