"""What the routes of the service share, and who may call them."""

import hmac
from typing import Annotated

from fastapi import Depends, Request
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from starlette.exceptions import HTTPException

from configs.schema import Settings
from tasks.serving.limits import ConcurrencyLimiter
from tasks.serving.metrics import Metrics
from tasks.serving.model_manager import ModelManager

bearer = HTTPBearer(auto_error=False, description="the service's token, if it has one")


class Service:
    """What the routes share."""

    def __init__(self, name: str, settings: Settings, token: str) -> None:
        self.metrics = Metrics()
        self.manager = ModelManager(name, settings, self.metrics)
        self.limiter = ConcurrencyLimiter(settings.serve.requests, settings.serve.timeout_s)
        self.token = token
        self.draining = False

    def close(self) -> None:
        """End what has begun, and then the model."""
        self.draining = True
        self.limiter.close()
        self.manager.close()


def service_of(request: Request) -> Service:
    """The service that a request came to."""
    service: Service = request.app.state.service
    return service


def is_authorised(token: str, given: str | None) -> bool:
    """Whether a caller who gave this may ask: anybody where there is no token."""
    return not token or (given is not None and hmac.compare_digest(given.encode(), token.encode()))


def check_token(request: Request, given: Annotated[HTTPAuthorizationCredentials | None, Depends(bearer)]) -> None:
    """Raises 401 for a request without the token, if there is one."""
    if not is_authorised(service_of(request).token, given.credentials if given else None):
        raise HTTPException(
            401, "send the service's token: Authorization: Bearer …", headers={"WWW-Authenticate": "Bearer"}
        )
