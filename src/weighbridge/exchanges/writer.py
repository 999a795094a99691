"""The worker's end of the exchange log: one `pwritev` per loop turn, before any upstream byte of that turn.

What survives: a frame that was written survives `kill -9`; after `fdatasync` it survives a power cut. In `process`
durability syncs are grouped at 50 ms, in `power` at 5 ms and `when_durable` waits for them. A request whose frames
could not be written is told so before anything was sent for it; its frames stay in memory until space returns.

A full disk takes bodies first, then admission. Room for the last frames of every open request is allocated before the
request is let in, so what runs can always be settled. Space that returns is noticed by a probe, without a restart.
"""

import contextlib
import errno
from collections.abc import Callable, Sequence
from typing import Literal, Protocol

import msgspec
from zlib_ng.zlib_ng import crc32

from weighbridge.errors import StoreError
from weighbridge.exchanges.bodies import Captured
from weighbridge.exchanges.files import FileDoor, SystemFiles
from weighbridge.exchanges.framing import (
    BODIES_MAGIC,
    CLOSED_BYTES_MAX,
    FRAMES_MAGIC,
    HEADER_BYTES,
    pack_prefix,
)
from weighbridge.exchanges.live import LiveLock
from weighbridge.exchanges.segment import OpenSegment
from weighbridge.exchanges.syncer import Batch, Callback, Syncer
from weighbridge.records.frames import Finished, Frame, Held, Posted
from weighbridge.store.layout import Layout

LogState = Literal["ok", "no_bodies", "full"]

RESERVE_BYTES = 2048
"""Room kept for the frames that an open request still has to write: attempts, postings and its end."""
SMALL_FRAME_BYTES = 640
"""What a frame is cut down to, by leaving out copies of provider text, while the disk is full."""
SPARE_BYTES = 256 << 10
"""Room beyond those reserves, for the requests that one loop turn lets in before it is noticed that room ends."""
SYNC_S = {"process": 0.050, "power": 0.005}

_encode = msgspec.msgpack.Encoder().encode


class Sealer(Protocol):
    """What a log writer needs of `bodies.BodySealer`."""

    too_much_to_redact: int

    def seal(self, captured: Sequence[Captured]) -> list[tuple[bytes, ...]]:
        """The bodies of one loop turn as frames, each as buffers to be written one after the other.

        Puts the reference of each body into its frame. Raises `OSError` when the day's key cannot be made.
        """
        ...


