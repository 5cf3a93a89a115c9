"""Tokens per second of `instructgpt serve` and of `transformers serve` on the same model.

    python benchmarks/serving.py                     # 16 clients, a random 4-layer model
    python benchmarks/serving.py --model gpt2 --clients 32 --only ours plain

Every client sends chat requests one after the other, each with a temperature, a stop string and a
seed of its own, and waits for whole answers of `--tokens` tokens. Servers run one at a time, in
float32, and answer a warm-up round first; every measurement starts them anew.
"""

from __future__ import annotations

import argparse
import json
import os
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from harness import line, positive
from results import compare, save

PEERS = {
    "plain": "transformers serve",
    "batching": "transformers serve, continuous batching",
}
# as for rollouts (benchmarks/rollouts.py)
AIMS = {"plain": 5.0, "batching": 1.5}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", help="checkpoint; default: a random Llama of 4 layers")
    parser.add_argument("--clients", type=int, default=16)
    parser.add_argument("--rounds", type=int, default=3, help="requests of each client")
    parser.add_argument("--tokens", type=int, default=64, help="per answer")
    parser.add_argument("--pairs", type=positive, default=3, help="measurements of each server")
    parser.add_argument("--only", nargs="+", choices=list(PEERS), default=list(PEERS))
    parser.add_argument("--smoke", action="store_true", help="two clients, to see that it runs")
    options = parser.parse_args()
    if options.smoke:
        options.clients, options.rounds, options.tokens, options.pairs = 2, 1, 8, 1
    runs: dict[str, list[dict[str, float]]] = {kind: [] for kind in ("ours", *options.only)}
    with tempfile.TemporaryDirectory() as folder:
        model = options.model or random_model(Path(folder) / "random")
        for pair in range(options.pairs):
            for kind in list(runs) if pair % 2 == 0 else reversed(runs):
                runs[kind].append({"tokens_per_s": measure(kind, model, options)})
    settings = {key: getattr(options, key) for key in ("clients", "rounds", "tokens")}
    rows = []
    for kind in options.only:
        workload = f"{options.clients} clients, {options.model or '4 x 256'}"
        row = {"workload": workload, "peer_name": PEERS[kind], "aim": AIMS[kind]}
        row |= compare("tokens_per_s", runs["ours"], runs[kind])
        rows.append(row | {"arguments": settings})
        print(line(row), flush=True)
    if not options.smoke:
        save("serving", rows)


def random_model(path: Path) -> str:
    """A Llama of 4 layers, width 256, with our own tokenizer."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    from instructgpt.text.tokenizer import train_bpe

    tokenizer = train_bpe(["Tell me about whales. What is a whale?"] * 9, 400)
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=8192,
        hidden_size=256,
        intermediate_size=688,
        num_hidden_layers=4,
        num_attention_heads=4,
        max_position_embeddings=1024,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    LlamaForCausalLM(config).save_pretrained(path)
    tokenizer.save_pretrained(path)
    return str(path)


def measure(kind: str, model: str, options: argparse.Namespace) -> float:
    """Generated tokens per second of one server, from its start to its end."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    url = f"http://127.0.0.1:{port}"
    with tempfile.TemporaryFile() as log:
        server = subprocess.Popen(
            command(kind, model, port),
            stdout=log,
            stderr=log,
            env={**os.environ, "HF_HUB_OFFLINE": "1"},
        )
        try:
            wait_until_healthy(url, server)
            load(url, kind, model, options.clients, 1, options.tokens)
            return load(url, kind, model, options.clients, options.rounds, options.tokens)
        finally:
            server.terminate()
            server.wait()


def command(kind: str, model: str, port: int) -> list[str]:
    """How to start a server."""
    if kind == "ours":
        start = [sys.executable, "-m", "instructgpt", "serve", f"model={model}"]
        return [*start, "--port", str(port), "--dtype", "float32"]
    start = [str(Path(sys.executable).parent / "transformers"), "serve", model]
    start += ["--port", str(port), "--dtype", "float32"]
    if kind == "batching":
        # its default cache takes most of the memory and is then far slower
        start += ["--continuous-batching", "--cb-num-blocks", "256", "--cb-max-batch-tokens", "256"]
    return start


def load(url: str, kind: str, model: str, clients: int, rounds: int, tokens: int) -> float:
    """Generated tokens per second of all clients together."""

    def client(number: int) -> int:
        done = 0
        for turn in range(rounds):
            body: dict[str, Any] = {
                "model": "model" if kind == "ours" else model,
                "messages": [{"role": "user", "content": f"Tell me about whales, part {number}."}],
                "max_tokens": tokens,
                "temperature": 0.7 + 0.1 * (number % 4),
                "seed": 1000 * number + turn,
                "stop": ["\n\n###"],
            }
            if kind == "ours":
                body["ignore_eos"] = True
            done += ask(url, body)["usage"]["completion_tokens"]
        return done

    started = time.perf_counter()
    with ThreadPoolExecutor(clients) as pool:
        generated = sum(pool.map(client, range(clients)))
    return generated / (time.perf_counter() - started)


def ask(url: str, body: dict[str, Any]) -> Any:
    """One answer."""
    request = urllib.request.Request(
        f"{url}/v1/chat/completions",
        json.dumps(body).encode(),
        {"Content-Type": "application/json"},
    )
    with urllib.request.urlopen(request, timeout=600) as response:
        return json.load(response)


def wait_until_healthy(url: str, server: subprocess.Popen[bytes]) -> None:
    """Until it answers, at most five minutes."""
    until = time.monotonic() + 300
    while time.monotonic() < until:
        if server.poll() is not None:
            raise SystemExit(f"the server ended with {server.returncode}")
        try:
            with urllib.request.urlopen(f"{url}/health", timeout=5):
                return
        except OSError:
            time.sleep(0.5)
    raise SystemExit("the server did not come up in five minutes")


if __name__ == "__main__":
    main()
