"""/api/v1/conversations, /messages, /presets: what the chat page stands on, for the member whose it is alone."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar
from uuid import UUID

from django.conf import settings
from django.http import HttpResponse
from drf_spectacular.utils import extend_schema
from rest_framework.request import Request
from rest_framework.response import Response

from accounts.api.pagination import page_body
from accounts.api.permissions import BY_RIGHT
from accounts.api.serializers import NoBody, read_body
from accounts.api.views import CountedView, check_parameters
from accounts.domain.pages import parse_limit
from generation.api import conversationshapes as describe
from generation.api.sse import PREAMBLE, render_event
from generation.books.conversations import (
    change_conversation,
    delete_conversation,
    get_conversation,
    list_conversations,
    make_conversation,
)
from generation.books.presets import change_preset, delete_preset, get_preset, list_presets, make_preset
from generation.books.shown import answer_event, show_conversation, show_message, show_preset, show_turn
from generation.books.turns import (
    Turn,
    answer_again,
    begin_with,
    latest_answer,
    list_messages,
    say,
    say_differently,
    stop_answer,
)


class ConversationsView(CountedView):
    """List, search and begin."""

    required_scopes: ClassVar[dict[str, str]] = {"GET": BY_RIGHT, "POST": BY_RIGHT}

    @extend_schema(**describe.LIST)
    def get(self, request: Request) -> Response:
        """One's own, the last turn first."""
        check_parameters(request, "q", "cursor", "limit")
        query = request.query_params
        page = list_conversations(
            by=self.caller,
            query=query.get("q", ""),
            cursor=query.get("cursor"),
            limit=parse_limit(query.get("limit")),
        )
        return Response(page_body(request, page, show_conversation))

    @extend_schema(**describe.MAKE)
    def post(self, request: Request) -> Response:
        """A further one; with `text` its first turn too, both or none."""
        wanted = read_body(describe.ConversationForm, request)
        if wanted.get("text"):
            turn = begin_with(by=self.caller, **wanted)
            return _made(turn.conversation.pk, show_turn(turn))
        wanted.pop("text", None)
        made = make_conversation(by=self.caller, **wanted)
        return _made(made.pk, {"conversation": show_conversation(made), "said": None, "answer": None})


class ConversationView(CountedView):
    """One conversation."""

    required_scopes: ClassVar[dict[str, str]] = {"GET": BY_RIGHT, "PATCH": BY_RIGHT, "DELETE": BY_RIGHT}

    @extend_schema(**describe.READ)
    def get(self, request: Request, conversation: UUID) -> Response:
        """As it is now, without its messages."""
        check_parameters(request)
        return Response(show_conversation(get_conversation(by=self.caller, conversation_id=conversation)))

    @extend_schema(**describe.CHANGE)
    def patch(self, request: Request, conversation: UUID) -> Response:
        """What the body names."""
        wanted = read_body(describe.ConversationChange, request, partial=True)
        return Response(show_conversation(change_conversation(by=self.caller, conversation_id=conversation, **wanted)))

    @extend_schema(**describe.DELETE)
    def delete(self, request: Request, conversation: UUID) -> Response:
        """For good."""
        delete_conversation(by=self.caller, conversation_id=conversation)
        return Response(status=204)


class MessagesView(CountedView):
    """What was said in one."""

    required_scopes: ClassVar[dict[str, str]] = {"GET": BY_RIGHT, "POST": BY_RIGHT}

    @extend_schema(**describe.MESSAGES)
    def get(self, request: Request, conversation: UUID) -> Response:
        """The end of it first."""
        check_parameters(request, "cursor", "limit")
        query = request.query_params
        page = list_messages(
            by=self.caller,
            conversation_id=conversation,
            cursor=query.get("cursor"),
            limit=parse_limit(query.get("limit")),
        )
        return Response(page_body(request, page, show_message))

    @extend_schema(**describe.SAY)
    def post(self, request: Request, conversation: UUID) -> Response:
        """Say something; the answer waits for whoever opens the events."""
        return _accepted(say(by=self.caller, conversation_id=conversation, **read_body(describe.SayForm, request)))


