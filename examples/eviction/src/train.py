"""Gradient descent that survives the loss of its node.

It fits a line to points that are made by arithmetic, so that the result is the same wherever it runs. After each
epoch it puts a new checkpoint in the place of the old one, and it begins with the one it finds.
"""
import argparse
import json
import os
import subprocess
import time

parser = argparse.ArgumentParser()
parser.add_argument("--epochs", type=int, default=40)
parser.add_argument("--seconds", type=float, default=0.4, help="that an epoch takes")
args = parser.parse_args()

checkpoint = os.path.join(os.environ["MUSTER_CHECKPOINT_DIR"], "state.json")
state = {"epoch": 0, "slope": 0.0, "offset": 0.0}
if os.path.exists(checkpoint):
    with open(checkpoint) as f:
        state = json.load(f)
print(f"attempt {os.environ['MUSTER_ATTEMPT']} begins at epoch {state['epoch']}", flush=True)

points = [(x / 10, 3 * x / 10 - 2 + 0.1 * (-1) ** x) for x in range(20)]
first = os.environ["MUSTER_INSTANCE"] == "0"
while state["epoch"] < args.epochs:
    errors = [state["slope"] * x + state["offset"] - y for x, y in points]
    state["slope"] -= 0.2 * sum(e * x for e, (x, _) in zip(errors, points)) / len(points)
    state["offset"] -= 0.2 * sum(errors) / len(points)
    state["epoch"] += 1
    loss = sum(e * e for e in errors) / len(points)
    time.sleep(args.seconds)
    with open(checkpoint + ".new", "w") as f:
        json.dump(state, f)
    os.rename(checkpoint + ".new", checkpoint)  # whole, or the one before
    if first:
        subprocess.run(["muster-agent", "metric", "loss", f"{loss:.6f}", "--step", str(state["epoch"])], check=True)

if first:
    with open("outputs/line.json", "w") as f:
        json.dump({"slope": round(state["slope"], 6), "offset": round(state["offset"], 6)}, f)
        f.write("\n")
print(f"ends after epoch {state['epoch']}", flush=True)
