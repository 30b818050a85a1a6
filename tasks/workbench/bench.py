"""What the workbench's routes share: settings, store, models and templates; and who may call them."""

from pathlib import Path
from typing import Annotated, Any

from fastapi import Depends, Request
from fastapi.responses import HTMLResponse
from fastapi.security import HTTPBasic, HTTPBasicCredentials
from starlette.exceptions import HTTPException

from configs.schema import Settings
from models.evaluation.report.environment import page_environment
from models.pairs.preference import Task
from tasks.pipeline.run import open_store
from tasks.serving.service import is_authorised
from tasks.workbench.comparing import RANKS, swapped_answer
from tasks.workbench.model_cache import ModelCache

FOLDER = Path(__file__).parent / "templates"
PAGES = (("/", "Judge"), ("/compare", "Compare"), ("/traces", "Traces"), ("/runs", "Runs"))
TASK_WORDS = {
    Task.IMAGE_GENERATION: "Two images for a caption",
    Task.VIDEO_GENERATION: "Two videos for a caption",
    Task.IMAGE_UNDERSTANDING: "Two answers about an image",
    Task.VIDEO_UNDERSTANDING: "Two answers about a video",
}
# A page may load its own script and style alone, and be framed by nobody.
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; media-src data: blob:; "
    "connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
Given = Annotated[HTTPBasicCredentials | None, Depends(HTTPBasic(auto_error=False))]  # user and password


class Bench:
    """What the routes share."""

    def __init__(self, settings: Settings, token: str) -> None:
        self.settings = settings
        self.token = token
        self.store = open_store(settings)
        self.model_cache = ModelCache(settings, self.store)
        self._pages = page_environment(FOLDER)
        self._pages.globals.update(pages=PAGES, task_words=TASK_WORDS, ranks=RANKS, swapped_answer=swapped_answer)

    def render(self, template: str, **what: Any) -> str:
        """A page, or a piece of one."""
        return self._pages.get_template(template).render(**what)

    def page(self, template: str, path: str, status: int = 200, **what: Any) -> HTMLResponse:
        """A whole page, under the policy."""
        title = dict(PAGES).get(path, "Sorry")
        html = self.render(f"{template}.html.j2", path=path, title=title, profile=self.settings.profile, **what)
        return HTMLResponse(html, status, {"Content-Security-Policy": POLICY, "Referrer-Policy": "no-referrer"})


def bench_of(request: Request) -> Bench:
    """What the routes of a request's workbench share."""
    bench: Bench = request.app.state.bench
    return bench


def check_password(request: Request, given: Given) -> None:
    """Raises 401 without the token as the password, whatever the user's name, if there is a token."""
    if not is_authorised(bench_of(request).token, given.password if given else None):
        raise HTTPException(401, "give the token as the password", headers={"WWW-Authenticate": "Basic"})


CurrentBench = Annotated[Bench, Depends(bench_of)]
