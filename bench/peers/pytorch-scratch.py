"""The hybrid of bench/train/scratch-10m.json in PyTorch, compiled, bfloat16: the same pieces, steps, rates and optimiser.

    python3 bench/peers/pytorch-scratch.py --reference DIR --tokens books.u16 --held held.u16 --steps N

DIR holds models.py and train.py of the code that fulgur-mini was made with. Prints a line of JSON with the held-out loss.
"""
import argparse
import json
import sys
import time

import numpy as np
import torch

parser = argparse.ArgumentParser()
parser.add_argument("--reference", required=True)
parser.add_argument("--tokens", required=True)
parser.add_argument("--held", required=True)
parser.add_argument("--steps", type=int, required=True)
parser.add_argument("--rows", type=int, default=64)
parser.add_argument("--sequence", type=int, default=1024)
parser.add_argument("--rate", type=float, default=3.6e-3)
parser.add_argument("--decay", type=float, default=0.05)
parser.add_argument("--warmup", type=int, default=200)
parser.add_argument("--decay-steps", type=int, default=1000)
parser.add_argument("--final", type=float, default=0.02)
parser.add_argument("--held-pieces", type=int, default=640)
options = parser.parse_args()

sys.path.pop(0)  # beside this file lies pytorch.py
sys.path.insert(0, options.reference)
sys.argv = sys.argv[:1]
from models import FULGUR, LM  # noqa: E402
from train import Opt  # noqa: E402

shape = dict(FULGUR, d=256, layers=8, heads=4, kv=2, inter=128, types=[0, 0, 0, 1] * 2, alpha=16**0.25, ctx=1024)
torch.manual_seed(0)
model = LM(shape, "fulgur").cuda()
for block in model.blocks:
    block.forward = torch.compile(block.forward, dynamic=False)
head = torch.compile(model.head_loss, dynamic=False)
optimiser = Opt(model, options.rate, wd=options.decay)


def pieces(path, limit=None):
    ids = np.fromfile(path, dtype=np.uint16).astype(np.int32)
    length = options.sequence + 1
    count = min(len(ids) // length, limit or len(ids))
    return torch.from_numpy(ids[: count * length].reshape(count, length)).cuda()


def share(step):
    if step < options.warmup:
        return (step + 1) / options.warmup
    first = max(options.warmup, options.steps - options.decay_steps)
    if step < first:
        return 1.0
    return options.final + (1 - options.final) * (1 - (step - first) / (options.steps - 1 - first))


@torch.no_grad()
def held_out(held):
    total = 0.0
    for i in range(0, len(held), options.rows):
        rows = held[i : i + options.rows].long()
        x, _, _ = model.hidden(rows[:, :-1].contiguous(), torch.bfloat16)
        loss, _ = head(x, rows[:, 1:].contiguous(), torch.ones_like(rows[:, 1:], dtype=torch.float32))
        total += float(loss) * len(rows)
    return total / len(held)


data, held = pieces(options.tokens), pieces(options.held, options.held_pieces)
ones = torch.ones(options.rows, options.sequence, device="cuda")
order, at = torch.randperm(len(data), device="cuda"), 0
curve = []
began = first = time.time()
for step in range(options.steps):
    if at + options.rows > len(order):
        order, at = torch.randperm(len(data), device="cuda"), 0
    rows = data[order[at : at + options.rows]].long()
    at += options.rows
    x, balance, routers = model.hidden(rows[:, :-1].contiguous(), torch.bfloat16)
    loss, square = head(x, rows[:, 1:].contiguous(), ones)
    (loss + 1e-5 * square + 0.01 * balance + 1e-4 * routers).backward()
    torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    optimiser.step(share(step))
    for parameter in model.parameters():
        parameter.grad = None
    if step == 0:
        torch.cuda.synchronize()
        first = time.time()
    if (step + 1) % 500 == 0 or step + 1 == options.steps:
        curve.append({"step": step + 1, "heldOut": round(held_out(held), 5), "train": round(float(loss), 4)})
        print(json.dumps(curve[-1]), file=sys.stderr, flush=True)
torch.cuda.synchronize()
seconds = time.time() - first
tokens = options.rows * options.sequence
print(
    json.dumps(
        {
            "name": "PyTorch, compiled, bfloat16",
            "parameters": sum(p.numel() for p in model.parameters()),
            "steps": options.steps,
            "tokens": options.steps * tokens,
            "heldOut": curve[-1]["heldOut"],
            "secondsOfFirstStep": round(first - began, 1),
            "tokensPerSecond": round((options.steps - 1) * tokens / seconds),
            "curve": curve,
        }
    )
)
