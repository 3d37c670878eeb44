# SPDX-License-Identifier: MIT
"""The manual page, and completion in bash and zsh as somebody at the keyboard meets it."""
import os
import pty
import shlex
import shutil
import subprocess
import tempfile
import time

from pare_process import PARE, SOURCE, Failures, pare

failures = Failures()
check = failures.check


def manual():
    status, page, _ = pare("man")
    check(status == 0, f"pare man: exit status {status}")
    for command in ["pare run", "pare model quantize", "pare man"]:
        check(f'.SS "{command}' in page, f"{command} is not in the manual page")
    check("\n.TP\n\\fB\\-\\-across\\-machines\\fR\n" in page, "compare --across-machines is not there")
    check("binary\\-weights" in page and "\\(ga" not in page.split(".SH COMMANDS")[0], "text as roff")
    if shutil.which("groff"):
        done = subprocess.run(["groff", "-man", "-ww", "-Tutf8"], input=page, text=True, capture_output=True)
        check(done.returncode == 0 and not done.stderr, f"groff warns: {done.stderr[:500]}")
    else:
        print("SKIPPED: the manual page through groff, which is not installed")


def in_bash(*words):
    """What bash offers in the place of the last word."""
    script = ["source <(\"$PARE\" completion bash)", f"COMP_WORDS=({' '.join(map(shlex.quote, words))})",
              f"COMP_CWORD={len(words) - 1}",
              f"_pare \"$PARE\" {shlex.quote(words[-1])} {shlex.quote(words[-2])}",
              "printf '%s\\n' \"${COMPREPLY[@]}\""]
    done = subprocess.run(["bash", "--norc", "-c", "\n".join(script)], text=True, capture_output=True,
                          env={**os.environ, "PARE": PARE})
    check(done.returncode == 0 and not done.stderr, f"bash, {words}: {done.stderr[:300]}")
    return sorted(line for line in done.stdout.split("\n") if line)


def offers(words, wanted):
    got = in_bash("pare", *words)
    check(got == sorted(wanted), f"pare {' '.join(words)}<TAB> in bash: {got}, wanted {sorted(wanted)}")


def bash():
    offers(["co"], ["compare", "completion"])
    offers(["model", ""], ["info", "eval", "quantize", "export"])
    offers(["data", "v"], ["verify"])
    offers(["nonsense", ""], [])
    offers(["nonsense", "again", ""], [])
    offers(["run", "--re"], ["--resume"])
    offers(["compare", "a.csv", "--thr"], ["--threshold", "--threshold-top1", "--threshold-bytes"])
    offers(["model", "eval", "--dat"], ["--dataset"])
    offers(["list", ""], ["methods", "backends", "models", "datasets", "checkpoints"])
    offers(["describe", "magnit"], ["magnitude"])
    offers(["describe", "re"], ["ref"])
    offers(["bench", "--backend", "re"], ["ref"])
    offers(["bench", "--backend", "auto,re"], ["auto,ref"])
    offers(["bench", "--precision", "binary"], ["binary", "binary-weights"])
    offers(["bench", "--profile", "=", "q"], ["quick"])  # bash parts --profile=q so
    offers(["bench", "--profile", "="], ["quick", "default", "mlperf"])
    offers(["bench", "--threads", ""], [])
    offers(["model", "eval", "lenet300-m"], ["lenet300-mnist"])
    offers(["model", "info", "resnet2"], [n for n in names("models") + names("checkpoints")
                                          if n.startswith("resnet2")])
    offers(["data", "verify", "fash"], ["fashion-mnist"])
    offers(["model", "eval", "--dataset", "gl"], ["glyphs"])
    offers(["report", "a.csv", "--format", ""], ["html", "md"])
    offers(["report", "-o", "my"], ["my run.lua"])
    offers(["run", "my"], ["my run.lua"])
    offers(["run", "*"], [])


def names(kind):
    return [line.split(",")[0] for line in pare("list", kind, "--format", "csv")[1].splitlines()[1:]]


def every_command_in_bash():
    """No command, flag or choice of --help is missing."""
    for line in pare("--help")[1].split("[flags]\n\n")[1].splitlines():
        if not line.startswith("  ") or line.startswith("   "):
            continue
        words = line[2:].split("  ")[0].split()
        command = words[:2] if words[0] in ("data", "model") else words[:1]
        text = pare(*command, "--help")[1].split("examples:")[0]
        flags = [part.split()[0] for part in text.splitlines() if part.startswith("  --")]
        offers([*command, "--"], flags)


def wait_for(terminal, done, seconds=20):
    """Reads what the shell says, so that it is not held up, until done() or time is over."""
    text, end = "", time.monotonic() + seconds
    os.set_blocking(terminal, False)
    while not done() and time.monotonic() < end:
        try:
            text += os.read(terminal, 65536).decode(errors="replace")
        except BlockingIOError:
            time.sleep(0.02)
        except OSError:
            break
    check(done(), f"zsh: {text[-800:]}")


def zsh():
    if not shutil.which("zsh"):
        print("SKIPPED: completion in zsh, which is not installed")
        return
    os.mkdir("functions")
    with open("functions/_pare", "w", encoding="utf-8") as file:
        file.write(pare("completion", "zsh")[1])
    child, terminal = pty.fork()
    if child == 0:
        os.environ["PATH"] = f"{os.path.dirname(PARE)}:{os.environ['PATH']}"
        os.environ.update(TERM="dumb", PARE_CACHE="/nonexistent", PARE_HOME=SOURCE, LC_ALL="C.UTF-8")
        os.environ.pop("PARE_DATASETS", None)
        os.environ.pop("PARE_PLUGIN_PATH", None)
        os.execvp("zsh", ["zsh", "-f", "-i"])
    os.write(terminal, b"fpath=($PWD/functions $fpath); autoload -U compinit; compinit -u -D; "
             b"unsetopt list_ambiguous; bindkey '^I' complete-word; : >ready\n")
    wait_for(terminal, lambda: os.path.exists("ready"))
    lines = {"list": b"pare li\tmeth\t--form\tcs\t", "data": b"pare da\tli\t--format=js\t",
             "info": b"pare model inf\tlenet300-m\t--lay\t", "describe": b"pare describe magnit\t--format csv"}
    for name, line in lines.items():
        os.write(terminal, line + f" >{name}.part; mv {name}.part {name}.out\n".encode())
        wait_for(terminal, lambda name=name: os.path.exists(f"{name}.out"))
    os.write(terminal, b"exit\n")
    os.close(terminal)
    os.waitpid(child, 0)
    commands = {"list": ["list", "methods", "--format", "csv"], "data": ["data", "list", "--format=json"],
                "info": ["model", "info", "lenet300-mnist", "--layers"],
                "describe": ["describe", "magnitude", "--format", "csv"]}
    for name, words in commands.items():
        got = open(f"{name}.out", encoding="utf-8").read() if os.path.exists(f"{name}.out") else None
        check(got == pare(*words)[1] != "", f"zsh: {lines[name]} is not pare {' '.join(words)}")


with tempfile.TemporaryDirectory() as folder:
    os.chdir(folder)
    open("my run.lua", "w", encoding="utf-8").close()
    manual()
    bash()
    every_command_in_bash()
    zsh()
failures.end()