class MessageView(CountedView):
    """One message of one's own."""

    required_scopes: ClassVar[dict[str, str]] = {"PUT": BY_RIGHT}

    @extend_schema(**describe.SAY_DIFFERENTLY)
    def put(self, request: Request, message: UUID) -> Response:
        """Say something else in its place."""
        return _accepted(say_differently(by=self.caller, message_id=message, **read_body(describe.SayForm, request)))


class AnswerView(CountedView):
    """The answer to what was said last."""

    required_scopes: ClassVar[dict[str, str]] = {"POST": BY_RIGHT}

    @extend_schema(**describe.ANSWER)
    def post(self, request: Request, conversation: UUID) -> Response:
        """Anew."""
        wanted = read_body(describe.AnswerForm, request)
        return _accepted(answer_again(by=self.caller, conversation_id=conversation, **wanted))


class StopView(CountedView):
    """The answer under way."""

    required_scopes: ClassVar[dict[str, str]] = {"POST": BY_RIGHT}

    @extend_schema(**describe.STOP)
    def post(self, request: Request, conversation: UUID) -> Response:
        """Not any further."""
        read_body(NoBody, request)
        stopped = stop_answer(by=self.caller, conversation_id=conversation)
        return Response({"answer": None if stopped is None else show_message(stopped)})


class ConversationEventsView(CountedView):
    """The stream of an answer, where the async door is not in front: the present state, and come again."""

    required_scopes: ClassVar[dict[str, str]] = {"GET": BY_RIGHT}

    @extend_schema(**describe.EVENTS)
    def get(self, request: Request, conversation: UUID) -> HttpResponse:
        """One event; only the door begins what waits."""
        answer = latest_answer(get_conversation(by=self.caller, conversation_id=conversation))
        content = PREAMBLE + render_event(*answer_event(None if answer is None else show_message(answer)))
        return HttpResponse(content, content_type="text/event-stream; charset=utf-8")


class PresetsView(CountedView):
    """Presets: list and make."""

    required_scopes: ClassVar[dict[str, str]] = {"GET": BY_RIGHT, "POST": BY_RIGHT}

    @extend_schema(**describe.PRESETS)
    def get(self, request: Request) -> Response:
        """All of one's own: never enough for pages, in the shape of those that have some."""
        check_parameters(request)
        found = [show_preset(row) for row in list_presets(by=self.caller)]
        return Response({"results": found, "next": None, "previous": None})

    @extend_schema(**describe.MAKE_PRESET)
    def post(self, request: Request) -> Response:
        """A further one."""
        made = make_preset(by=self.caller, **read_body(describe.PresetForm, request))
        headers = {"Location": f"{settings.STUDIO_URL}/api/v1/presets/{made.pk}"}
        return Response(show_preset(made), status=201, headers=headers)


class PresetView(CountedView):
    """One preset."""

    required_scopes: ClassVar[dict[str, str]] = {"GET": BY_RIGHT, "PATCH": BY_RIGHT, "DELETE": BY_RIGHT}

    @extend_schema(**describe.READ_PRESET)
    def get(self, request: Request, preset: UUID) -> Response:
        """As it is now."""
        check_parameters(request)
        return Response(show_preset(get_preset(by=self.caller, preset_id=preset)))

    @extend_schema(**describe.CHANGE_PRESET)
    def patch(self, request: Request, preset: UUID) -> Response:
        """What the body names."""
        wanted = read_body(describe.PresetForm, request, partial=True)
        return Response(show_preset(change_preset(by=self.caller, preset_id=preset, **wanted)))

    @extend_schema(**describe.DELETE_PRESET)
    def delete(self, request: Request, preset: UUID) -> Response:
        """For good."""
        delete_preset(by=self.caller, preset_id=preset)
        return Response(status=204)


def _made(conversation: UUID, body: Mapping[str, Any]) -> Response:
    headers = {"Location": f"{settings.STUDIO_URL}/api/v1/conversations/{conversation}"}
    return Response(body, status=201, headers=headers)


def _accepted(turn: Turn) -> Response:
    """202: what answers it begins when somebody opens the events."""
    events = f"{settings.STUDIO_URL}/api/v1/conversations/{turn.conversation.pk}/events"
    return Response(show_turn(turn), status=202, headers={"Location": events})
