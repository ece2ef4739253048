"""PyTorch's side of `make bench-trainer`: does what it is told, one JSON line
for each it reads, and sleeps in between. The network is built from the layer
list of a manifest, so that both sides compute the same by construction."""

import json
import sys
import time

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn


class Flatten(nn.Module):
    """Rows in HWC order: free in channels_last, where memory lies so already.
    In PyTorch's own order the next layer's weights are turned instead."""

    def __init__(self, last):
        super().__init__()
        self.last = last

    def forward(self, x):
        return (x.permute(0, 2, 3, 1) if self.last else x).flatten(1)


def build(spec, last):
    """The network of a spec, and for each tensor of the layout how it goes in."""
    size = (spec["input"]["height"], spec["input"]["width"], spec["input"]["channels"])
    image, layers, fill = True, [], []
    h, w, c = size

    def put(module, turn=lambda t: t):
        layers.append(module)
        fill.append((module, turn))

    for i, layer in enumerate(spec["layers"]):
        kind, units = layer["kind"], layer.get("units", 0)
        k, stride, padding = layer.get("kernel", 1), layer.get("stride", 1), layer.get("padding", 0)
        bias = layer.get("bias", False)
        if kind == "dense":
            turn = lambda t: t
            if image:
                layers.append(Flatten(last))
                if h * w > 1 and c > 1 and not last:
                    turn = lambda t, h=h, w=w, c=c: t.reshape(-1, h, w, c).transpose(0, 3, 1, 2).reshape(len(t), -1)
                c, image = h * w * c, False
            put(nn.Linear(c, units, bias=bias), turn)
            c = units
        elif kind in ("conv", "depthwise"):
            out = units if kind == "conv" else c
            put(nn.Conv2d(c, out, k, stride, padding, bias=bias, groups=c if kind == "depthwise" else 1))
            c, h, w = out, (h + 2 * padding - k) // stride + 1, (w + 2 * padding - k) // stride + 1
        elif kind == "batchnorm":
            put((nn.BatchNorm2d if image else nn.BatchNorm1d)(c))
        elif kind == "maxpool":
            layers.append(nn.MaxPool2d(k, stride))
            h, w = (h - k) // stride + 1, (w - k) // stride + 1
        elif kind == "meanpool":
            layers.append(nn.AdaptiveAvgPool2d(1))
            h = w = 1
        elif kind == "dropout":
            layers.append(nn.Dropout(layer["rate"]))
        else:
            raise ValueError(f"layer {i} is of kind {kind!r}")
        if layer.get("relu"):
            layers.append(nn.ReLU(inplace=True))
    return nn.Sequential(*layers), fill


def place(fill, tensors):
    """Copies the layout's tensors into the modules."""
    at = iter(tensors)
    for module, turn in fill:
        names = ["weight"] + (["bias"] if module.bias is not None else [])
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            names += ["running_mean", "running_var"]
        for name in names:
            got = next(at)
            if name == "weight":
                got = turn(got)
            with torch.no_grad():
                getattr(module, name).copy_(torch.from_numpy(np.ascontiguousarray(got)))
    if next(at, None) is not None:
        raise ValueError("more tensors than the network has")


class Case:
    def __init__(self, a):
        spec, self.last = a["spec"], a["channels_last"]
        self.model, fill = build(spec, self.last)
        flat, at, tensors = np.fromfile(a["weights"], np.float32), 0, []
        for dims in a["dims"]:
            n = int(np.prod(dims))
            tensors.append(flat[at : at + n].reshape(dims))
            at += n
        place(fill, tensors)
        if self.last:
            self.model = self.model.to(memory_format=torch.channels_last)
        decays = [p for p in self.model.parameters() if p.dim() > 1]
        others = [p for p in self.model.parameters() if p.dim() <= 1]
        self.optimiser = torch.optim.SGD(
            [{"params": decays, "weight_decay": a["weight_decay"]}, {"params": others, "weight_decay": 0}],
            lr=a["learning_rate"], momentum=a["momentum"])
        if "inputs" not in a:
            return
        s, n = spec["input"], a["batch"]
        x = np.fromfile(a["inputs"], np.float32).reshape(-1, n, s["height"], s["width"], s["channels"])
        y = np.fromfile(a["labels"], np.int32).reshape(-1, n)
        self.x = [self.order(b) for b in x]
        self.y = [torch.from_numpy(b.astype(np.int64)) for b in y]
        self.batch, self.steps = n, 0
        self.train = a["mode"] == "train"
        self.model.train(self.train)

    def order(self, b):
        t = torch.from_numpy(np.ascontiguousarray(b)).permute(0, 3, 1, 2)
        return t.contiguous(memory_format=torch.channels_last if self.last else torch.contiguous_format)

    def step(self):
        i = self.steps % len(self.x)
        self.steps += 1
        loss = F.cross_entropy(self.model(self.x[i]), self.y[i])
        self.optimiser.zero_grad(set_to_none=True)
        loss.backward()
        self.optimiser.step()
        return loss

    def infer(self):
        i = self.steps % len(self.x)
        self.steps += 1
        with torch.inference_mode():
            return self.model(self.x[i])

    def run(self, seconds):
        work = self.step if self.train else self.infer
        began, cpu, n = time.perf_counter(), time.process_time(), 0
        while True:
            work()
            n += self.batch
            took = time.perf_counter() - began
            if took >= seconds:
                return {"samples": n, "seconds": took, "cpu": time.process_time() - cpu}


