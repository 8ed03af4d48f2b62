"""The live page of a lineage's campaigns: its files, a JSON interface, and a stream of changes."""

from __future__ import annotations

import asyncio
import gzip
import signal
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from importlib.resources import files
from typing import Annotated, Any, Self

from fastapi import FastAPI, Path, Query, Request
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, ConfigDict, Field, model_validator
from starlette.exceptions import HTTPException
from starlette.responses import Response, StreamingResponse

from recipelab.campaign.steering import CampaignSteering
from recipelab.core.errors import LineageError, RecipelabError
from recipelab.page.chat import MOST_MESSAGES, chat_data, view_data
from recipelab.page.data import campaigns_data, now_data
from recipelab.page.detail import trial_data
from recipelab.page.export import open_in_browser
from recipelab.page.listening import (
    Binding,
    address_url,
    listening_socket,
    new_token,
    quiet_server,
)
from recipelab.page.security import Access, Guard, is_loopback
from recipelab.page.shown import page_json
from recipelab.page.source import PageCampaign, PageLineage, Unavailable, as_unavailable
from recipelab.page.tailer import Tailer

READERS = 12
"""Requests that read the lineage at the same time."""

ANSWER_SECONDS = 10.0
"""After so long a wait for the lineage a request is answered that it is locked."""

COMPRESSED_BYTES = 50_000
"""Answers from this size on are compressed where the browser takes it."""

_LARGEST = 2**32 - 1
_TYPES = {".html": "text/html", ".js": "text/javascript", ".css": "text/css"}

Number = Annotated[int, Path(ge=0, le=_LARGEST)]


class NoteChange(BaseModel):
    """A note that a person leaves, or the number of one that is to be retired."""

    model_config = ConfigDict(extra="forbid")

    text: str | None = Field(default=None, max_length=4_000)
    specialist: str | None = Field(default=None, max_length=200)
    trial: int | None = Field(default=None, ge=0, le=_LARGEST)
    retire: int | None = Field(default=None, ge=1, le=_LARGEST)

    @model_validator(mode="after")
    def _is_one(self) -> Self:
        if (self.text is None) == (self.retire is None):
            raise ValueError("give the text of a note, or retire the one of a number")
        return self


class OneTrial(BaseModel):
    """The trial that is meant."""

    model_config = ConfigDict(extra="forbid")

    trial: int = Field(ge=0, le=_LARGEST)


