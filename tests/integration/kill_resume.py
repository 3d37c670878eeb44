#!/usr/bin/python3
"""kill_resume.py PARE TESTS-FOLDER KILLS SEED: `pare run` killed again and again, and resumed.

At random moments, or just after the file has grown, SIGKILL goes to the process, to its child (as from the
kernel when memory is short), or to both; SIGINT or SIGTERM to the process. After each kill the child must be
gone, and the file hold whole rows, with no arm done twice. When all arms are there, the file must equal that of an undisturbed run in every repeatable
column; then it starts anew."""
import csv
import os
import random
import signal
import subprocess
import sys
import time

csv.field_size_limit(1 << 30)
pare, here, n_kills, seed = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
rng = random.Random(seed)
print(f"seed {seed}, {n_kills} kills")
LOG = open("log", "a")


def start(out, *flags):
    return subprocess.Popen([pare, "run", f"{here}/small.lua", "--set", "seeds=1", "--profile", "quick",
                             "--out", out, *flags], stdout=LOG, stderr=LOG)


def children(pid):
    try:
        return [int(c) for c in open(f"/proc/{pid}/task/{pid}/children").read().split()]
    except OSError:
        return []


def size(path):
    return os.stat(path).st_size if os.path.exists(path) else 0


def kill_at_a_moment(process, path):
    """Kills, after a while or as soon as the file has grown; what was killed."""
    begin, was = time.monotonic(), size(path)
    after_growth = rng.random() < 0.5
    delay = rng.uniform(0.0, 0.02) if after_growth else rng.uniform(0.02, 1.5)
    while process.poll() is None:
        now = time.monotonic()
        if after_growth and size(path) > was:
            time.sleep(delay)
            break
        if now - begin > (4 if after_growth else delay):
            break
        time.sleep(0.0005)
    if process.poll() is not None:
        return None
    target = rng.choice(["pare", "child", "both", "SIGINT", "SIGTERM"])
    child = children(process.pid)
    victims = ([] if target == "child" else [process.pid]) + (child if target in ("child", "both") else [])
    for pid in victims:
        try:
            os.kill(pid, getattr(signal, target, signal.SIGKILL))
        except ProcessLookupError:
            pass
    if target == "child":  # the run goes on, and may be ended now
        time.sleep(rng.uniform(0, 0.3))
        process.kill()
    process.wait()
    deadline = time.monotonic() + 5
    while any(is_alive(pid) for pid in child):
        assert time.monotonic() < deadline, f"a child lives on after {target}"
        time.sleep(0.01)
    return target if victims else None


def is_alive(pid):
    try:
        return open(f"/proc/{pid}/stat").read().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


def read(path):
    """All whole rows, and the number of bytes behind them."""
    text = open(path, "rb").read() if os.path.exists(path) else b""
    whole = text[:text.rfind(b"\n") + 1].decode()
    rows = list(csv.reader(whole.splitlines(keepends=True)))
    for row in rows:
        assert len(row) == len(rows[0]), f"{path}: a row of {len(row)} cells, the header has {len(rows[0])}"
    return [dict(zip(rows[0], row)) for row in rows[1:]] if rows else [], len(text) - len(whole.encode())


def done(rows):
    arms = [row["arm_id"] for row in rows if row["status"] == "ok"]
    assert len(arms) == len(set(arms)), "an arm was done twice"
    return set(arms)


def compare(path):
    subprocess.run(["/usr/bin/python3", f"{here}/columns.py", f"{here}/../../harness/src/record/columns.inc",
                    "whole.csv", path], check=True, stdout=LOG)


assert start("whole.csv").wait() == 0
arms = done(read("whole.csv")[0])
killed = {"pare": 0, "child": 0, "both": 0, "SIGINT": 0, "SIGTERM": 0}
rounds = half_rows = failed_rows = 0
while sum(killed.values()) < n_kills:
    path = f"cut{rounds}/rows.csv"
    rounds += 1
    while done(read(path)[0]) != arms and sum(killed.values()) < n_kills:
        before, _ = read(path)
        target = kill_at_a_moment(start(path, "--resume"), path)
        if target:
            killed[target] += 1
        after, tail = read(path)
        half_rows += tail > 0
        assert after[:len(before)] == before, "rows that were there have changed"
        assert not done(before) & {row["arm_id"] for row in after[len(before):]}, "done again"
    before, _ = read(path)
    assert start(path, "--resume").wait() == 0
    after, tail = read(path)
    assert tail == 0 and done(after) == arms
    assert len(after) - len(before) == len(arms - done(before)), "not exactly the missing arms"
    failed_rows += sum(row["status"] != "ok" for row in after)
    compare(path)
print(f"kills: {killed}; files: {rounds}; half rows left behind and cut off: {half_rows}; "
      f"rows of trials whose process was killed: {failed_rows}")
