"""A request that cannot be understood."""


class BadRequest(ValueError):  # noqa: N818 (named for the answer that it becomes)
    """`str(error)` is the sentence for the client; `param` the field it is about; `code` a short constant."""

    def __init__(self, message: str, *, param: str | None = None, code: str = "invalid_request") -> None:
        super().__init__(message)
        self.param, self.code = param, code
