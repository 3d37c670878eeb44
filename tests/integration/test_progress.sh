# What a user sees of a run that is under way: on a terminal one line that is redrawn, elsewhere a plain line
# per trial, with --quiet nothing.
set -eu
run() { "$PARE" run "$PARE_HOME/tests/integration/small.lua" --profile quick --filter fp32 "$@"; }

run --out plain.csv >plain.out 2>plain.err
cat plain.err
grep -qx '\[1/2\] fp32, seed 1' plain.err
grep -qE '^\[2/2\] fp32, seed 2  about [0-9.]+ (ms|s) left, best [0-9.]+ % fp32$' plain.err
if grep -q "$(printf '\033')" plain.err; then exit 1; fi

run --out quiet.csv --quiet >quiet.out 2>quiet.err
[ ! -s quiet.err ]

# On a terminal of 70 columns: no line is longer, and each is drawn over the last.
/usr/bin/python3 - "$PARE" "$PARE_HOME" <<'END'
import fcntl
import os
import pty
import re
import struct
import sys
import termios

pare, home = sys.argv[1:]
pid, terminal = pty.fork()
if pid == 0:
    fcntl.ioctl(2, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 70, 0, 0))
    os.dup2(os.open("tty.out", os.O_WRONLY | os.O_CREAT), 1)
    os.execv(pare, ["pare", "run", f"{home}/tests/integration/small.lua", "--profile", "quick",
                    "--filter", "fp32", "--out", "tty.csv"])
text = b""
while True:
    try:
        got = os.read(terminal, 4096)
    except OSError:
        break
    if not got:
        break
    text += got
assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
drawn = re.findall(r"\r([^\r\n]*)\x1b\[K", text.decode())
print("\n".join(drawn))
assert all(len(line) <= 69 for line in drawn), drawn
for wanted in (r"^\[1/2\] fp32, seed 1: building$", r"^\[1/2\] fp32, seed 1: accuracy on ref$",
               r"^\[1/2\] fp32, seed 1: timing ref t1 b1$", r"^\[1/2\] fp32, seed 1: timing ref t2 b1 \| best",
               r"^\[2/2\] fp32, seed 2: building \| [0-9.]+ m?s left \| best [0-9.]+ % fp32"):
    assert any(re.search(wanted, line) for line in drawn), wanted
assert drawn[-1] == "", "the line is not wiped at the end"
END
