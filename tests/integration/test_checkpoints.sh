# The committed checkpoints, evaluated by pare and by numpy: see eval_checkpoint.py.
set -eu
exec /usr/bin/python3 "$PARE_HOME/tests/integration/eval_checkpoint.py" "$PARE" "$PARE_HOME"
