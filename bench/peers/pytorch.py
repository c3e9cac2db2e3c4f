"""PyTorch, on CUDA where there is one: products, softmax attention, lightning attention. The same lines as serve.mjs."""
import json
import sys
import time

options = json.loads(sys.argv[1]) if len(sys.argv) > 1 else {}


def answer(**fields):
    print(json.dumps(fields), flush=True)


try:
    import torch
    import torch.nn.functional as F
except ImportError as error:
    answer(error=f"PyTorch is not installed for {sys.executable} ({error}); FULGUR_PYTHON names another Python")
    sys.exit(0)

cuda = torch.cuda.is_available()
device = "cuda" if cuda else "cpu"
if not cuda:
    torch.set_num_threads(int(options.get("threads", 1)))
torch.backends.cuda.matmul.allow_tf32 = False  # float32 means float32 here
torch.set_grad_enabled(False)
kinds = {"f32": torch.float32, "f16": torch.float16, "bf16": torch.bfloat16}


def synchronize():
    if cuda:
        torch.cuda.synchronize()


def random(*shape, dtype=torch.float32):
    return torch.randn(*shape, device=device, dtype=torch.float32).mul_(0.1).to(dtype)


def gemm(n, kind, **_):
    if kind not in kinds:
        return None
    a, b = random(n, n, dtype=kinds[kind]), random(n, n, dtype=kinds[kind])
    return lambda: torch.matmul(a, b.t()), 1


def copy(bytes, **_):
    source = torch.zeros(bytes // 4, device=device)
    sink = torch.empty_like(source)
    return lambda: sink.copy_(source), 1


def gemv(rows, columns, kind, matrices, **_):
    if kind not in kinds:
        return None
    x = random(1, columns, dtype=kinds[kind])
    weights = [random(rows, columns, dtype=kinds[kind]) for _ in range(matrices)]
    return lambda: [F.linear(x, w) for w in weights], matrices


def attention(heads, kvHeads, headDim, tokens, context, layers, kind, **_):
    if kind not in kinds:
        return None
    dtype = kinds[kind]
    q = random(1, heads, tokens, headDim, dtype=dtype)
    caches = [[random(1, kvHeads, context, headDim, dtype=dtype) for _ in range(2)] for _ in range(layers)]

    def run():
        for k, v in caches:
            F.scaled_dot_product_attention(q, k, v, is_causal=tokens > 1, enable_gqa=heads != kvHeads)

    return run, layers


def lightning(heads, headDim, batch, tokens, layers, **_):
    q, k, v = (random(batch, heads, tokens, headDim) for _ in range(3))
    states = [torch.zeros(batch, heads, headDim, headDim, device=device) for _ in range(layers)]
    slopes = torch.tensor([2 ** (-8 * (h + 1) / heads) for h in range(heads)], device=device).view(heads, 1, 1)
    if tokens == 1:
        decay = torch.exp(-slopes)

        def step():
            for state in states:
                state.mul_(decay).add_(k.transpose(-1, -2) * v)
                torch.matmul(q, state)

        return step, layers
    block = 256  # as in the release's modelling code
    index = torch.arange(block, device=device, dtype=torch.float32)
    distance = index[:, None] - index[None, :]
    mask = torch.where(distance >= 0, torch.exp(-slopes * distance.clamp(min=0)), 0.0)

    def prompt():
        for state in states:
            for begin in range(0, tokens, block):
                m = min(block, tokens - begin)
                qb, kb, vb = (x[:, :, begin : begin + m] for x in (q, k, v))
                ahead = torch.exp(-slopes * (index[:m] + 1).view(1, m, 1))
                behind = torch.exp(-slopes * (m - 1 - index[:m]).view(1, m, 1))
                inside = torch.matmul(torch.matmul(qb, kb.transpose(-1, -2)) * mask[:, :m, :m], vb)
                inside + torch.matmul(qb * ahead, state)
                state.mul_(torch.exp(-slopes * m)).add_(torch.matmul((kb * behind).transpose(-1, -2), vb))

    return prompt, layers


suites = {"gemm": gemm, "copy": copy, "gemv": gemv, "attention": attention, "lightning": lightning}
where = torch.cuda.get_device_name() if cuda else f"CPU, {torch.get_num_threads()} threads"
answer(label=f"PyTorch {torch.__version__} ({where})")


def seconds(run, repeats):
    synchronize()
    began = time.perf_counter()
    for _ in range(repeats):
        run()
    synchronize()
    return (time.perf_counter() - began) / repeats


last, work, repeats = None, None, 1
for line in sys.stdin:
    try:
        if line != last:
            work = None
            request = json.loads(line)
            suite = suites.get(request.pop("suite"))
            work = suite(**request) if suite else None
            last = line
            if work:
                began = time.perf_counter()
                while time.perf_counter() - began < (0.4 if cuda else 0):  # an idle GPU runs at low clocks
                    seconds(work[0], 1)
                seconds(work[0], 1)
                repeats = max(1, min(2000, int(0.02 / seconds(work[0], 1)) + 1))
        if work:
            answer(seconds=seconds(work[0], repeats) / work[1])
        else:
            answer(skip=True)
    except Exception as error:
        answer(error=str(error).split("\n")[0])
