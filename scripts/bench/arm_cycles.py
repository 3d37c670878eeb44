#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""Cycles of the arm backend's inner loops, by llvm-mca's static models, as CSV:

    scripts/bench/arm_cycles.py [CPU]...          default: cortex-a55 cortex-a76

Needs the build of preset arm64, the cross binutils and llvm-mca (apt install llvm). A model knows no caches.
LLVM 14 takes the Cortex-A57's tables for the Cortex-A76, which issues twice as many float products.
"""
import pathlib
import re
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parents[2]
OBJECTS = ROOT / "build/arm64/plugins/backends/arm/CMakeFiles/backend_arm.dir"
PRODUCTS = re.compile(r"\b(sdot|smmla|fmla|smull2?|smlal2?|cnt)\b")
MACS = {"sdot": 16, "smmla": 32, "fmla": 4, "smull": 8, "smlal2": 8, "cnt": 128}
LOOPS = [("neon", "i8_tiles3_32_3"), ("neon_dotprod", "i8_tiles_2_8"), ("neon_dotprod", "i8_tiles3_32_8"),
         ("neon_i8mm", "i8_tiles3_32_8"), ("neon", "f32_tiles_2_8"), ("neon", "f32_tiles3_64_8"),
         ("neon_dotprod", "i8_single"), ("neon_dotprod", "f32_single")]
for kind in ["i8w4", "i8w2", "i8w1"]:
    if kind != "i8w1":  # neon has none
        LOOPS.append(("neon", f"{kind}_tiles3_32_3"))
    LOOPS += [("neon_dotprod", f"{kind}_tiles_2_8"), ("neon_dotprod", f"{kind}_tiles3_32_8"),
              ("neon_i8mm", f"{kind}_tiles3_32_8"), ("neon_dotprod", f"{kind}_single")]
LOOPS += [("neon", "b1_tiles_2_8"), ("neon", "b1_masked_tiles_2_8")]


def run(*command, stdin=None):
    return subprocess.run(command, input=stdin, capture_output=True, text=True, check=True).stdout


def inner_loop(level, function):
    """The loop of `function` with the most products among those without a branch inside."""
    text = run("aarch64-linux-gnu-objdump", "-d", "--no-show-raw-insn", f"--disassemble={function}",
               str(OBJECTS / f"level_{level}.c.o"))
    lines = [m.groups() for m in re.finditer(r"^ *([0-9a-f]+):\t(.*)$", text, re.M)]
    at = {int(address, 16): k for k, (address, _) in enumerate(lines)}
    loops = []
    for k, (_, instruction) in enumerate(lines):
        jump = re.match(r"(?:b\.?\w+|cbn?z)\s+(?:\w+, )?([0-9a-f]+) <", instruction)
        first = at.get(int(jump.group(1), 16), k + 1) if jump else k + 1
        body = [i.split("//")[0].strip() for _, i in lines[first:k]]
        if first < k and not any(re.match(r"(b|cbn?z|tbn?z|ret|bl)\b", i) for i in body):
            loops.append(body)
    return max(loops, key=lambda body: sum(bool(PRODUCTS.match(i)) for i in body))


def cycles(body, cpu):
    text = run("llvm-mca", "-mtriple=aarch64", f"-mcpu={cpu}", "-mattr=+dotprod,+i8mm", "-iterations=100",
               stdin="\n".join(body) + "\n")
    return int(re.search(r"Total Cycles:\s+(\d+)", text).group(1)) / 100


def main():
    print("level,function,cpu,instructions,products,cycles,macs_per_cycle")
    for level, function in LOOPS:
        body = inner_loop(level, function)
        found = [m.group(1) for m in map(PRODUCTS.match, body) if m]
        macs = sum(MACS[name] for name in found)
        for cpu in sys.argv[1:] or ["cortex-a55", "cortex-a76"]:
            took = cycles(body, cpu)
            print(f"{level},{function},{cpu},{len(body) + 1},{len(found)},{took:.0f},{macs / took:.1f}")


if __name__ == "__main__":
    main()
