"""Python functions that call one another, and C code of the interpreter below them.
usage: python3 py_burn.py"""
import sys


def innermost(numbers):
    return sorted(numbers, key=lambda number: -number)


def middle(depth, numbers):
    return innermost(numbers) if depth == 0 else middle(depth - 1, numbers)


print("ready", flush=True)
while True:
    middle(20, range(200))
