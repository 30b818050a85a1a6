"""What a failed S3 request means: whether trying again can help, and in one line the cause and its cure.

Servers answer with a code (https://docs.aws.amazon.com/AmazonS3/latest/API/ErrorResponses.html), except to HEAD
requests, which have no body and so only a status. Their own words go into a message only where we have none, and
the values of the AWS_* secrets never do.
"""

import errno
import os
from urllib.parse import urlsplit

from tasks.store.objects.s3_checksums import checksum_hint, chosen

# The request went through as far as can be known, but the server was not up to it; botocore has tried several times.
_TRANSIENT = {
    "RequestTimeout",
    "RequestTimeoutException",
    "PriorRequestNotComplete",
    "Throttling",
    "ThrottlingException",
    "RequestThrottled",
    "TooManyRequests",
    "RequestLimitExceeded",
    "BandwidthLimitExceeded",
    "SlowDown",
    "InternalError",
    "ServiceUnavailable",
    # What arrived was not what we sent: cut off or changed on its way.
    "IncompleteBody",
    "BadDigest",
    "XAmzContentSHA256Mismatch",
    # Somebody else writes the same object at this moment.
    "OperationAborted",
    "ConditionalRequestConflict",
}
_BROKEN = {errno.ECONNRESET, errno.ECONNABORTED, errno.EPIPE}
_TRANSIENT_STATUS = {408, 429, 500, 502, 503, 504}
_TAKEN = {"PreconditionFailed", "412", "ConditionalRequestConflict", "409"}

_PAIR = "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY to a pair that {endpoint} knows"
_SESSION = "the session token is not valid any more: get new AWS_* credentials"
_REGION = "the bucket {bucket} is in another region: set AWS_DEFAULT_REGION to its region"
_NO_CREDENTIALS = "there are no credentials: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
_RIGHTS = (
    "s3:GetObject, s3:PutObject, s3:DeleteObject, s3:AbortMultipartUpload, s3:ListBucket and "
    "s3:ListBucketMultipartUploads on {bucket}"
)
_MAY_NOT = "these credentials may not do that: grant them " + _RIGHTS + ", or use others"

ERROR_HINTS = {
    "InvalidAccessKeyId": "{endpoint} does not know the key in AWS_ACCESS_KEY_ID: " + _PAIR,
    "SignatureDoesNotMatch": "AWS_SECRET_ACCESS_KEY does not belong to AWS_ACCESS_KEY_ID: " + _PAIR,
    "ExpiredToken": _SESSION,
    "InvalidToken": _SESSION,
    "TokenRefreshRequired": _SESSION,
    "NoSuchBucket": "there is no bucket {bucket} at {endpoint}: create it (aws s3 mb s3://{bucket}), "
    "or correct storage.root or AWS_ENDPOINT_URL",
    "NoSuchUpload": "the parts that were sent are gone (by gc or a rule of the bucket, with too short a grace): "
    "run this again, with a grace that is longer than an upload takes",
    "AccessDenied": _MAY_NOT,
    "AllAccessDisabled": _MAY_NOT,
    "403": _MAY_NOT + ", and see that they are right",
    "RequestTimeTooSkewed": "this machine's clock and that of {endpoint} differ by more than it allows: "
    "set this machine's clock (timedatectl set-ntp true)",
    "AuthorizationHeaderMalformed": _REGION,
    "PermanentRedirect": _REGION,
    "301": _REGION,
    "NoCredentialsError": _NO_CREDENTIALS,
    "PartialCredentialsError": _NO_CREDENTIALS,
    "SSLError": "the TLS connection to {endpoint} failed: correct AWS_ENDPOINT_URL, or set AWS_CA_BUNDLE to the "
    "certificates that it is signed with",
    "EndpointConnectionError": "no server answers at {endpoint}: start it, or correct AWS_ENDPOINT_URL",
    "ConnectTimeoutError": "no server answers at {endpoint}: look at the network, or correct AWS_ENDPOINT_URL",
    "ProxyConnectionError": "the proxy of HTTP_PROXY or HTTPS_PROXY does not answer: correct or unset them",
}


def error_code(error: BaseException) -> str:
    """The server's code for the error ("NoSuchKey", or "404" where there was no body); "" if it gave none."""
    return str(_response(error).get("Error", {}).get("Code", ""))


def is_absent(error: BaseException) -> bool:
    """Whether the object is not there. A bucket or an upload that is not there is a different thing."""
    return isinstance(error, FileNotFoundError) and error_code(error) in ("", "404", "NoSuchKey")


def is_taken(error: BaseException) -> bool:
    """Whether a create-only write found an object at its path, or another write of it under way."""
    return isinstance(error, FileExistsError) or error_code(error) in _TAKEN


def is_past_end(error: BaseException) -> bool:
    """Whether a part was asked for that begins behind the object's end."""
    return error_code(error) == "InvalidRange"


def is_transient(error: BaseException, lost: tuple[type[BaseException], ...]) -> bool:
    """Whether trying again can help; `lost` are the errors of connections that were not made or did not last."""
    if type(error).__name__ == "SSLError" and "certificate" in str(error).lower():
        return False
    return isinstance(error, lost) or error_code(error) in _TRANSIENT or _status(error) in _TRANSIENT_STATUS


def explain_error(error: BaseException, bucket: str, *, transient: bool, checksums: str = "") -> str:
    """One line for people. `checksums` is what the request carried, see tasks/store/objects/s3_checksums.py."""
    endpoint = endpoint_name()
    code = error_code(error) or type(error).__name__
    if code == "EndpointConnectionError" and getattr(error.__context__, "errno", None) in _BROKEN:
        code = "connection reset"  # botocore does not tell a connection that broke from one that was never made
    if code in ERROR_HINTS:
        return ERROR_HINTS[code].format(endpoint=endpoint, bucket=bucket)
    if transient:
        status = _status(error)
        answer = f"{endpoint} answered {status} ({code})" if status else f"the connection to {endpoint} broke ({code})"
        return f"{answer}, several times: look at its log and load, then run this again"
    if "endpoint" in str(error).lower() and isinstance(error, ValueError):
        return f"AWS_ENDPOINT_URL {endpoint!r} is no address: give one such as http://127.0.0.1:8333"
    message = without_secrets(str(error))
    reason = f"{code}: {message}" if message else code
    refused = checksum_hint(code, message, chosen(checksums)).format(endpoint=endpoint)
    return f"{refused} ({reason})" if refused else reason


def endpoint_url() -> str | None:
    """The server's address from the environment; None means Amazon's own."""
    return os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL") or None


def endpoint_name() -> str:
    """The server's address as it may be shown in a message: without a user and password in it."""
    url = endpoint_url()
    if url is None:
        return "AWS"
    return url.replace(f"{urlsplit(url).netloc.rpartition('@')[0]}@", "") if "@" in url else url


def without_secrets(text: str) -> str:
    """`text` without the values of the secrets that this process was given."""
    for name in ("AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"):
        if secret := os.environ.get(name):
            text = text.replace(secret, "***")
    return text


def _response(error: BaseException) -> dict[str, dict[str, object]]:
    return getattr(error.__cause__, "response", None) or getattr(error, "response", None) or {}


def _status(error: BaseException) -> int:
    status = _response(error).get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
    return status if isinstance(status, int) else 0
