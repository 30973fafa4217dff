"""Softmax regression on Fisher's iris data, with nothing but Python's standard library.

It shows what a training program does under Muster: it reads an input, prints
progress on stdout and details on stderr, logs metrics as JSON lines to the file
that MUSTER_METRICS_FILE names, and leaves its model in ./outputs.
"""

import argparse
import csv
import json
import math
import os
import pathlib
import random
import sys
import time


def read(path):
    """Return the rows as (features, class) and the names of the columns and classes."""
    with open(path, newline="") as file:
        lines = list(csv.reader(file))
    columns, species = lines[0][:-1], sorted({line[-1] for line in lines[1:]})
    rows = [([float(x) for x in line[:-1]], species.index(line[-1])) for line in lines[1:]]
    return rows, columns, species


def scale(rows):
    """Return the mean and deviation of each feature."""
    columns = list(zip(*(x for x, _ in rows)))
    means = [sum(c) / len(c) for c in columns]
    return means, [math.sqrt(sum((v - m) ** 2 for v in c) / len(c)) for c, m in zip(columns, means)]


def predict(weights, x):
    """Return the probability of each class; the last weight is the bias."""
    scores = [sum(w * v for w, v in zip(ws, x)) + ws[-1] for ws in weights]
    top = max(scores)
    powers = [math.exp(s - top) for s in scores]
    return [p / sum(powers) for p in powers]


def step(weights, batch, rate, decay):
    """Descend once along the batch's gradient, and return the batch's loss."""
    gradient, loss = [[0.0] * len(ws) for ws in weights], 0.0
    for x, y in batch:
        odds = predict(weights, x)
        loss -= math.log(max(odds[y], 1e-12))
        for k, p in enumerate(odds):
            error = p - (k == y)
            for i, v in enumerate([*x, 1.0]):
                gradient[k][i] += error * v
    for ws, gs in zip(weights, gradient):
        for i, g in enumerate(gs):
            ws[i] -= rate * (g / len(batch) + decay * ws[i])
    return loss / len(batch)


def accuracy(weights, rows):
    return sum(max(enumerate(predict(weights, x)), key=lambda p: p[1])[0] == y for x, y in rows) / len(rows)


def log(**line):
    """Append a line to Muster's metrics file; away from Muster there is none."""
    path = os.environ.get("MUSTER_METRICS_FILE")
    if path:
        with open(path, "a") as file:
            file.write(json.dumps(line) + "\n")


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--data", required=True)
    parser.add_argument("--epochs", type=int, default=60)
    parser.add_argument("--learning-rate", type=float, default=0.1)
    parser.add_argument("--decay", type=float, default=1e-3)
    parser.add_argument("--seed", type=int, default=7)
    args = parser.parse_args()

    rows, columns, species = read(args.data)
    order = random.Random(args.seed)
    order.shuffle(rows)
    means, deviations = scale(rows)
    rows = [([(v - m) / d for v, m, d in zip(x, means, deviations)], y) for x, y in rows]
    test, train = rows[:30], rows[30:]
    print(f"training on {len(train)} rows, testing on {len(test)}", file=sys.stderr)
    log(param="rows", value=str(len(rows)))

    weights, began = [[0.0] * (len(columns) + 1) for _ in species], time.monotonic()
    for epoch in range(1, args.epochs + 1):
        order.shuffle(train)
        losses = [step(weights, train[i : i + 16], args.learning_rate, args.decay) for i in range(0, len(train), 16)]
        loss, score = sum(losses) / len(losses), accuracy(weights, test)
        log(name="loss", value=loss, step=epoch)
        log(name="accuracy", value=score, step=epoch)
        if epoch == 1 or epoch % 10 == 0:
            print(f"epoch {epoch:3}  loss {loss:.4f}  accuracy {score:.3f}", flush=True)
        time.sleep(0.02)  # so that there is something to watch
    print(f"took {time.monotonic() - began:.2f} s", file=sys.stderr)

    model = {"columns": columns, "species": species, "means": means, "deviations": deviations, "weights": weights}
    out = pathlib.Path("outputs")
    out.mkdir(exist_ok=True)
    (out / "model.json").write_text(json.dumps(model, indent=2) + "\n")
    print(f"model written to {out / 'model.json'}")


if __name__ == "__main__":
    main()
