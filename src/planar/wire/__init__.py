"""Sans-IO codecs: a request becomes bytes, bytes become events. Nothing here opens anything.

Each wire has one module with the same four names:

- `encode_chat(request, *, model, ...) -> WireRequest`
- `ChatDecoder(...)`, a `Decoder` for the streamed form
- `WholeDecoder(...)`, a `Decoder` for the whole form: the same events from one JSON document
- `error_from(...) -> PlanarError`, from the status, the headers and the body of a refusal
"""