class LogWriter:
    """All methods are for the event loop's thread. Raises `OSError` only on construction, when nothing can be written.

    `call_soon` and `call_threadsafe` are the loop's `call_soon` and `call_soon_threadsafe`. `on_state(state, reason)`
    is called on each change of `state`: `ok`, `no_bodies` (frames only), `full` (let no request in).
    """

    def __init__(
        self,
        layout: Layout,
        incarnation: str,
        *,
        durability: Literal["process", "power"],
        call_soon: Callable[[Callback], object],
        call_threadsafe: Callable[[Callback], object],
        sealer: Sealer | None = None,
        on_state: Callable[[LogState, str], object] | None = None,
        segment_bytes_max: int = 64 << 20,
        chunk_bytes: int = 4 << 20,
        files: FileDoor | None = None,
    ) -> None:
        self.state: LogState = "ok"
        self.reason = ""
        self.bodies_dropped = 0
        self.bytes_written = 0
        self._layout, self._incarnation, self._files = layout, incarnation, files or SystemFiles()
        self._power = durability == "power"
        self._call_soon, self._on_state = call_soon, on_state
        self._sealer = sealer
        self._segment_bytes_max, self._chunk = segment_bytes_max, chunk_bytes
        self._roll_at = segment_bytes_max
        self._ahead = chunk_bytes // 2
        # Of this loop turn.
        self._frames: list[Frame] = []
        self._captured: list[Captured] = []
        self._waiting: list[tuple[Callback, Callback | None]] = []
        self._wait_durable: list[Callback] = []
        self._due = False
        # Encoded, not yet written: empty unless a write failed.
        self._kept: list[bytes] = []
        self._kept_frames = 0
        self._open = 0
        self._frames_trouble = self._bodies_trouble = ""
        self._replace_segment = self._is_closed = False
        self._lock = LiveLock(layout, incarnation)
        self._bodies: OpenSegment | None = None
        self._bodies_number = 0
        try:
            self._segment = self._new_segment(1)
        except OSError:
            self._lock.release()
            raise
        self._syncer = Syncer(self, SYNC_S[durability], call_threadsafe)

    # --- hot path -----------------------------------------------------------------------------------------------------

    def append(self, frame: Frame) -> None:
        """Add a frame to what is written at the end of this loop turn. Never raises; see `when_written`."""
        self._frames.append(frame)
        if not self._due:
            self._due = True
            self._call_soon(self._flush)

    def capture(self, frame: Held | Finished, team: str | None, body: bytes, redact: tuple[str, ...] = ()) -> None:
        """Append a frame together with its body: the request it holds, or the response it ends with.

        The frame gets its reference when the turn is written, and none where the body cannot be kept. `redact` are the
        rules by which secrets are taken out of it first.
        """
        self._frames.append(frame)
        if self._sealer is None or self.state != "ok":
            self.bodies_dropped += self._sealer is not None
        else:
            self._captured.append((frame, team, body, redact))
        if not self._due:
            self._due = True
            self._call_soon(self._flush)

    @property
    def bodies_too_much_to_redact(self) -> int:
        return 0 if self._sealer is None else self._sealer.too_much_to_redact

    def when_written(self, callback: Callback, failed: Callback | None = None) -> None:
        """Call `callback` right after the frames appended so far are written.

        If they cannot be written now, `failed` is called instead (nothing may be sent for them; they are kept and
        written later); without `failed` the callback waits for that.
        """
        self._waiting.append((callback, failed))
        if not self._due:
            self._due = True
            self._call_soon(self._flush)

    def when_durable(self, callback: Callback) -> None:
        """Call `callback` when the frames appended so far survive a power cut.

        In `process` durability, when they are written, or when it has turned out that they can only be written later:
        an answer that was paid for is not held back for a full disk.
        """
        if self._power:
            self._wait_durable.append(callback)
            self._schedule()
        else:
            self.when_written(callback, callback)

    def _flush(self) -> None:
        self._due = False
        if not self._write_turn():
            return
        if self._wait_durable:
            self._syncer.when_synced(self._wait_durable)
            self._wait_durable = []
        waiting, self._waiting = self._waiting, []
        for index, (callback, _) in enumerate(waiting):
            try:
                callback()
            except BaseException:
                # The others' frames are written too: they go on next turn, and the error is the loop's to report.
                self._waiting[:0] = waiting[index + 1 :]
                self._schedule()
                raise
        if self._segment.end >= self._roll_at:
            self._roll_frames()

    def _write_turn(self) -> bool:
        """Write what was kept and what this turn has appended. False: it is kept, and those who wait were told."""
        try:
            if self._captured:
                self._write_bodies()
            if self._frames or self._kept or self._replace_segment:
                self._encode_frames()
                self._write_frames(b"".join(self._kept), self._kept_frames)
                self._kept, self._kept_frames = [], 0
        except Exception as error:  # noqa: BLE001 (a mistake of ours, too, must not leave clients waiting for ever)
            self._frames_failed(error)
            return False
        return True

    def _encode_frames(self) -> None:
        """Move this turn's frames, as bytes, to what was kept."""
        frames, kept = self._frames, self._kept
        add, encode, prefix, checksum = kept.append, _encode, pack_prefix, crc32
        opened = 0
        for frame in frames:
            kind = type(frame)
            if kind is Held:
                opened += 1
            elif kind is Finished:
                opened -= 1
            try:
                data = encode(frame)
            except Exception:  # noqa: BLE001 (whatever it is: this request and those after it must be in the log)
                data = encode(_without_details(frame))
            if self._frames_trouble and len(data) > SMALL_FRAME_BYTES and isinstance(frame, Posted):
                error = None if frame.error is None else frame.error[:200]
                data = encode(msgspec.structs.replace(frame, usage_raw=None, error=error))
            add(prefix(len(data), checksum(data)))
            add(data)
        self._kept_frames += len(frames)
        self._open += opened
        self._frames = []

    def _write_frames(self, data: bytes, frames: int) -> None:
        if self._replace_segment:
            self._abandon_segment()
        segment = self._segment
        size = len(data)
        if segment.room < size:
            segment.extend(max(self._chunk, size))
        segment.write((data,), size, frames)
        self.bytes_written += size
        self._syncer.written(segment, data, frames)
        if segment.room < self._open * RESERVE_BYTES + self._ahead:
            self._keep_room(segment)

    def _write_bodies(self) -> None:
        """Bodies first: a frame on disk never speaks of a body that is not."""
        captured, self._captured = self._captured, []
        sealer = self._sealer
        if sealer is None:
            return
        try:
            blocks = sealer.seal(captured)
            need = sum(len(piece) for block in blocks for piece in block)
            bodies = self._bodies
            if bodies is None or bodies.room < need:
                bodies = self._body_room(need)
            try:
                for block in blocks:
                    bodies.write(block, sum(map(len, block)), 1)
            except OSError:
                self._leave_bodies(bodies)
                raise
        except Exception as error:  # noqa: BLE001 (whatever it is: no frame may speak of these bodies)
            self.bodies_dropped += len(captured)
            for frame, _, _, _ in captured:
                msgspec.structs.force_setattr(frame, "request" if isinstance(frame, Held) else "response", None)
            self._bodies_are_troubled(error)
            return
        self.bytes_written += need
        self._syncer.written(bodies, b"", 0)
        if bodies.end >= self._segment_bytes_max:
            self._end_bodies()

    # --- room ---------------------------------------------------------------------------------------------------------

    def _reserve(self) -> int:
        return self._open * RESERVE_BYTES + SPARE_BYTES

    def _keep_room(self, segment: OpenSegment) -> None:
        if self._frames_trouble:
            return  # the probe asks for room
        if segment.room >= self._reserve():
            self._syncer.extend(segment, self._chunk)
            return
        try:
            segment.extend(max(self._chunk, self._reserve() - segment.room))
        except OSError as error:
            self._is_full(error)  # what was let in until now still has its room: only the next request is refused

    def _space_for_bodies(self, length: int) -> None:
        """Raises `OSError` where `length` bytes of bodies would take the space that frames may need."""
        if self._files.free_bytes(self._segment.fd) < length + 2 * self._chunk:
            raise OSError(errno.ENOSPC, "the space that is left is kept for the frames of the exchange log")

    def _body_room(self, need: int) -> OpenSegment:
        """Make room for `need` bytes of bodies, leaving some for frames. Raises `OSError`."""
        length = max(self._chunk, need + HEADER_BYTES + CLOSED_BYTES_MAX)
        self._space_for_bodies(length)
        if self._bodies is None:
            self._bodies_number += 1
            path = self._layout.open_body_segment(self._incarnation, self._bodies_number)
            self._bodies = OpenSegment(self._files, path, BODIES_MAGIC, self._bodies_number, length)
        else:
            self._bodies.extend(length)
        return self._bodies

    def _new_segment(self, number: int) -> OpenSegment:
        path = self._layout.segment(self._incarnation, number)
        length = max(self._chunk, HEADER_BYTES + self._reserve())
        return OpenSegment(self._files, path, FRAMES_MAGIC, number, length)

    # --- segments -----------------------------------------------------------------------------------------------------

    def roll(self) -> int:
        """Close the segments in use and go on in new ones. Returns the first number that is still open for frames.

        While frames cannot be written nothing is closed.
        """
        self._flush()
        if not self._kept and not self._frames:
            self._roll_frames()
            self._end_bodies()
        return self._segment.number

    def _roll_frames(self) -> None:
        old = self._segment
        if not old.frames:
            return
        try:
            new = self._new_segment(old.number + 1)
        except OSError:
            # Go on in the old one, which holds the room of every open request; a chunk later it is tried again.
            self._roll_at = old.end + self._chunk
            return
        self._segment, self._roll_at = new, self._segment_bytes_max
        self._finish_and_close(old)

    def _end_bodies(self) -> None:
        old = self._bodies
        if old is not None and old.frames:
            self._bodies = None
            self._finish_and_close(old)

    def _finish_and_close(self, old: OpenSegment) -> None:
        try:
            old.finish()
        except OSError:
            self._syncer.close_segment(old, finished=False)  # without its closing frame it is sealed when we are gone
        else:
            self._syncer.close_segment(old, finished=True)

    def _abandon_segment(self) -> None:
        """After a failed sync or an input/output error: what it holds may be gone, so go on in a new file."""
        old = self._segment
        new = self._new_segment(old.number + 1)
        old.wipe_tail()
        self._segment, self._roll_at = new, self._segment_bytes_max
        self._replace_segment = False
        self._syncer.close_segment(old, finished=False)

    def _leave_bodies(self, old: OpenSegment) -> None:
        old.wipe_tail()
        self._bodies = None
        self._syncer.close_segment(old, finished=False)

    # --- trouble ------------------------------------------------------------------------------------------------------

    def _is_full(self, error: Exception) -> None:
        self._frames_trouble = f"the exchange log cannot be written: {_said(error)}"
        self._settle()

    def _frames_failed(self, error: Exception) -> None:
        if isinstance(error, OSError) and error.errno not in (errno.ENOSPC, errno.EDQUOT):
            self._replace_segment = True
        self._is_full(error)
        waiting, self._waiting = self._waiting, []
        for callback, failed in waiting:
            if failed is None:
                self._waiting.append((callback, None))
            else:
                self._call_soon(failed)

    def _bodies_are_troubled(self, error: Exception) -> None:
        self._bodies_trouble = f"bodies are not captured: {_said(error)}"
        self._settle()

    def _settle(self) -> None:
        state: LogState = "full" if self._frames_trouble else "no_bodies" if self._bodies_trouble else "ok"
        reason = self._frames_trouble or self._bodies_trouble
        if state != "ok":
            self._syncer.start_probing()
        if state != self.state:
            self.state, self.reason = state, reason
            if self._on_state is not None:
                self._on_state(state, reason)

    def probe(self) -> None:
        """Has space returned? The syncer calls this several times a second while `state` is not `ok`."""
        if self._is_closed:
            return
        if self._frames_trouble:
            if not self._write_turn():
                return
            try:
                if self._segment.room < self._reserve() + self._ahead:
                    self._segment.extend(max(self._chunk, self._reserve() - self._segment.room))
            except OSError as error:
                self._frames_failed(error)
                return
            self._frames_trouble = ""
            self._schedule()
        if self._bodies_trouble:
            with contextlib.suppress(OSError):  # still no room: the next probe asks again
                self._space_for_bodies(self._chunk)
                if self._bodies is None or self._bodies.room < self._ahead:
                    self._body_room(self._ahead)
                self._bodies_trouble = ""
        if not self._frames_trouble and not self._bodies_trouble:
            self._syncer.is_probing = False
        self._settle()

    def _schedule(self) -> None:
        if not self._due:
            self._due = True
            self._call_soon(self._flush)

    def sync_failed(self, segment: OpenSegment, again: list[Batch], callbacks: list[Callback], error: OSError) -> None:
        """After a failed sync the kernel may have dropped the pages: write the same frames again, in a new segment."""
        self._kept[:0] = [batch.data for batch in again]
        self._kept_frames += sum(batch.frames for batch in again)
        self._wait_durable[:0] = callbacks
        if segment is self._segment:
            self._replace_segment = True
        self._frames_failed(OSError(errno.EIO, f"fdatasync failed ({error.strerror or error})"))

    def bodies_failed(self, segment: OpenSegment | None, error: OSError) -> None:
        """A sync of bodies failed, or (`None`) there was no room to allocate ahead."""
        if segment is not None and segment is self._bodies:
            self._leave_bodies(segment)
        self._bodies_are_troubled(error)

    # --- end ----------------------------------------------------------------------------------------------------------

    def close(self) -> None:
        """Write what is left, close the segments in order, make them durable. Blocks for one sync.

        Raises `StoreError` when frames could not be written; they are lost then, though never acknowledged.
        """
        if self._is_closed:
            return
        self._flush()
        self._is_closed, lost = True, self._kept_frames + len(self._frames)
        for segment in filter(None, (self._bodies, self._segment)):
            self._finish_and_close(segment)
        self._syncer.stop()
        self._lock.release()
        if lost:
            raise StoreError(f"{lost} frames of the exchange log could not be written: {self.reason}")


def _said(error: Exception) -> str:
    if isinstance(error, OSError):
        return error.strerror or str(error)
    return f"unexpected {type(error).__name__}: {error}"


def _without_details(frame: Frame) -> Frame:
    """A frame that cannot be encoded, with everything unknown that it need not know."""
    replace = msgspec.structs.replace
    if isinstance(frame, Held):
        return replace(frame, max_tokens=None, held_nanousd=None, user=None, tags=())
    if isinstance(frame, Posted):
        return replace(frame, usage=None, usage_raw=None, cost_nanousd=None, error=None, finish_reason=None)
    if isinstance(frame, Finished):
        return replace(frame, cost_nanousd=None, error=None)
    return frame
