"""Routes of generation's pages; the files of pictures are routed by the project."""

from __future__ import annotations

from django.urls import path

from generation.web.chat import chat, chat_file, chat_files
from generation.web.chosen import compare, delete_chosen, zip_chosen
from generation.web.gallery import gallery, gallery_ids, gallery_work
from generation.web.moods import sentiment
from generation.web.picture import delete_picture, draw_again, picture, vary
from generation.web.rules import rule_delete, rule_switch, rules, rules_try
from generation.web.studio import home, studio, studio_state, studio_words
from generation.web.styles import style, style_delete, style_move, styles

urlpatterns = [
    path("", home, name="home"),
    path("studio/", studio, name="studio"),
    path("studio/state/", studio_state, name="studio-state"),
    path("studio/words/", studio_words, name="studio-words"),
    path("gallery/", gallery, name="gallery"),
    path("gallery/ids/", gallery_ids, name="gallery-ids"),
    path("gallery/work/", gallery_work, name="gallery-work"),
    path("gallery/zip/", zip_chosen, name="zip-chosen"),
    path("gallery/delete/", delete_chosen, name="delete-chosen"),
    path("gallery/compare/", compare, name="compare"),
    path("gallery/<uuid:generation>/", picture, name="picture"),
    path("gallery/<uuid:generation>/again/", draw_again, name="picture-again"),
    path("gallery/<uuid:generation>/vary/", vary, name="picture-vary"),
    path("gallery/<uuid:generation>/delete/", delete_picture, name="picture-delete"),
    path("chat/", chat, name="chat"),
    path("chat/all.jsonl", chat_files, name="chat-files"),
    path("chat/<uuid:conversation>/", chat, name="chat-conversation"),
    path("chat/<uuid:conversation>/file.md", chat_file, {"kind": "md"}, name="chat-markdown"),
    path("chat/<uuid:conversation>/file.json", chat_file, {"kind": "json"}, name="chat-json"),
    path("sentiment/", sentiment, name="sentiment"),
    path("team/styles/", styles, name="styles"),
    path("team/styles/<uuid:style>/", style, name="style"),
    path("team/styles/<uuid:style>/move/", style_move, name="style-move"),
    path("team/styles/<uuid:style>/delete/", style_delete, name="style-delete"),
    path("team/rules/", rules, name="rules"),
    path("team/rules/try/", rules_try, name="rules-try"),
    path("team/rules/<uuid:rule>/switch/", rule_switch, name="rule-switch"),
    path("team/rules/<uuid:rule>/delete/", rule_delete, name="rule-delete"),
]