class Varied:
    """Images uint8 NHWC, varied as driftgate's augmentation does it."""

    def __init__(self, a, seed):
        self.a, self.rng = a, np.random.default_rng(seed)

    def __call__(self, x):
        a, rng, (n, h, w, _) = self.a, self.rng, x.shape
        shift, cutout, bright = a.get("shift", 0), a.get("cutout", 0), a.get("brightness", 0)
        out = x.copy()
        for i in np.flatnonzero(rng.random(n) < a["share"]):
            dy, dx = rng.integers(-shift, shift + 1, 2)
            rows = np.clip(np.arange(h) - dy, 0, h - 1)
            cols = np.arange(w) - dx
            if a.get("flip") and rng.random() < 0.5:
                cols = w - 1 - cols
            px = x[i][rows][:, np.clip(cols, 0, w - 1)]
            if bright:
                px = np.clip(np.rint(px * (1 + (2 * rng.random() - 1) * bright)), 0, 255).astype(np.uint8)
            if cutout:
                y, c = rng.integers(h) - cutout // 2, rng.integers(w) - cutout // 2
                px[max(0, y) : max(0, y + cutout), max(0, c) : max(0, c + cutout)] = 0
            out[i] = px
        return out


def fit(a):
    """Trains the network of a spec as driftgate's trainer would with the same
    options and initial weights, and says how well it does on the test split."""
    case, o, rng = Case(a), a["options"], np.random.default_rng(a["options"]["seed"])
    s = a["spec"]["input"]
    shape = (-1, s["height"], s["width"], s["channels"])
    read = lambda name, kind: np.fromfile(a["set"][name], kind)
    x, y = read("train", np.uint8).reshape(shape), read("train_labels", np.uint16).astype(np.int64)
    tx, ty = read("test", np.uint8).reshape(shape), read("test_labels", np.uint16)
    kept = rng.permutation(len(x))[int(len(x) * o["validation"]) :]
    mean, std = (np.array(a[k], np.float32) for k in ("mean", "std"))
    ready = lambda px: case.order((px.astype(np.float32) / 255 - mean) / std)
    varied = Varied(o["augment"], o["seed"]) if any(o["augment"].get(k) for k in ("shift", "flip", "brightness", "cutout")) else (lambda px: px)
    batch, epochs, warm = o["batch"], o["epochs"], o.get("warmup", 0)
    steps = (len(kept) + batch - 1) // batch
    began = time.perf_counter()
    case.model.train()
    for epoch in range(epochs):
        order = rng.permutation(kept)
        for step in range(steps):
            rate = o["learning_rate"]
            if epoch < warm:
                rate *= (epoch * steps + step + 1) / (warm * steps)
            else:
                rate *= (1 + np.cos(np.pi * (epoch - warm + step / steps) / (epochs - warm))) / 2
            for group in case.optimiser.param_groups:
                group["lr"] = rate
            at = order[step * batch : (step + 1) * batch]
            loss = F.cross_entropy(case.model(ready(varied(x[at]))), torch.from_numpy(y[at]), label_smoothing=o.get("smoothing", 0))
            case.optimiser.zero_grad(set_to_none=True)
            loss.backward()
            if o.get("max_norm"):
                nn.utils.clip_grad_norm_(case.model.parameters(), o["max_norm"])
            case.optimiser.step()
    seconds = time.perf_counter() - began
    case.model.eval()
    with torch.inference_mode():
        right = sum(int((case.model(ready(tx[i : i + 250])).argmax(1).numpy() == ty[i : i + 250]).sum()) for i in range(0, len(tx), 250))
    return {"accuracy": right / len(tx), "seconds": seconds, "samples_per_second": len(kept) * epochs / seconds}


def memory():
    """Peak resident memory in bytes."""
    for line in open("/proc/self/status"):
        if line.startswith("VmHWM"):
            return int(line.split()[1]) * 1024


def libraries():
    """The matrix library behind torch: what is mapped into this process."""
    torch.mm(torch.ones(4, 4), torch.ones(4, 4))
    names = ("openblas", "blis", "mkl_rt", "libblas")
    return sorted({l.split()[-1] for l in open("/proc/self/maps") if any(n in l for n in names)})


def answer(state, a):
    op = a["op"]
    if op == "hello":
        return {"version": torch.__version__, "threads": torch.get_num_threads(), "libraries": libraries(), "memory": memory()}
    if op == "fit":
        return fit(a)
    if op == "load":
        state["case"] = None
        state["case"] = Case(a)
        return {}
    case = state["case"]
    if op == "run":
        return case.run(a["seconds"])
    if op == "losses":
        case.model.eval()
        with torch.no_grad():
            logits = case.model(case.x[0]).flatten().tolist()
        case.model.train()
        return {"logits": logits, "losses": [case.step().item() for _ in range(a["steps"])]}
    if op == "memory":
        return {"memory": memory()}
    raise ValueError(f"unknown op {op!r}")


def main():
    state = {}
    for line in sys.stdin:
        try:
            out = answer(state, json.loads(line))
        except Exception as e:  # told to the other side, which ends the run
            out = {"error": f"{type(e).__name__}: {e}"}
        print(json.dumps(out), flush=True)


main()
