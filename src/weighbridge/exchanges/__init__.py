"""The exchange log: what went through the gateway, durable, signed and erasable.

A worker appends frames to its own open *segment* (`writer`) and, where bodies are captured, encrypted *blocks* to a
body segment (`bodies`). Both are files of checksummed frames (`framing`). The keeper seals closed segments (`seal`)
into compressed ones with a Parquet file beside them, and signs what it did into the *chain* (`chain`), which is
manifest and log in one. Readers (`reader`) start from one snapshot of the chain and put exchanges together from sealed
and open frames. `erase` and `retention` take bodies away and leave a tombstone; `verify` finds any other change.

A gateway worker imports `writer`, `bodies`, `redact` and what those need: nothing but msgspec and cryptography.
"""
