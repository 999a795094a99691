"""Dialects as pure functions: bytes -> records -> bytes. No socket, no clock, no state that outlives a call.

A request is looked at, never rebuilt: `RawObject` keeps the client's bytes and the place of each top-level value, so
that an edit is a splice and every other byte passes through. What a dialect must offer to the gateway is small:

- `parse_request(body)` -> `ChatRequest`: the few facts that routing needs
- `edited(request, ...)` -> the bytes for the provider and the names of the edits
- `read_answer(body)` / `read_stream(tail)` -> `AnswerFacts`: usage, finish reason, an error inside a 200
- `error_body(...)` / `error_event(...)`: our own errors in the client's dialect

`openai` is the chat dialect. `sse` cuts event streams into whole events, whatever pieces they arrive in. `usage` turns
a provider's usage block into disjoint token classes. `assembly` puts a streamed answer together for people and graders.
"""