class PageApp:
    """Answers the page's requests.

    Args:
        lineage: The lineage.
    """

    def __init__(self, lineage: PageLineage) -> None:
        self.lineage = lineage
        self._pool = ThreadPoolExecutor(READERS, thread_name_prefix="page")
        self._tailers: dict[str, Tailer] = {}
        self._static = static_files()

    def app(self, access: Access) -> Guard:
        """Return the ASGI application."""
        app = FastAPI(openapi_url=None, docs_url=None, redoc_url=None)
        self._add_errors(app)
        self._add_reads(app)
        self._add_actions(app)
        app.get("/")(self._index)
        app.get("/static/{name}")(self._file)
        return Guard(app, access)

    def close(self) -> None:
        """End the streams of all browsers, and close the lineage."""
        for tailer in self._tailers.values():
            tailer.close()
        self._pool.shutdown(wait=False, cancel_futures=True)
        self.lineage.close()

    async def in_thread(self, work: Callable[[], Any]) -> Any:
        """Run what reads files in a thread."""
        return await asyncio.get_running_loop().run_in_executor(self._pool, work)

    async def _done(self, request: Request, work: Callable[[], Any]) -> Response:
        """Answer once something is done, however long the lineage is locked: it will be done."""
        return await self._answer(request, work, patient=True)

    async def _answer(
        self, request: Request, work: Callable[[], Any], *, patient: bool = False
    ) -> Response:
        """Answer with the JSON of what a function returns."""
        wants_gzip = "gzip" in request.headers.get("accept-encoding", "")

        def body() -> tuple[bytes, bool]:
            try:
                value = work()
            except RecipelabError as error:
                raise as_unavailable(error) from error.__cause__
            content = page_json(value).encode()
            if wants_gzip and len(content) > COMPRESSED_BYTES:
                return gzip.compress(content, 1), True
            return content, False

        try:
            content, packed = await asyncio.wait_for(
                self.in_thread(body), None if patient else ANSWER_SECONDS
            )
        except TimeoutError:
            raise Unavailable("the lineage does not answer: it may be locked") from None
        headers = {"content-encoding": "gzip", "vary": "accept-encoding"} if packed else {}
        return Response(content, media_type="application/json", headers=headers)

    def _add_errors(self, app: FastAPI) -> None:
        async def told(request: Request, error: Exception) -> Response:
            return _error(*_status_and_text(error))

        for kind in (RecipelabError, RequestValidationError, HTTPException, OSError):
            app.add_exception_handler(kind, told)

    def _add_reads(self, app: FastAPI) -> None:
        campaign = self.lineage.campaign

        @app.get("/api/campaigns")
        async def campaigns(request: Request) -> Response:
            return await self._answer(
                request, lambda: campaigns_data(self.lineage.store(), self.lineage.home)
            )

        @app.get("/api/campaigns/{name}")
        async def one(request: Request, name: str) -> Response:
            return await self._answer(request, lambda: campaign(name).data.campaign())

        @app.get("/api/campaigns/{name}/trials")
        async def trials(
            request: Request, name: str, since: Annotated[str | None, Query(max_length=80)] = None
        ) -> Response:
            return await self._answer(request, lambda: campaign(name).data.trials(since))

        @app.get("/api/campaigns/{name}/trials/{number}")
        async def trial(request: Request, name: str, number: Number) -> Response:
            return await self._answer(request, lambda: _trial(campaign(name), number))

        @app.get("/api/campaigns/{name}/chat")
        async def chat(
            request: Request,
            name: str,
            first: Annotated[int, Query(alias="from", ge=0, le=_LARGEST)] = 0,
            count: Annotated[int, Query(ge=0, le=MOST_MESSAGES)] = 200,
        ) -> Response:
            return await self._answer(
                request, lambda: chat_data(campaign(name).steering.store, name, first, count)
            )

        @app.get("/api/campaigns/{name}/views/{digest}")
        async def view(request: Request, name: str, digest: str) -> Response:
            return await self._answer(
                request, lambda: view_data(campaign(name).steering.store, name, digest)
            )

        @app.get("/api/campaigns/{name}/now")
        async def now(request: Request, name: str) -> Response:
            return await self._answer(request, lambda: now_data(campaign(name).steering))

        @app.get("/api/campaigns/{name}/events")
        async def events(name: str) -> Response:
            await self.in_thread(lambda: campaign(name))  # raises for one that does not exist
            return StreamingResponse(self._tailer(name).events(), media_type="text/event-stream")

    def _tailer(self, name: str) -> Tailer:
        return self._tailers.setdefault(name, Tailer(self.lineage, name, self.in_thread))

    def _add_actions(self, app: FastAPI) -> None:
        """Add what people may do: the same methods as those of the commands."""

        def steering(name: str) -> CampaignSteering:
            return self.lineage.campaign(name).steering

        def done(work: Callable[[], None]) -> dict[str, bool]:
            work()
            return {"done": True}

        def changed(campaign: CampaignSteering, body: NoteChange) -> dict[str, Any]:
            if body.retire is not None:
                campaign.retire_note(body.retire)
            if body.text is None:
                return {"done": True}
            added = campaign.note(body.text, specialist=body.specialist, trial=body.trial)
            return {"note": added}

        @app.post("/api/campaigns/{name}/note")
        async def note(request: Request, name: str, body: NoteChange) -> Response:
            return await self._done(request, lambda: changed(steering(name), body))

        @app.post("/api/campaigns/{name}/kill")
        async def kill(request: Request, name: str, body: OneTrial) -> Response:
            return await self._done(request, lambda: done(lambda: steering(name).kill(body.trial)))

        @app.post("/api/campaigns/{name}/pause")
        async def pause(request: Request, name: str) -> Response:
            return await self._done(request, lambda: done(steering(name).pause))

        @app.post("/api/campaigns/{name}/resume")
        async def resume(request: Request, name: str) -> Response:
            return await self._done(request, lambda: {"resumed": steering(name).unpause()})

        @app.post("/api/campaigns/{name}/stop")
        async def stop(request: Request, name: str) -> Response:
            return await self._done(request, lambda: done(steering(name).stop))

    async def _index(self) -> Response:
        return await self._file("index.html")

    async def _file(self, name: str) -> Response:
        # A name that is not in the table leads nowhere, whatever is in it.
        content = self._static.get(name)
        if content is None:
            raise HTTPException(404, "no such file")
        ending = name[name.rfind(".") :]
        return Response(
            content,
            media_type=_TYPES.get(ending, "text/plain"),
            headers={"cache-control": "no-cache"},
        )


