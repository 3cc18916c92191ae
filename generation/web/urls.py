"""Routes of generation's pages; the files of pictures are routed by the project."""

from __future__ import annotations

from django.urls import path

from generation.web.gallery import delete_picture, gallery, picture
from generation.web.studio import home, studio, studio_state, studio_words

urlpatterns = [
    path("", home, name="home"),
    path("studio/", studio, name="studio"),
    path("studio/state/", studio_state, name="studio-state"),
    path("studio/words/", studio_words, name="studio-words"),
    path("gallery/", gallery, name="gallery"),
    path("gallery/<uuid:generation>/", picture, name="picture"),
    path("gallery/<uuid:generation>/delete/", delete_picture, name="picture-delete"),
]
