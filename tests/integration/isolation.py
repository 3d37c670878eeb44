#!/usr/bin/python3
"""isolation.py FILE.csv..: does each row say what became of its trial?"""
import csv
import os
import re
import sys

# way or backend: status, and what the error must say
WANTED = {
    "none": ("ok", ""),
    "segfault": ("failed", "^killed by SIGSEGV .* in apply of method misbehave$"),
    "abort": ("failed", "^killed by SIGABRT .* in apply of method misbehave"),
    "exit_0": ("failed", "^ended the process with exit status 0 in apply of method misbehave$"),
    "exit_3": ("failed", "^ended the process with exit status 3 in apply of method misbehave$"),
    "memory": ("failed", "in apply of method misbehave, at its memory limit of 300 MB; .*--trial-memory"),
    "host_memory": ("failed", "in apply of method misbehave, at its memory limit of 300 MB"),
    "heap": ("failed", "^killed by SIG(ABRT|SEGV) .* of method misbehave$"),
    "double_free": ("failed", "^killed by SIGABRT .* in apply of method misbehave$"),
    "stack": ("failed", "^killed by SIGSEGV .* in apply of method misbehave$"),
    "close": ("failed", "^lost its connection to pare .* of method misbehave$"),
    "write": ("failed", "^lost its connection to pare .* of method misbehave$"),
    "kill_group": ("failed", "^killed by SIGKILL .* in apply of method misbehave"),
    "divide": ("failed", "^killed by SIGFPE .* in apply of method misbehave$"),
    "fork": ("ok", ""),
    "in_thread": ("failed", "^killed by SIGSEGV .* in apply of method misbehave$"),
    "chdir": ("ok", ""),
    "kill_self": ("failed", "^killed by SIGKILL .* in apply of method misbehave"),
    "exit_in_thread": ("failed", "^ended the process with exit status 5 in apply of method misbehave$"),
    "ignore_signals": ("ok", ""),
    "ignore_and_loop": ("failed", "^killed in apply of method misbehave: nothing happened for 3 s"),
    "handle_crash": ("failed", "^killed in apply of method misbehave: nothing happened for 3 s"),
    "breed": ("ok", ""),
    "print": ("ok", ""),
    "map_memory": ("failed", "in apply of method misbehave, at its memory limit of 300 MB"),
    "round_up": ("failed", r"^step 1 \(misbehave\): method misbehave: apply leaves the processor rounding in another way"),
    "flush_to_zero": ("failed", r"^step 1 \(misbehave\): method misbehave: apply leaves the processor rounding in another way"),
    "locale": ("failed", r"^step 1 \(misbehave\): left changed .*: the locale, in which numbers have no decimal point$"
               ) if "WITH_COMMA" in os.environ else ("ok", ""),
    "loop": ("failed", "^killed in apply of method misbehave: nothing happened for 3 s; .*--call-timeout"),
    "stop": ("failed", "^killed in apply of method misbehave: nothing happened for 3 s"),
    "end_thread": ("failed", "^killed in apply of method misbehave: nothing happened for 3 s"),
    "deadlock": ("failed", "^killed in apply of method misbehave: nothing happened for 3 s"),
    "ptq": ("ok", ""),
    "ref on 1": ("ok", ""),
    "misbehave_run on 1": ("failed", "^killed by SIGSEGV .* in run of backend misbehave_run$"),
    "ref on 2": ("ok", ""),
}
seen = {}
bad = 0
for path in sys.argv[1:]:
    for row in csv.DictReader(open(path, newline="")):
        match = re.search(r"way=(\w+)|^(ptq)", row["pipeline"])
        key = next(filter(None, match.groups())) if match else f"{row['backend']} on {row['threads']}"
        status, error = WANTED[key]
        right = row["status"] == status and re.search(error, row["error"]) and key not in seen
        print(f"{'right' if right else 'WRONG':6} {key:18} {row['status']:7} {row['error']}")
        seen[key] = row
        bad += not right
missing = WANTED.keys() - seen.keys()
print(f"{len(seen)} of {len(WANTED)}, {bad} wrong, missing: {sorted(missing)}")
sys.exit(1 if bad or missing else 0)
