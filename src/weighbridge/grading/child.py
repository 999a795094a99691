"""A grading process: jobs come in on standard input, one at a time, answers go out on standard output.

Messages are MessagePack behind four bytes of length, little endian. It ends when its input does.
"""

import os
import resource
from typing import BinaryIO

import msgspec

from weighbridge.grading.jobs import Done, Failed, Job, do

MEMORY_BYTES_MAX = 2 << 30
"""Of address space. Libraries map much that they never touch; what a query may use is bounded by its own limit."""


READY = b"ready"
"""Said once at the start: how long starting takes is not the first job's fault."""


def read_message(stream: BinaryIO) -> bytes | None:
    head = stream.read(4)
    if len(head) < 4:
        return None
    return stream.read(int.from_bytes(head, "little"))


def framed(body: bytes) -> bytes:
    return len(body).to_bytes(4, "little") + body


def main() -> None:
    # The hard limit stays: a grader of one's own lifts the other one, its author knows what it loads.
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES_MAX, resource.getrlimit(resource.RLIMIT_AS)[1]))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    jobs, answers = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    # What a library or a program that it starts prints must not be read as an answer, nor may it read our jobs.
    os.dup2(2, 1)
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    answers.write(framed(READY))
    answers.flush()
    decoder: msgspec.msgpack.Decoder[Job] = msgspec.msgpack.Decoder(Job)
    while (body := read_message(jobs)) is not None:
        done: Done
        try:
            done = do(decoder.decode(body))
        # The edge of a process: whatever went wrong is said to the one who asked, and the next job is waited for.
        except Exception as error:  # noqa: BLE001
            done = Failed(reason=f"{type(error).__name__}: {error}")
        answers.write(framed(msgspec.msgpack.encode(done)))
        answers.flush()


if __name__ == "__main__":
    main()
