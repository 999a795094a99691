"""Where labels are kept: `trials/TRIAL/labels.jsonl` beside the sample they belong to. Ids and words, never text."""

import os
from pathlib import Path

import msgspec

from weighbridge.errors import StoreError, WeighbridgeError
from weighbridge.trials.labels import Label, Sample, latest


class LabelBook:
    """The labels of one trial. Appended and synced one by one, so that a crash loses none."""

    def __init__(self, folder: Path) -> None:
        self._sample, self._labels = folder / "label-sample.json", folder / "labels.jsonl"
        self._folder = folder

    def sample(self) -> Sample | None:
        try:
            return msgspec.json.decode(self._sample.read_bytes(), type=Sample)
        except FileNotFoundError:
            return None
        except (OSError, msgspec.MsgspecError) as error:
            raise WeighbridgeError(f"the sample {self._sample} cannot be read: {error}") from None

    def draw(self, sample: Sample) -> Sample:
        """Keep a sample; where there is one already, that one holds."""
        self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        try:
            descriptor = os.open(self._sample, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        except FileExistsError:
            kept = self.sample()
            assert kept is not None  # noqa: S101 (it exists)
            return kept
        with os.fdopen(descriptor, "wb") as file:
            file.write(msgspec.json.encode(sample))
            file.flush()
            os.fsync(file.fileno())
        return sample

    def labels(self) -> dict[str, dict[str, Label]]:
        """Item -> person -> label. A torn line does not count."""
        try:
            lines = self._labels.read_bytes().split(b"\n")
        except FileNotFoundError:
            return {}
        found = []
        for line in filter(None, lines):
            try:
                found.append(msgspec.json.decode(line, type=Label))
            except msgspec.MsgspecError:
                # Torn by a crash before it was acknowledged: whoever gave it is shown the pair again.
                continue
        return latest(found)

    def add(self, label: Label) -> None:
        try:
            descriptor = os.open(self._labels, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
            try:
                size = os.fstat(descriptor).st_size
                torn = size > 0 and os.pread(descriptor, 1, size - 1) != b"\n"
                os.write(descriptor, b"\n" * torn + msgspec.json.encode(label) + b"\n")
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
        except OSError as error:
            raise StoreError(f"the label could not be kept in {self._labels}: {error.strerror}") from None
