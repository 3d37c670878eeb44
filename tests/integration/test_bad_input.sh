# Every kind of bad input through the command line: see bad_input.py.
set -eu
exec /usr/bin/python3 "$PARE_HOME/tests/integration/bad_input.py" "$PARE" "$PARE_HOME"
