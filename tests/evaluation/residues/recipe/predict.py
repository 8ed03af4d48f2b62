"""Names the class of each hidden number."""

from pathlib import Path

divisor, *rows = Path("artifact/model.txt").read_text().splitlines()
best = dict(row.split() for row in rows)
numbers = [int(line) for line in Path("inputs/numbers.txt").read_text().split()]
classes = [best.get(str(number % int(divisor)), "0") for number in numbers]
Path("out/classes.txt").write_text("".join(f"{name}\n" for name in classes))
