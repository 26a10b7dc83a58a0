"""The codes of errors are stored with events, and operators filter by them: they do not follow the names of classes."""

import pytest

from plugin.errors import ThrottledError, TransientError, UnauthorisedError, error_code


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (ThrottledError("busy", operation="lease", sent=False), "HeldBack:lease"),
        (ThrottledError("open", sent=False), "HeldBack"),
        (TransientError("away", operation="create_receipt", status=503), "Transient:create_receipt:503"),
        (UnauthorisedError("no", operation="get_contact", status=401), "Unauthorised:get_contact:401"),
        (TransientError("away", code="unexpected:KeyError"), "unexpected:KeyError"),
    ],
)
def test_stored_codes_are_those_of_earlier_versions(error: Exception, code: str) -> None:
    assert error_code(error) == code
