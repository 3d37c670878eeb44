# SPDX-License-Identifier: MIT
"""Runs the program under test: `python3 test.py PARE SOURCE_DIR`."""
import os
import subprocess
import sys

PARE, SOURCE = os.path.abspath(sys.argv[1]), os.path.abspath(sys.argv[2])


def pare(*args, cwd=None, datasets=None, timeout=240):
    """(exit status, stdout, stderr). Without `datasets`, only the embedded dataset is found."""
    env = dict(os.environ, PARE_HOME=SOURCE, PARE_CACHE="/nonexistent", LC_ALL="C.UTF-8")
    env.pop("PARE_DATASETS", None)
    env.pop("PARE_PLUGIN_PATH", None)
    if datasets:
        env["PARE_DATASETS"] = datasets
    done = subprocess.run([PARE, *args], cwd=cwd, env=env, timeout=timeout,
                          stdin=subprocess.DEVNULL, capture_output=True, text=True)
    return done.returncode, done.stdout, done.stderr


class Failures:
    """Collects what went wrong, so that one run shows all of it."""

    def __init__(self):
        self.n_checks = 0
        self.n_failed = 0

    def check(self, holds, what):
        self.n_checks += 1
        if not holds:
            self.n_failed += 1
            print("FAILED:", what)

    def end(self):
        print(f"{self.n_checks} checks, {self.n_failed} failed")
        sys.exit(1 if self.n_failed or self.n_checks == 0 else 0)
