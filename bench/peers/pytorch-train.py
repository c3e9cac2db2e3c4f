"""A training step of transformers' MiniMaxForCausalLM: eager, bfloat16 autocast over float32 weights. Lines as in serve.mjs."""
import json
import sys
import time

options = json.loads(sys.argv[1]) if len(sys.argv) > 1 else {}


def answer(**fields):
    print(json.dumps(fields), flush=True)


sys.path.pop(0)  # beside this file lies pytorch.py, which libraries that look for a module of that name would run
try:
    import torch
    import transformers
    from transformers import MiniMaxConfig, MiniMaxForCausalLM
except ImportError as error:
    answer(error=f"PyTorch or transformers is not installed for {sys.executable} ({error}); FULGUR_PYTHON names another Python")
    sys.exit(0)

cuda = torch.cuda.is_available()
device = "cuda" if cuda else "cpu"
if not cuda:
    torch.set_num_threads(int(options.get("threads", 1)))
where = torch.cuda.get_device_name() if cuda else f"CPU, {torch.get_num_threads()} threads"
answer(label=f"transformers {transformers.__version__}, PyTorch {torch.__version__} eager bf16 ({where})")


def synchronize():
    if cuda:
        torch.cuda.synchronize()


def train(config, tokens, sequence, step):
    torch.manual_seed(0)
    config = MiniMaxConfig(**{key: value for key, value in config.items() if key != "model_type"}, use_cache=False)
    config._attn_implementation = "eager"
    model = MiniMaxForCausalLM(config).to(device).train()
    optimiser = torch.optim.AdamW(model.parameters(), lr=1e-4) if step else None
    ids = torch.randint(config.vocab_size, (tokens // sequence, sequence), device=device)

    def run():
        with torch.autocast(device, torch.bfloat16):
            loss = model(input_ids=ids, labels=ids, use_cache=False).loss
        loss.backward()
        if optimiser:
            optimiser.step()
        model.zero_grad(set_to_none=True)

    return run


def seconds(run, repeats):
    synchronize()
    began = time.perf_counter()
    for _ in range(repeats):
        run()
    synchronize()
    return (time.perf_counter() - began) / repeats


works = {}  # by the request's line: two of them take turns
for line in sys.stdin:
    try:
        if line not in works:
            request = json.loads(line)
            if request.pop("suite") != "train":
                answer(skip=True)
                continue
            run = train(**request)
            began = time.perf_counter()
            seconds(run, 2)
            while time.perf_counter() - began < (0.4 if cuda else 0):  # an idle GPU runs at low clocks
                seconds(run, 1)
            works[line] = run
        answer(seconds=seconds(works[line], 3 if cuda else 1))
    except Exception as error:
        answer(error=str(error).split("\n")[0])