def _trial(campaign: PageCampaign, number: int) -> dict[str, Any]:
    with campaign.steering.store.moment():
        record = campaign.steering.trial(number)
        return trial_data(record, campaign.around.of(record))


def _status_and_text(error: Exception) -> tuple[int, str]:
    if isinstance(error, HTTPException):
        return error.status_code, str(error.detail)
    if isinstance(error, RequestValidationError):
        problems = (
            f"{'.'.join(map(str, problem['loc'][1:])) or 'body'}: {problem['msg']}"
            for problem in error.errors()
        )
        return 422, "; ".join(problems)
    if isinstance(error, Unavailable | OSError):
        return 503, str(error)
    # What is not there is a matter of the lineage, what cannot be done one of the campaign.
    return (404 if isinstance(error, LineageError) else 409), str(error)


def _error(status: int, text: str) -> Response:
    return Response(page_json({"error": text}), status, media_type="application/json")


def static_files() -> dict[str, bytes]:
    """Return the files of the page by name.

    Raises:
        RecipelabError: The package was made without them.
    """
    folder = files("recipelab.page") / "static"
    found = (
        {item.name: item.read_bytes() for item in folder.iterdir() if item.is_file()}
        if folder.is_dir()
        else {}
    )
    if "index.html" not in found:
        raise RecipelabError(
            "this recipelab has no built page (recipelab/page/static): install a released wheel, "
            "or build it: make page"
        )
    return found


class PageServer:
    """A server of the page that listens, and serves once it runs.

    Args:
        lineage: The lineage.
        binding: Where to listen.

    Attributes:
        url: The address to open, with the token if one is asked for.
        token: What a request must show; ``None`` for nothing.

    Raises:
        RecipelabError: There is no lineage, the port is taken, or the package has no page.
    """

    def __init__(self, lineage: PageLineage, binding: Binding) -> None:
        lineage.store()
        self._page = PageApp(lineage)
        self._listening = listening_socket(binding)
        port = self._listening.getsockname()[1]
        needs_token = binding.token or not is_loopback(binding.host)
        self.token = new_token() if needs_token else None
        access = Access.of_binding(binding.host, port, self.token, binding.allowed_hosts)
        self.url = address_url(binding.host, port) + (f"?token={self.token}" if self.token else "")
        self._server = quiet_server(self._page.app(access))

    async def run(self) -> None:
        """Serve until it is stopped."""
        try:
            await self._server.serve([self._listening])
        finally:
            self._page.close()

    def stop(self) -> None:
        """End it at once, whatever streams are open; to be called in the loop that it runs in."""
        # Streams would hold the server up as long as browsers look.
        self._page.close()
        self._server.should_exit = True


def serve(
    lineage: PageLineage, binding: Binding, say: Callable[[str], None], *, open_browser: bool
) -> None:
    """Serve the page until the process is interrupted.

    Args:
        lineage: The lineage.
        binding: Where to listen.
        say: Called with the address.
        open_browser: Whether to open it in a browser.

    Raises:
        RecipelabError: There is no lineage, the port is taken, or the package has no page.
    """
    server = PageServer(lineage, binding)
    say(f"campaigns: {server.url}")
    if server.token is not None:
        say(
            "whoever has this address can read and steer the campaigns, and nothing on the way "
            "to it is encrypted"
        )
    if open_browser:
        threading.Thread(target=open_in_browser, args=(server.url,), daemon=True).start()

    async def run() -> None:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            loop.add_signal_handler(number, server.stop)
        await server.run()

    asyncio.run(run())
