"""Serves a GGUF file on loopback with llama.cpp's own server: `python -m weighbridge.samples.serve_local FILE`.

The first line on standard output is the port it listens on; `--port 0` takes a free one. It ends on SIGTERM, on SIGINT
and when its standard input ends, so that no server outlives the program that started it. `local_model.LocalServer`
starts it; to try it by hand, keep a terminal attached.
"""

import argparse
import os
import signal
import sys
import threading
from pathlib import Path


def main(arguments: list[str] | None = None) -> int:
    options = _parse(arguments)
    if not options.weights.is_file():
        sys.stderr.write(f"no file of weights at {options.weights}\n")
        return 1
    try:
        import xllamacpp
    except ImportError as error:
        sys.stderr.write(f"xllamacpp is not installed ({error}). Install it with: pip install 'weighbridge[local]'\n")
        return 1
    ended = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: ended.set())
    parameters = xllamacpp.CommonParams()
    parameters.model.path = str(options.weights)
    parameters.hostnames = ["127.0.0.1"]
    parameters.port = options.port
    parameters.n_ctx = options.context_tokens
    parameters.n_parallel = options.parallel
    parameters.cpuparams.n_threads = options.threads
    parameters.cpuparams_batch.n_threads = options.threads
    parameters.use_jinja = True
    parameters.model_alias = {options.alias}
    server = xllamacpp.Server(parameters)
    sys.stdout.write(f"{server.listening_address.rpartition(':')[2].rstrip('/')}\n")
    sys.stdout.flush()
    threading.Thread(target=_until_input_ends, args=(ended,), daemon=True).start()
    ended.wait()
    # llama.cpp's threads need no farewell, and waiting for them to finish an answer would keep the parent waiting.
    os._exit(0)


def _parse(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m weighbridge.samples.serve_local", description=__doc__)
    parser.add_argument("weights", type=Path, help="a GGUF file")
    parser.add_argument("--port", type=int, default=0, help="0 takes a free port")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--parallel", type=int, default=4, help="requests answered at once")
    parser.add_argument("--context-tokens", type=int, default=8192, help="shared by the parallel requests")
    parser.add_argument("--alias", default="local", help="the model name that /v1/models tells")
    return parser.parse_args(arguments)


def _until_input_ends(ended: threading.Event) -> None:
    while os.read(0, 4096):
        pass
    ended.set()


if __name__ == "__main__":
    raise SystemExit(main())
